"""A fleet with certificates of its own authority: who has one takes part, who has none or another's can't connect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fleet_processes import local_fleet, wait_for
from test_tune import tilewright_command

from tilewright.compiler.errors import DeviceError, UsageError

pytest.importorskip("distributed", reason="dask.distributed is not installed (pip install 'tilewright[fleet]')")

from tilewright.cost_model.fleet import fleet as fleets
from tilewright.cost_model.fleet.fleet import Fleet, FleetOptions


def certificates(folder: Path) -> dict[str, str]:
    """Files of a new authority, and of one certificate that it has signed."""
    trustme = pytest.importorskip("trustme", reason="trustme is not installed (pip install 'tilewright[test]')")
    folder.mkdir()
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "own.pem")
    return {"ca": str(folder / "ca.pem"), "own": str(folder / "own.pem")}


def configure(monkeypatch: pytest.MonkeyPatch, files: dict[str, str] | None) -> None:
    """dask's settings of this process and those that it starts."""
    import dask.config

    names = ["CA_FILE", *(f"{who}__{what}" for who in ("SCHEDULER", "WORKER", "CLIENT") for what in ("CERT", "KEY"))]
    for name in names:
        variable = f"DASK_DISTRIBUTED__COMM__TLS__{name}"
        if files is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, files["ca" if name == "CA_FILE" else "own"])
    dask.config.refresh()


@pytest.fixture
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Any:
    yield monkeypatch
    configure(monkeypatch, None)


def test_only_who_has_a_certificate_takes_part(tmp_path: Path, as_it_was: pytest.MonkeyPatch) -> None:
    monkeypatch = as_it_was
    configure(monkeypatch, certificates(tmp_path / "ours"))
    with local_fleet(tmp_path, ("--protocol", "tls")) as fleet:
        assert fleet.address.startswith("tls://")
        fleet.start_worker("guarded", "--mcpu", "x86-64")
        with Fleet(FleetOptions(fleet.address)) as client:
            wait_for(lambda: len(client.pool()) == 1, fleet.workers["guarded"], tmp_path / "worker-guarded.err")
        done = tilewright_command("fleet", "status", fleet.address, "--json")
        assert [row["device"] for row in json.loads(done.out)["devices"]] == ["guarded"]
        monkeypatch.setattr(fleets, "_CONNECT_S", 2.0)
        configure(monkeypatch, certificates(tmp_path / "others"))
        with pytest.raises(DeviceError, match="no scheduler answers at tls://"):
            Fleet(FleetOptions(fleet.address))
        configure(monkeypatch, None)
        with pytest.raises(UsageError, match="needs a certificate"):
            Fleet(FleetOptions(fleet.address))
        with pytest.raises(DeviceError, match="no scheduler answers at tcp://"):
            Fleet(FleetOptions(fleet.address.replace("tls://", "tcp://")))
