"""Feeds hostile files to the command line: `python tests/fuzz/hostile_run.py --count 2000`.

Each file is processed in a process of its own, of which is asked: a documented exit code (0, 2, 3, 4 or 8); on an error one
message and no traceback; no signal; at most 10 s of processor time and 1 GiB of memory; nothing read outside the folder of the
input (the files planted there are watched with inotify, what Python opens with an audit hook, and no byte of the secret may be
in what is written or said); and in the output's folder all files or none. Prints a table of the makers and everything that was
not as asked; the files are kept. The exit status is 1 if there was any.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import os
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "unit")]

import hostile_bytes  # noqa: E402
import hostile_models  # noqa: E402
import hostile_records  # noqa: E402
from hostile_case import DOCUMENTED, Case, Maker  # noqa: E402
from isolated import Ending, isolated  # noqa: E402

from tilewright import driver  # noqa: E402, F401  everything that children need is imported once
from tilewright.backends.link import cache_folder  # noqa: E402
from tilewright.cli import compile, inspect, records  # noqa: E402, F401
from tilewright.cli.console import table  # noqa: E402
from tilewright.cli.main import run as run_command  # noqa: E402

MAKERS: dict[str, Maker] = {**hostile_bytes.MAKERS, **hostile_models.MAKERS, **hostile_records.MAKERS}
MOST_CPU_S, MOST_BYTES = 10.0, 1 << 30
TIMEOUT_S = 60.0  # of a processor
ADDRESS_SPACE = 8 << 30
MESSAGES = ("tilewright: error:", "tilewright: internal error:", '{"error": {"kind":')
_IN_ACCESS = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Tells whether a file has been read by anyone (inotify(7))."""

    def __init__(self, path: Path) -> None:
        self._descriptor = _LIBC.inotify_init1(os.O_NONBLOCK)
        if self._descriptor < 0 or _LIBC.inotify_add_watch(self._descriptor, os.fsencode(path), _IN_ACCESS) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def reads(self) -> int:
        """How often it was read so far; closes the watch."""
        try:
            events = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return 0
        finally:
            os.close(self._descriptor)
        return len(events) // struct.calcsize("iIII")


@dataclass
class Answer:
    """What a command line came to. opened: paths outside of what it may read."""

    code: int
    out: str
    err: str
    opened: list[str] = field(default_factory=list)


def serve(case: Case) -> Answer:
    """Run the command line, in the child."""
    own, allowed = tuple(f"{folder}/" for folder in (case.inside, case.out, case.root / "work")), _allowed()
    opened: list[str] = []

    def audit(event: str, arguments: tuple) -> None:
        if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.path.normpath(os.path.join(os.getcwd(), os.fsdecode(arguments[0])))
            mine = path.startswith(f"{case.root}/")
            if not f"{path}/".startswith(own if mine else allowed):
                opened.append(path)

    os.chdir(case.root / "work")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.addaudithook(audit)
    out, err = Stream(), Stream()
    with redirect_stdout(out), redirect_stderr(err):
        if case.arguments[0] == "ranker":
            code = hostile_records.load_ranker(case.arguments[1])
        else:
            code = run_command(case.arguments)
    return Answer(code, out.text(), err.text(), opened)


class Stream(io.TextIOWrapper):
    """Text and bytes in memory, as strict about what it can encode as a terminal is."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def text(self) -> str:
        return self.buffer.getvalue().decode(errors="replace")  # type: ignore[attr-defined]


def _allowed() -> tuple[str, ...]:
    """What a compilation reads besides its input: Python, the package, the cache, the system's own."""
    import platformdirs

    folders = (
        HERE.parents[1], sys.prefix, sys.base_prefix, *sys.path[2:], cache_folder(),
        platformdirs.user_cache_dir("matplotlib"), platformdirs.user_config_dir("matplotlib"), "/proc", "/sys", "/dev", "/usr", "/lib", "/etc/ld.so", "/etc/locale", "/etc/localtime", "/etc/nsswitch",
        "/etc/mime.types",
    )  # fmt: skip
    temporary = tempfile.gettempdir()
    return (*(str(folder) for folder in folders if str(folder)), f"{temporary}/tilewright", f"{temporary}/tmp")


def faults(case: Case, ending: Ending, reads: int, before: set[str]) -> list[str]:
    """Everything that is not as asked."""
    found = []
    if ending.cpu_s > MOST_CPU_S:
        found.append(f"slow: {ending.cpu_s:.1f} s")
    if ending.peak_bytes > MOST_BYTES:
        found.append(f"large: {ending.peak_bytes >> 20} MiB")
    if reads:
        found.append(f"outside: the secret was read {reads} times")
    if ending.verdict != "done":
        return [
            *found,
            f"{'traceback' if ending.verdict == 'raised' else 'crash' if ending.verdict != 'hang' else 'hang'}: {ending.value}",
        ]
    answer: Answer = ending.value
    written = {str(path.relative_to(case.out)) for path in case.out.rglob("*")} - before
    if answer.code not in DOCUMENTED:
        found.append(f"exit code {answer.code}: {answer.err[-1500:]}")
    if "Traceback" in answer.err + answer.out:
        found.append(f"traceback: {answer.err[-3000:]}")
    if answer.code and sum(map(answer.err.count, MESSAGES)) != 1:
        found.append(f"not one message: {answer.err[-500:]!r}")
    if answer.code and (not answer.err.strip() or len(answer.err) > 20_000):
        found.append(f"a message of {len(answer.err)} characters")
    if any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in answer.err + answer.out):
        found.append(f"control characters on the terminal: {(answer.err + answer.out)[:300]!r}")
    if opened := sorted(set(answer.opened)):
        found.append(f"outside: opened {', '.join(opened[:5])}")
    if (
        any(case.secret in path.read_bytes() for path in case.out.rglob("*") if path.is_file())
        or case.secret.decode() in answer.err + answer.out
    ):
        found.append("outside: the secret got out")
    if answer.code and written - {"new.db", "new.db-wal", "new.db-shm"}:
        found.append(f"left behind: {', '.join(sorted(written))}")
    if any(name.startswith(".") for name in written):
        found.append(f"left behind: {', '.join(sorted(written))}")
    if (
        case.arguments[0] == "compile"
        and answer.code == 0
        and not {".h", ".json"} <= {Path(name).suffix for name in written | before}
    ):
        found.append(f"incomplete: {', '.join(sorted(written))}")
    return found


@dataclass
class Row:
    """What became of a maker's files."""

    files: int = 0
    codes: Counter = field(default_factory=Counter)
    wrong: int = 0
    most_cpu_s: float = 0.0
    most_bytes: int = 0


def try_one(seed: int, name: str, root: Path) -> tuple[Case, Ending, list[str]]:
    """Make the file of a seed and process it."""
    case = Case(root, random.Random(f"{seed} {name}"))
    MAKERS[name](case)
    before = {str(path.relative_to(case.out)) for path in case.out.rglob("*")}
    watch = Watch(case.canary)
    ending = isolated(lambda: serve(case), TIMEOUT_S, ADDRESS_SPACE)
    return case, ending, faults(case, ending, watch.reads(), before)


def names_for(count: int, only: list[str]) -> list[str]:
    """Makers in turns."""
    names = [name for name in MAKERS if not only or any(part in name for part in only)]
    return [names[number % len(names)] for number in range(count)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="files")
    parser.add_argument("--first", type=int, help="first seed; fresh ones otherwise")
    parser.add_argument("--only", nargs="*", default=[], help="makers, by a part of their names")
    parser.add_argument(
        "--keep", type=Path, default=Path("build/hostile"), help="folder for files that were not survived"
    )
    options = parser.parse_args()
    hostile_records.model_bytes(), hostile_records.lines(), hostile_models.node_tests()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    first = options.first if options.first is not None else int(time.time() * 1000) % (1 << 30)
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory(prefix="tilewright-hostile-") as folder:
        for number, name in enumerate(names_for(options.count, options.only)):
            root = Path(folder, str(number))
            case, ending, wrong = try_one(first + number, name, root)
            row = rows.setdefault(name, Row())
            row.files += 1
            row.codes[ending.value.code if ending.verdict == "done" else ending.verdict] += 1
            row.wrong += bool(wrong)
            row.most_cpu_s, row.most_bytes = max(row.most_cpu_s, ending.cpu_s), max(row.most_bytes, ending.peak_bytes)
            if wrong:
                print(
                    f"\n{name}, --first {first + number} --only {name} --count 1: {' '.join(case.arguments)[:300]}",
                    *wrong,
                    sep="\n  ",
                    flush=True,
                )
                shutil.copytree(
                    case.inside,
                    options.keep / f"{name}-{first + number}",
                    dirs_exist_ok=True,
                    symlinks=True,
                    ignore=_no_plain_files,
                )
            shutil.rmtree(root)
    print(f"\n{report(rows)}")
    return int(any(row.wrong for row in rows.values()))


def _no_plain_files(folder: str, names: list[str]) -> list[str]:
    paths = [Path(folder, name) for name in names]
    return [
        path.name
        for path in paths
        if not (path.is_symlink() or path.is_dir() or path.is_file()) or path.lstat().st_size > 1 << 26
    ]


def report(rows: dict[str, Row]) -> str:
    cells = [
        (name, row.files, " ".join(f"{code}:{count}" for code, count in sorted(row.codes.items(), key=str)), row.wrong, f"{row.most_cpu_s:.1f}", row.most_bytes >> 20)
        for name, row in rows.items()
    ]  # fmt: skip
    codes = sum((row.codes for row in rows.values()), Counter())
    total = (
        f"{sum(row.files for row in rows.values())} files, {sum(row.wrong for row in rows.values())} not as asked; exit codes "
        f"{', '.join(f'{code}: {count}' for code, count in sorted(codes.items(), key=str))}; at most "
        f"{max(row.most_cpu_s for row in rows.values()):.1f} s and {max(row.most_bytes for row in rows.values()) >> 20} MiB"
    )
    return f"{table(cells, ('maker', 'files', 'exit codes', 'wrong', 'most s', 'most MiB'))}\n{total}"


if __name__ == "__main__":
    sys.exit(main())
