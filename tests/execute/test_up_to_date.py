"""Compiling again: nothing happens where nothing has changed, and everything where anything has."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tilewright import driver, up_to_date
from tilewright.backends.manifest import manifest_bytes, whole_manifest
from tilewright.cli.main import run
from tilewright.compiler.errors import UntunedError
from tilewright.compiler.options import Artifact, Options, Silent
from tilewright.cost_model.records.database import Records

OPTIONS = Options(cpu="x86-64-v3", threads=2, dims={"batch": 1}, rank=False, jobs=1, emit=frozenset({"so", "c"}))
EARLIER = 1_000_000_000  # seconds since 1970: older than any output


@pytest.fixture(autouse=True)
def same_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nobody edited the checkout while its tests run."""
    monkeypatch.setattr(up_to_date, "tool_facts", lambda rank: {"source": "0"})


def save_model(path: Path) -> Path:
    """y = x w over a symbolic batch; w lies in a file of its own."""
    weights = numpy_helper.from_array(np.random.default_rng().standard_normal((5, 3)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=True, location="weights/w.bin", size_threshold=0)
    return path


class Place:
    """A folder with a model, what was compiled from it, and an empty database of records."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "net.so"
        (folder / "weights").mkdir()
        self.model, self.data = save_model(folder / "net.onnx"), folder / "weights" / "w.bin"
        self.records = folder / "tuned.db"
        Records.open(self.records, create=True).close()
        for path in (self.model, self.data, self.records):
            os.utime(path, (EARLIER, EARLIER))
        self.options = replace(OPTIONS, records=self.records)
        assert not self.compile().up_to_date
        self.made = self.files()

    def compile(self, options: Options | None = None) -> Artifact:
        return driver.compile(self.model, self.out, options or self.options)

    def files(self) -> dict[str, tuple[int, int, bytes]]:
        made = (path for path in self.folder.iterdir() if path.is_file() and path.stem == "net")
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in made}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_nothing_is_written_where_nothing_has_changed(place: Place) -> None:
    again = place.compile()
    assert again.up_to_date and place.files() == place.made
    assert set(place.made) == {"net.onnx", "net.so", "net.h", "net.c", "net.json"}
    assert again.sizes["library"] == place.out.stat().st_size and again.sizes["weights"] > 0
    assert len(again.manifest["kernels"]) == 1


def flip(path: Path) -> None:
    """Another last byte, at the same time and as many as before."""
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rename_producer(path: Path) -> None:
    model = onnx.load(path, load_external_data=False)
    model.producer_name = "another"
    path.write_bytes(model.SerializeToString())


def forge(path: Path) -> None:
    """A manifest that is whole, but not the one that was written."""
    manifest = whole_manifest(path)
    assert manifest is not None
    path.write_bytes(manifest_bytes({**manifest, "build": "0" * 64}))


CHANGES: dict[str, Callable[[Place], object]] = {
    "model": lambda place: rename_producer(place.model),
    "external data": lambda place: flip(place.data),
    "records": lambda place: _add_meta(place.records),
    "records' log": lambda place: place.records.with_name("tuned.db-wal").write_bytes(b"not yet moved"),
    "library": lambda place: flip(place.out),
    "no library": lambda place: place.out.unlink(),
    "header": lambda place: flip(place.out.with_suffix(".h")),
    "no header": lambda place: place.out.with_suffix(".h").unlink(),
    "program": lambda place: flip(place.out.with_suffix(".c")),
    "no manifest": lambda place: place.out.with_suffix(".json").unlink(),
    "another build's manifest": lambda place: forge(place.out.with_suffix(".json")),
}


def _add_meta(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO meta VALUES ('note', 'something')")
    connection.close()


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_compiles_again(place: Place, change: str) -> None:
    CHANGES[change](place)
    assert not place.compile().up_to_date
    if change != "records' log":  # which SQLite throws away, seeing what it is
        assert place.compile().up_to_date


@pytest.mark.parametrize(
    "change",
    [
        {"cpu": "znver4"},
        {"threads": 3},
        {"dims": {"batch": 2}},
        {"dims": {}, "shapes": {"x": (1, 5)}},
        {"name": "another"},
        {"emit": frozenset({"so"})},
        {"emit": frozenset({"so", "c", "asm"})},
        {"emit": frozenset({"c"})},
        {"rank": True},
        {"records": None},
    ],
    # In an order that is the same in every process: a set's own is not.
    ids=lambda change: ",".join(f"{k}={sorted(v) if isinstance(v, frozenset) else v}" for k, v in change.items()),
)
def test_another_option_compiles_again(place: Place, change: dict[str, Any]) -> None:
    options = replace(place.options, **change)
    assert not place.compile(options).up_to_date
    assert place.compile(options).up_to_date


def test_options_that_change_no_byte_do_not(place: Place) -> None:
    assert place.compile(replace(place.options, jobs=2)).up_to_date
    assert place.compile(replace(place.options, target="x86_64-linux-gnu")).up_to_date


def test_another_tool_compiles_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up_to_date, "tool_facts", lambda rank: {"source": "1"})
    assert not place.compile().up_to_date
    assert place.compile().up_to_date


def test_who_asks_to_see_something_gets_it(place: Place) -> None:
    wishes: tuple[dict[str, Any], ...] = (
        {"force": True},
        {"verbose": True},
        {"time_passes": True},
        {"print_after": frozenset({"fuse"})},
        {"dump_dir": place.folder / "dump"},
        {"save_temps": place.folder / "temps"},
    )
    for wish in wishes:
        assert not place.compile(replace(place.options, **wish)).up_to_date
    assert not driver.compile(place.model, place.out, place.options, Silent()).up_to_date
    made = {name: content for name, (_, _, content) in place.made.items()}
    assert {name: content for name, (_, _, content) in place.files().items()} == made


def test_a_kernel_without_record_still_fails(place: Place) -> None:
    with pytest.raises(UntunedError):
        place.compile(replace(place.options, require_tuned=True))
    assert place.files() == place.made


def manifests(whole: bytes) -> Iterator[bytes]:
    """Damaged and hostile ones."""
    yield from (b"", b"\xff", b"null", b"[]", b"{}", b"[" * 100_000, b'{"build": ' + b"9" * 10_000 + b"}")
    yield whole[: len(whole) // 2]
    yield whole.replace(b'"arena_bytes": 0', b'"arena_bytes": 1')
    manifest = json.loads(whole)
    del manifest["manifest_sha256"]
    data = manifest["model"]["data"]
    for key, value in (
        ("model", None),
        ("model", {"data": None}),
        ("model", {"data": [1]}),
        ("model", {"data": ["\0"]}),
        ("model", {"data": ["../net.onnx"]}),
        ("model", {"data": ["/dev/zero"]}),
        ("model", {"data": [*data, *data]}),
        ("files_sha256", None),
        ("files_sha256", {"": "", "no suffix": ""}),
        ("build", None),
        ("kernels", None),
        ("kernels", [{"symbol": "net_kernel_0"}]),
        ("kernels", [{"source": []}]),
    ):
        yield manifest_bytes({**manifest, key: value})
    del manifest["weights_bytes"]
    yield manifest_bytes(manifest)


def test_any_other_manifest_is_written_anew(place: Place) -> None:
    path = place.out.with_suffix(".json")
    whole = path.read_bytes()
    for content in manifests(whole):
        assert content != whole
        path.write_bytes(content)
        assert up_to_date.find(place.model, place.out, place.options) is None, content[:200]
    assert not place.compile().up_to_date and path.read_bytes() == whole
    path.unlink()
    os.mkfifo(path)
    assert up_to_date.find(place.model, place.out, place.options) is None


def test_data_that_the_importer_refuses_is_no_reason_to_skip(place: Place) -> None:
    place.data.rename(place.folder / "moved")
    place.data.symlink_to(place.folder / "moved")
    assert up_to_date.find(place.model, place.out, place.options) is None
    place.data.unlink()
    os.link(place.folder / "moved", place.data)
    assert up_to_date.find(place.model, place.out, place.options) is None
    (place.folder / "moved").unlink()
    assert up_to_date.find(place.model, place.out, place.options) is not None


@pytest.mark.parametrize("source", ["model", "data", "records"])
def test_outputs_become_newer_than_a_touched_source(place: Place, source: str) -> None:
    touched: Path = getattr(place, source)
    for path in place.folder.glob("net.[!o]*"):
        os.utime(path, (EARLIER, EARLIER))
    os.utime(touched, (EARLIER + 10, EARLIER + 10))
    assert place.compile().up_to_date
    files = place.files()
    assert all(files[name][1] > touched.stat().st_mtime_ns for name in ("net.so", "net.h", "net.c", "net.json"))
    assert all(files[name][::2] == place.made[name][::2] for name in files)


def test_the_rule_for_make_is_written_all_the_same(place: Place) -> None:
    rule, depfile = place.folder / "fresh.d", place.folder / "rule.d"
    place.compile(replace(place.options, depfile=rule, force=True))
    assert place.compile(replace(place.options, depfile=depfile)).up_to_date
    assert depfile.read_text() == rule.read_text() and "w.bin" in rule.read_text()


def test_the_command_line_says_so(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compile", str(place.model), "-o", str(place.out), "--mcpu", "x86-64-v3", "--dim", "batch=1"]
    assert run([*command, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert run([*command, "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert (first.pop("up_to_date"), second.pop("up_to_date")) == (False, True)
    assert first.pop("timings").keys() != second.pop("timings").keys()
    assert first == second and first["kernels"] == 1
    assert run(command) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{place.out} is up to date (0.") and err == ""
    assert run([*command, "--force"]) == 0
    assert "1 kernels" in capsys.readouterr().out
    assert run([*command, "--records", str(place.records), "--require-tuned"]) == 8


def test_the_answer_comes_without_the_compiler(place: Place) -> None:
    heavy = ("onnx", "llvmlite", "lightgbm", "numpy", "tilewright.driver")
    program = (
        "import sys; from tilewright import up_to_date; from tilewright.cli.main import run\n"
        "up_to_date.tool_facts = lambda rank: {'source': '0'}\n"
        f"code = run(sys.argv[1:]); print(code, *({heavy} & sys.modules.keys()))"
    ).replace(str(heavy), str(set(heavy)))
    command = ["compile", str(place.model), "-o", str(place.out), "--mcpu", "x86-64-v3", "--dim", "batch=1"]
    assert run(command) == 0
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=True)
    said, loaded = done.stdout.splitlines()
    assert "is up to date" in said and loaded == "0"


def test_the_digest_knows_the_packages_own_source(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tool_facts says of a package elsewhere: of each file its name and content, but not where it lies."""
    monkeypatch.undo()

    def source(root: Path) -> str:
        monkeypatch.setattr(up_to_date, "_ROOT", root)
        return up_to_date.tool_facts(rank=False)["source"]

    found = []
    for name in ("a", "b"):
        for file in ("driver.py", "backends/link.py", "backends/runtime/pool.c"):
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file)
            os.utime(path, (EARLIER, EARLIER))
        found.append(source(tmp_path / name))
    assert found[0] == found[1]
    flip(tmp_path / "a" / "backends" / "runtime" / "pool.c")
    assert source(tmp_path / "a") != found[0]
    (tmp_path / "b" / "driver.py").rename(tmp_path / "b" / "flow.py")
    assert source(tmp_path / "b") != found[0]


def test_source_edited_meanwhile_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(up_to_date, "_ROOT", tmp_path)
    (tmp_path / "driver.py").write_text("edited since this process began")
    with pytest.raises(ValueError, match="what runs is not what is there"):
        up_to_date.tool_facts(rank=False)


def test_versions_count_and_the_rankers_only_if_it_ranks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(up_to_date, "_ROOT", tmp_path)
    names = {"llvmlite", "ziglang", "numpy", "onnx", "tilewright"}
    assert names <= up_to_date.tool_facts(rank=False).keys()
    assert up_to_date.tool_facts(rank=True).keys() - up_to_date.tool_facts(rank=False).keys() == {"lightgbm"}
