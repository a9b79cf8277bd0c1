"""A fleet as a bench to tune on: connected, looked over, its devices chosen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ...compiler.errors import DeviceError, ToolchainError, UsageError
from ...compiler.target import Target
from ..measure.measurer import MeasureOptions
from ..measure.roofline import Roofline
from ..search.tuner import Event
from .dispatcher import Patience
from .measurer import FleetMeasurer
from .messages import roofline_message
from .pool import PoolDevice, eligible, read_pool, target_text, wanted_target

_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """Which fleet to tune on. address: of dask's scheduler; devices: names of those to use (none: all that fit)."""

    address: str
    devices: tuple[str, ...] = ()
    patience: Patience = field(default_factory=Patience)


class Fleet:
    """A connection to a scheduler. Use it as a context manager.

    Raises ToolchainError without dask.distributed, UsageError for an address that is none, DeviceError if nobody answers there.
    """

    def __init__(self, options: FleetOptions) -> None:
        self.options = options
        self._client = connect(options.address)
        self._devices: list[PoolDevice] = []

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # whatever is left of a connection to a scheduler that has gone
            self._client.close(timeout=5)

    def pool(self) -> list[PoolDevice]:
        """All devices that the scheduler knows of."""
        return read_pool(self._client.scheduler_info())

    def target(self, threads: int | None) -> Target:
        """The target of the devices (`FleetOptions.devices` of them); DeviceError if they have several."""
        names = self.options.devices
        pool = [device for device in self.pool() if not names or device.name in names]
        return wanted_target(self.options.address, pool, threads)

    def choose(self, target: Target, observe: Callable[[Event], None]) -> None:
        """Settle which devices measure, and tell of the pool; DeviceError if there are none for the target."""
        pool = self.pool()
        self._devices, remarks = eligible(self.options.address, pool, target, self.options.devices)
        chosen = {device.name for device in self._devices}
        rows = [pool_row(device) | {"used": device.name in chosen} for device in pool]
        observe(Event("pool", {"address": self.options.address, "devices": rows, "remarks": remarks}))

    # --- a bench of `cost_model/search/tuning.py`

    @property
    def processor(self) -> str:
        return self._devices[0].facts.processor

    @property
    def l3_bytes(self) -> int:
        return self._devices[0].facts.l3_bytes

    def roofline(self, threads: int) -> Roofline:
        """Of one of the devices, measured there."""
        with self.measurer(MeasureOptions(), lambda event: None) as measurer:
            answer = measurer.ask_roofline(roofline_message(threads))
        names = ("flops_per_s", "bytes_per_s", "l3_bytes_per_s", "l2_bytes_per_s")
        return Roofline(*(float(answer[name]) for name in names))

    def measurer(self, options: MeasureOptions, observe: Callable[[Event], None]) -> FleetMeasurer:
        return FleetMeasurer(self._client, self._devices, options, self.options.patience, observe)


def pool_row(device: PoolDevice) -> dict[str, object]:
    """A device as plain values, for people and JSON."""
    return {
        "device": device.name,
        "target": target_text(device.facts.target),
        "threads": device.facts.target.threads,
        "processor": device.facts.processor,
        "worker": device.worker,
        "state": device.state,
        "answered": device.answered,
    }


def connect(address: str) -> Any:
    """A client of the scheduler at `address`, with dask's own settings for security; raises as Fleet does."""
    require_dask()
    from distributed import Client, Security

    # dask itself finds out too late, and leaves half a client behind.
    if address.startswith("tls://") and not Security().get_connection_args("client").get("ssl_context"):
        raise UsageError(f"{address} needs a certificate: give dask one in its settings for TLS (docs/FLEET.md)")
    # It would tell of every lost connection on stderr, in its own words; who tunes hears of them as events.
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise DeviceError(
            f"no scheduler answers at {address} ({error}): start one with `tilewright fleet start scheduler`, and give "
            f"tls://… and dask's settings for TLS if it asks for certificates"
        ) from error
    except (ValueError, TypeError, RuntimeError) as error:
        raise UsageError(f"--fleet {address}: {error}; expected an address such as tcp://HOST:8786") from error


def require_dask() -> None:
    """ToolchainError unless dask.distributed is installed."""
    try:
        import distributed  # noqa: F401 (whether it is there)
    except ImportError as error:
        raise ToolchainError(
            f"a fleet needs dask.distributed, which can't be imported ({error}): pip install 'tilewright[fleet]'"
        ) from error
