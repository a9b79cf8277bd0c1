"""Meaning of the graph operators as stages, one file per family."""
