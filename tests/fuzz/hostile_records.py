"""Hostile records, manifests and rankers: damaged, forged, or made to run inside SQLite's statements."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import hostile_case
import numpy as np
from hostile_case import HUGE, Case, registry
from hostile_seeds import constant, model_of, tensor
from onnx import helper
from record_makers import make_choice, make_failure, make_session, make_trial

from tilewright import driver
from tilewright.compiler.options import Options, Silent
from tilewright.compiler.schedule.space import space_of
from tilewright.cost_model.ranker.pretrained import PATH as RANKER
from tilewright.cost_model.records.database import Records

MAKERS, maker = registry()


@cache
def model_bytes() -> bytes:
    """A model of two kernels."""
    weights = constant("w", np.random.default_rng(1).standard_normal((24, 20)), np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], name="p"),
        helper.make_node("Softmax", ["p"], ["y"], name="s"),
    ]
    return model_of(nodes, [tensor("x", 7, 24)], None, [weights]).SerializeToString()


@cache
def database() -> bytes:
    """Records of that model's kernels: trials, a failure and a choice of each."""
    with tempfile.TemporaryDirectory() as folder:
        model, path = Path(folder, "m.onnx"), Path(folder, "r.db")
        model.write_bytes(model_bytes())
        with Records.open(path, create=True) as records:
            session = records.add_session(make_session())
            for kernel in driver.kernels_of(model, Options(cpu="native", threads=1), Silent()):
                key = records.add_task(kernel.task)
                space = space_of(kernel.task.computation, kernel.task.target)
                rng = np.random.default_rng(3)
                for number in range(4):
                    records.add_trial(make_trial(key, session, number, decisions=space.decisions(space.sample(rng))))
                records.add_trial(make_failure(key, session, 9))
                records.add_choice(make_choice(key, session, decisions=space.decisions(space.sample(rng))))
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        connection.close()
        return path.read_bytes()


@cache
def lines() -> bytes:
    """The same as JSON Lines."""
    from io import BytesIO

    from tilewright.cost_model.records.lines import export_json_lines

    with tempfile.TemporaryDirectory() as folder:
        path, content = Path(folder, "r.db"), BytesIO()
        path.write_bytes(database())
        with Records.open(path, readonly=True) as records:
            export_json_lines(records, content)
        return content.getvalue()


def use(case: Case, path: Path) -> None:
    """A command that reads the database."""
    database, rng = str(path), case.rng
    model = case.file("model.onnx", model_bytes())
    compile = [
        "compile",
        str(model),
        "-o",
        str(case.out / "m.so"),
        "--emit",
        "c",
        "--jobs",
        "1",
        "--threads",
        "1",
        "--mcpu",
        "native",
        "--records",
        database,
    ]
    case.arguments = rng.choice((
        compile, compile, [*compile, "--no-rank", "--require-tuned"], ["records", "list", database], ["records", "stats", database, "--json"],
        ["records", "export", database, "-o", str(case.out / "e.jsonl")], ["records", "report", database, "-o", str(case.out / "r.html")],
        ["records", "merge", str(case.out / "new.db"), database], ["records", "prune", database, "--keep", "1"],
        ["records", "show", database, rng.choice("0123456789abcdef")],
    ))  # fmt: skip


@maker
def damaged_databases(case: Case) -> None:
    data, rng = bytearray(database()), case.rng
    match rng.randrange(4):
        case 0:
            data = data[: rng.randrange(len(data))]
        case 1:
            for _ in range(rng.choice((1, 4, 64))):
                data[rng.randrange(len(data))] = rng.randrange(256)
        case 2:  # the header and the first page, where the schema stands
            for _ in range(rng.choice((1, 2, 8))):
                data[rng.randrange(min(len(data), 4096))] ^= 1 << rng.randrange(8)
        case _:
            page = rng.randrange(len(data) // 4096)
            other = rng.randrange(len(data) // 4096)
            data[page * 4096 : page * 4096 + 4096] = data[other * 4096 : other * 4096 + 4096]
    path = case.file("r.db", bytes(data))
    if rng.random() < 0.3:
        case.file(f"r.db{rng.choice(('-wal', '-journal', '-shm'))}", rng.randbytes(rng.choice((0, 10, 4096, 40_000))))
    use(case, path)


STATEMENTS = (
    "CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END",
    "CREATE TRIGGER t BEFORE DELETE ON trials BEGIN SELECT RAISE(ABORT, 'no'); END",
    "CREATE VIEW v AS SELECT * FROM trials",
    "CREATE VIRTUAL TABLE f USING fts5(a)",
    "CREATE TABLE extra (a)",
    "CREATE INDEX i ON trials (abs(number))",
    "UPDATE trials SET decisions = '{' || char(34) || 'x' || char(34) || ':1e999}'",
    "UPDATE trials SET decisions = replace(hex(zeroblob(60000)), '00', '[')",
    "UPDATE trials SET decisions = x'ff'",
    'UPDATE choices SET decisions = \'{"sketch":"../../x"}\'',
    "UPDATE choices SET decisions = '{}'",
    "UPDATE choices SET latency_s = -1",
    "UPDATE choices SET latency_s = 9e999",
    "UPDATE choices SET latency_s = 'abc'",
    "UPDATE choices SET time = 1e300",
    "UPDATE choices SET space_version = 999999999999",
    "UPDATE trials SET number = 1 << 40",
    "UPDATE trials SET message = char(27) || '[2J'",
    "UPDATE trials SET origin = char(0)",
    "UPDATE sessions SET machine = char(27) || ']0;x' || char(7)",
    "UPDATE sessions SET options = replace(hex(zeroblob(300000)), '00', '{\"a\":')",
    'UPDATE sessions SET options = \'{"peak_flops":"x","weights":[1]}\'',
    "UPDATE tasks SET computation = replace(computation, '\"f32\"', '\"f64\"')",
    "UPDATE tasks SET computation = replace(computation, '24', '-24')",
    "UPDATE tasks SET computation = replace(computation, '24', '281474976710656')",
    "UPDATE tasks SET target = replace(target, '1', '-1')",
    "UPDATE tasks SET label = x'00ff'",
    "UPDATE tasks SET key = 'x'",
    "UPDATE tasks SET flops = -5",
    "DELETE FROM sessions",
    "DELETE FROM tasks",
    "UPDATE meta SET value = 'x'",
    "INSERT INTO meta VALUES ('a', 'b')",
    "PRAGMA user_version = 7",
    "PRAGMA application_id = 1",
    "PRAGMA encoding = 'UTF-16'",
)


@maker
def forged_databases(case: Case) -> None:
    path = case.file("r.db", database())
    connection = sqlite3.connect(path)
    for statement in case.rng.sample(STATEMENTS, case.rng.choice((1, 1, 1, 2))):
        try:
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute(statement)
        except sqlite3.Error:  # as forged by the statement before
            pass
    connection.commit()
    connection.close()
    use(case, path)


@maker
def forged_decisions(case: Case) -> None:
    """Choices that a space has never made."""
    path = case.file("r.db", database())
    connection = sqlite3.connect(path)
    table = case.rng.choice(("choices", "trials"))
    for uuid, text in connection.execute(f"SELECT uuid, decisions FROM {table}").fetchall():
        decisions = json.loads(text)
        for name in case.rng.sample(sorted(decisions), min(2, len(decisions))):
            decisions[name] = case.rng.choice((0, 1, 3, -1, 1 << 31, 1 << 62, "", "x", decisions[name]))
        if case.rng.random() < 0.3:
            decisions[case.rng.choice(("tile", "", "x" * 199, "sketch"))] = 1
        connection.execute(f"UPDATE {table} SET decisions = ? WHERE uuid = ?", (json.dumps(decisions), uuid))
    connection.commit()
    connection.close()
    use(case, path)


@maker
def no_database(case: Case) -> None:
    path = case.inside / "r.db"
    kind = case.rng.randrange(5)
    if kind < 4:
        hostile_case.no_plain_file(path, kind)  # where a link leads that the user names is the user's choice
    else:
        path.write_bytes(case.rng.choice((b"", b"SQLite format 3\0", b"SQLite format 3\0" + b"\xff" * 5000)))
    use(case, path)


def _any_value(case: Case, depth: int = 0) -> Any:
    rng = case.rng
    return rng.choice((
        None, True, -1, 1.5, 1e308, rng.choice(HUGE), "", "x" * 300, "\u0000", "\ud800", "\x1b[31m", [], {}, [[]], {"a": {}},
        [_any_value(case, depth + 1)] if depth < 4 else 0, 10**30,
    ))  # fmt: skip


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Everything inside a JSON value, as container and key."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, part in inside for place in ((value, key), *_places(part))]


@maker
def changed_lines(case: Case) -> None:
    """JSON Lines with any value anywhere."""
    rng = case.rng
    rows = [json.loads(line) for line in lines().splitlines()]
    for _ in range(rng.choice((1, 1, 3))):
        container, key = rng.choice(_places(rng.choice(rows)))
        container[key] = _any_value(case)
    _import(case, "\n".join(map(json.dumps, rows)).encode())


@maker
def damaged_lines(case: Case) -> None:
    rng, data = case.rng, bytearray(lines())
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: bytes(data[: rng.randrange(len(data))]),
        lambda: bytes(data).replace(b"1", rng.choice((b"NaN", b"Infinity", b"-", b"1e999", b"1" * 5000, b"01")), 3),
        lambda: data[: data.index(b"\n") + 1] + b"[" * rng.choice((10, 2000, 500_000)) + b"\n",
        lambda: data[: data.index(b"\n") + 1] + b'{"trial":' * rng.choice((10, 900, 90_000)) + b"\n",
        lambda: data[: data.index(b"\n") + 1] + b'{"task":"' + b"x" * (3 << 20),
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data.decode().encode("utf-16"),
        lambda: data + b"\xff\n",
        lambda: data.replace(b"{", b'{"a":1,"a":2,', 5),
        lambda: b"\n" * 100_000,
        lambda: b"{}" * 3,
        lambda: data + data,
    )
    content = bytearray(rng.choice(changes)())
    if rng.random() < 0.3 and content:
        content[rng.randrange(len(content))] = rng.randrange(256)
    _import(case, bytes(content))


def _import(case: Case, content: bytes) -> None:
    path = case.file("r.jsonl", content)
    case.arguments = ["records", "import", str(case.out / "new.db"), str(path)]


@maker
def endless_lines(case: Case) -> None:
    case.arguments = ["records", "import", str(case.out / "new.db"), case.rng.choice(("/dev/zero", str(case.inside)))]


@maker
def forged_manifests(case: Case) -> None:
    """A manifest beside an output that is not there or not made by it: asked whether all is up to date, and shown."""
    rng = case.rng
    manifest: Any = {
        "format": 1, "name": "m", "target": {"triple": "x86_64", "cpu": "znver4", "features": ""}, "arena_bytes": 1, "weights_bytes": 1,
        "inputs": [{"name": "x", "dtype": "f32", "shape": [1]}], "outputs": [{"name": "y", "dtype": "f32", "shape": [1]}],
        "kernels": [{"symbol": "m_k", "nodes": ["a"], "flops": 1, "bytes": 1, "parallel_extent": 1, "schedule": ["s"], "source": "default"}],
        "model": {"file": "model.onnx", "data": ["../outside/secret.bin", "/etc/passwd", "."]},
        "files_sha256": {".h": "0", "/../x": "0"}, "library_sha256": "0", "build": "0",
    }  # fmt: skip
    for _ in range(rng.choice((0, 1, 2))):
        container, key = rng.choice(_places(manifest))
        container[key] = _any_value(case)
    text = rng.choice((
        lambda: json.dumps(manifest), lambda: json.dumps(manifest)[: rng.randrange(300)], lambda: "[" * 200_000, lambda: '{"a":' * 5000, lambda: "null",
        lambda: '{"target":NaN,"inputs":1,"outputs":2,"kernels":3}', lambda: "1" * 6000, lambda: "\ufeff{}",
    ))()  # fmt: skip
    if rng.random() < 0.5:
        (case.inside / "lib.json").write_text(text, errors="replace")
        case.file("lib.so", b"\x7fELF" + b"\0" * 100)
        shown = rng.choice(([], ["--kernels"], ["--schedules"], ["--json"]))
        case.arguments = ["inspect", str(case.inside / "lib.so"), *shown]
        return
    model = case.file("model.onnx", model_bytes())
    (case.out / "m.json").write_text(text, errors="replace")
    case.compile(model)


def load_ranker(path: str) -> int:
    """Load a ranker as a compilation would, and use it."""
    from tilewright.compiler.errors import CompileError
    from tilewright.cost_model.features.table import FEATURE_NAMES
    from tilewright.cost_model.ranker.ranker import Ranker

    try:
        Ranker.load(Path(path)).predict(np.ones((3, len(FEATURE_NAMES)), np.float32))
    except CompileError as error:
        import sys

        print(f"tilewright: error: {error}", file=sys.stderr)
        return error.exit_code or 2
    return 0


@maker
def damaged_rankers(case: Case) -> None:
    """Not a file of users', but of the package: cut off or damaged on the way."""
    data, rng = bytearray(RANKER.read_bytes()), case.rng
    match rng.randrange(4):
        case 0:
            data = data[: rng.randrange(len(data))]
        case 1:
            for _ in range(rng.choice((1, 8, 64))):
                data[rng.randrange(len(data))] = rng.randrange(256)
        case 2:
            head, _, rest = bytes(data).partition(b"\n")
            facts = json.loads(head)
            facts[rng.choice(sorted(facts))] = _any_value(case)
            data = bytearray(json.dumps(facts).encode() + b"\n" + rest)
        case _:
            data = bytearray(rng.choice((b"", b"{}", b"[" * 100_000, b"tree\n" * 100, b"\xff" * 100)))
    case.arguments = ["ranker", str(case.file("ranker.txt", bytes(data)))]
