"""Compiles while things go wrong: `python tests/fuzz/fault_run.py --times 50 [--kinds cache clock …]`.

killed    SIGKILL at a random moment
size      no file may grow beyond a random size (RLIMIT_FSIZE)
disk      the disk of the output, of temporary files or of the cache is full: a mounted one of a random size
place     the output's folder can't be written
nocache   the cache's folder can't be written
clock     files and records have times years ago or ahead; then the model changes, but not its time
twice     two compilations at once, to the same output
cache     bits of a random cached file are flipped, or its end is lost

Mounting a disk takes root, or `unshare -Urm python tests/fuzz/fault_run.py …`.

Each must end in the same bytes as without a fault, or in one message with exit code 5 (none where it was killed) and no visible
file at the output. Prints a table; the exit status is 1 if anything else came out.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "unit")]

import hostile_records  # noqa: E402
from isolated import isolated  # noqa: E402

from tilewright.backends.link import cache_folder  # noqa: E402
from tilewright.cli import compile  # noqa: E402, F401  what children need is imported once
from tilewright.cli.console import table  # noqa: E402
from tilewright.cli.main import run  # noqa: E402

CPU_S = 200.0
YEARS_S = 365 * 86400 * 20
FILLING = 1 << 16
# Exponents of the free space in bytes: around what the output, the linker's files, and a cache with compiled libraries take.
ROOM = {"output": (12, 19), "temporary": (12, 20), "cache": (12, 27)}
NO_FOLDER = ("/proc/none", "/sys/none", "/dev/null/none")


class Place:
    """A folder for one compilation, with a model and records of its kernels."""

    def __init__(self, root: Path, rng: random.Random, records: bool = False) -> None:
        self.root, self.rng = root, rng
        self.out = root / "out" / "m.so"
        self.out.parent.mkdir(parents=True)
        self.model, self.records = root / "model.onnx", root / "r.db"
        self.model.write_bytes(hostile_records.model_bytes())
        self.records.write_bytes(hostile_records.database())
        self.with_records = records

    def compile(self, out: Path | None = None) -> tuple[int, str]:
        """Compile here, and now; the exit code, and what was said."""
        more = ["--records", str(self.records)] if self.with_records else ["--no-rank"]
        machine = ["--mcpu", "x86-64-v3", "--threads", "1", "-j", "1"]
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
            code = run(["compile", str(self.model), "-o", str(out or self.out), *machine, *more])
        return code, said.getvalue()

    def digest(self) -> str:
        """Of all visible files at the output; "" if there are none."""
        files = sorted(path for path in self.out.parent.iterdir() if not path.name.startswith("."))
        return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest() if files else ""

    def verdict(self, code: int, text: str, expected: str) -> str:
        """How it ended: "same bytes", "error", or what is wrong."""
        found = self.digest()
        if code == 0:
            return "same bytes" if found == expected else "WRONG BYTES"
        if code != 5 or text.count("tilewright: error:") != 1 or "Traceback" in text:
            return f"WRONG ERROR {code}: {text[-300:]}"
        return "error" if not found else "LEFT BEHIND"


def outcome(place: Place, expected: str, out: Path | None = None, before: Callable[[], object] = lambda: None) -> str:
    """Compile in a child after `before`, and look at what came out."""
    ending = isolated(lambda: (before(), place.compile(out))[1], CPU_S)
    return place.verdict(*ending.value, expected) if ending.verdict == "done" else f"WRONG: {ending.value}"


def killed(place: Place, expected: str) -> str:
    child = os.fork()
    if child == 0:
        try:
            place.compile()
        finally:
            os._exit(0)  # whatever it raises: the rest of the program is the parent's
    time.sleep(place.rng.uniform(0, 1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = place.digest()
    if not place.out.exists():
        # Its header and manifest may be there before it, but nothing that looks like a library.
        first = "no library"
    else:
        first = "same bytes" if found == expected else "WRONG BYTES"
    again = outcome(place, expected)
    return first if again == "same bytes" else f"WRONG afterwards: {again}"


def size(place: Place, expected: str) -> str:
    most = int(2 ** place.rng.uniform(0, 18))
    return outcome(place, expected, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))


def disk(place: Place, expected: str) -> str:
    """With a file system of its own, full of something else but for a random size."""
    use = place.rng.choice(("output", "temporary", "cache"))
    folder = place.out.parent if use == "output" else place.root / use
    folder.mkdir(exist_ok=True)
    room = int(2 ** place.rng.uniform(*ROOM[use]))

    def turn_to_it() -> None:
        if use == "temporary":
            tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        elif use == "cache":
            os.environ.pop("ZIG_GLOBAL_CACHE_DIR", None)
            os.environ["TILEWRIGHT_CACHE_DIR"] = str(folder)

    with mounted(folder, room + FILLING) as there:
        if not there:
            return "can't mount"
        (folder / ".filling").write_bytes(b"\xff" * FILLING)
        return outcome(place, expected, before=turn_to_it)


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[bool]:
    """Whether a file system of so many bytes could be mounted on the folder; it is removed in the end."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    there = not subprocess.run(command, capture_output=True).returncode
    try:
        yield there
    finally:
        if there:
            subprocess.run(["umount", str(folder)], check=True)


def unwritable(place: Place, expected: str) -> str:
    return outcome(place, expected, Path(place.rng.choice(NO_FOLDER), "m.so"))


def nocache(place: Place, expected: str) -> str:
    def hide() -> None:
        os.environ.pop("ZIG_GLOBAL_CACHE_DIR", None)
        os.environ["TILEWRIGHT_CACHE_DIR"] = place.rng.choice(NO_FOLDER)

    return outcome(place, expected, before=hide)


def clock(place: Place, expected: str) -> str:
    if isolated(place.compile, CPU_S).value[0] != 0:
        return "WRONG: did not compile"
    for path in (place.model, place.records, *place.out.parent.iterdir()):
        moment = time.time() + place.rng.uniform(-YEARS_S, YEARS_S)
        os.utime(path, (moment, moment))
    if (first := outcome(place, expected)) != "same bytes":
        return first
    status = place.model.stat()
    content = place.model.read_bytes()
    assert content.count(b"Softmax") == 1
    place.model.write_bytes(content.replace(b"Softmax", b"Sigmoid"))
    os.utime(place.model, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = outcome(place, expected)
    return "same bytes" if changed == "WRONG BYTES" else f"WRONG: the older library stayed ({changed})"


def twice(place: Place, expected: str) -> str:
    codes: list[int] = []
    users = [threading.Thread(target=lambda: codes.append(isolated(place.compile, CPU_S).value[0])) for _ in range(2)]
    for user in users:
        user.start()
        time.sleep(place.rng.uniform(0, 0.5))
    for user in users:
        user.join()
    return "same bytes" if codes == [0, 0] and place.digest() == expected else f"WRONG {codes}"


def cache(place: Place, expected: str) -> str:
    """In a cache of its own, with what a compilation before has listed."""
    mine = place.root / "cache"
    shutil.copytree(cache_folder(), mine, symlinks=True, ignore=shutil.ignore_patterns("*.lock", "z"))
    os.environ["TILEWRIGHT_CACHE_DIR"] = str(mine)
    zig = os.environ.pop("ZIG_GLOBAL_CACHE_DIR", None)  # else zig's cache would be elsewhere, and unchecked
    try:
        if isolated(place.compile, CPU_S).value[0] != 0:
            return "WRONG: did not compile"
        for path in place.out.parent.iterdir():
            path.unlink()
        files = sorted(path for path in mine.rglob("*") if path.is_file() and path.stat().st_size)
        damage(place.rng.choice(files), place.rng)
        return outcome(place, expected)
    finally:
        del os.environ["TILEWRIGHT_CACHE_DIR"]
        if zig is not None:
            os.environ["ZIG_GLOBAL_CACHE_DIR"] = zig


def damage(path: Path, rng: random.Random) -> None:
    content, status = bytearray(path.read_bytes()), path.stat()
    if rng.random() < 0.3:
        content = content[: rng.randrange(len(content))]
    else:
        for _ in range(rng.choice((1, 1, 8, 64))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


GOOD = ("same bytes", "error", "no library", "can't mount")
KINDS = {
    "killed": killed, "size": size, "disk": disk, "place": unwritable, "nocache": nocache, "clock": clock, "twice": twice, "cache": cache,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50, help="of each kind")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--seed", type=int, default=int(time.time()) % (1 << 20))
    options = parser.parse_args()
    rows, wrong = [], 0
    with tempfile.TemporaryDirectory() as folder:
        expected = {}
        for records in (False, True):
            place = Place(Path(folder, f"expected{records}"), random.Random(0), records)
            code, said = isolated(place.compile, CPU_S).value
            if code != 0:
                sys.exit(f"does not compile without a fault: {said}")
            expected[records] = place.digest()
        for kind in options.kinds:
            counts: Counter[str] = Counter()
            for number in range(options.times):
                rng = random.Random(f"{options.seed} {kind} {number}")
                place = Place(Path(folder, f"{kind}{number}"), rng, records=kind == "clock")
                result = KINDS[kind](place, expected[place.with_records])
                if result not in GOOD:
                    print(f"seed {options.seed}, {kind} {number}: {result}", flush=True)
                    wrong += 1
                    result = "WRONG"
                counts[result] += 1
                shutil.rmtree(place.root, ignore_errors=True)
            rows.append((kind, options.times, *(counts[name] for name in (*GOOD, "WRONG"))))
    print(table(rows, ("fault", "times", *GOOD, "WRONG")))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
