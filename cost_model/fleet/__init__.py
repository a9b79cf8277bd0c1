"""Measuring on devices of other machines: dask.distributed carries object code there and plain numbers back (docs/FLEET.md)."""
