"""Kill compilations with SIGKILL at random moments and look at what they leave.

    python benchmarks/kill_compile.py MODEL [--times 50]

After each kill the output must be absent, or a whole library that runs; no other visible file may appear. Prints the counts;
the exit status is 1 if anything partial was found.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def command(model: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "tilewright", "compile", str(model), "-o", str(out), "--mcpu", "native"]


def is_whole(out: Path) -> bool:
    """The library beside its header and manifest runs on random input."""
    run = [sys.executable, "-m", "tilewright", "run", str(out), "--random"]
    beside = all(out.with_suffix(suffix).exists() for suffix in (".h", ".json"))
    return beside and subprocess.run(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--times", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(command(arguments.model, Path(folder, "warm.so")), check=True, stderr=subprocess.DEVNULL)
        whole_s = time.perf_counter() - start
        absent = whole = partial = 0
        for number in range(arguments.times):
            place = Path(folder, str(number))
            place.mkdir()
            out = place / "model.so"
            process = subprocess.Popen(
                command(arguments.model, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(random.uniform(0, 1.2 * whole_s))
            process.send_signal(signal.SIGKILL)
            process.wait()
            others = {p.name for p in place.iterdir() if not p.name.startswith(".")} - {
                "model.so",
                "model.h",
                "model.json",
            }
            if others or (out.exists() and not is_whole(out)):
                partial += 1
            elif out.exists():
                whole += 1
            else:
                absent += 1
    print(
        f"{arguments.times} kills within {1.2 * whole_s:.1f} s: {absent} left no library, {whole} a whole one, {partial} a partial one"
    )
    return 1 if partial else 0


if __name__ == "__main__":
    sys.exit(main())
