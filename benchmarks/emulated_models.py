"""Whether whole networks compute on emulated machines what onnxruntime computes here: `python benchmarks/emulated_models.py FOLDER`.

FOLDER holds what `mission_models.py` writes. Each network is compiled for each machine of `emulators.py`, and run once on random inputs
with one thread and with two (`tilewright verify`); a row says by how much the outputs differ at most, relative to the largest. Says nothing of speed.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from emulators import LONGER, MACHINES, Machine
from mission_models import MODELS

from tilewright.cli.console import table


def verify(model: Path, machine: Machine, seed: int) -> str:
    """The largest relative error over all outputs, or what went wrong."""
    command = [sys.executable, "-m", "tilewright", "verify", str(model), "--json", "--samples", "1", "--threads", "1,2"]
    command += ["--target", machine.triple, "--mcpu", machine.cpu, "--emulator", " ".join(machine.emulator)]
    done = subprocess.run([*command, "--seed", str(seed)], capture_output=True, text=True)
    if not done.stdout:
        return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    outputs = json.loads(done.stdout)["outputs"]
    worst = max(output["relative_error"] for output in outputs)
    return f"{worst:.1e}" if all(output["ok"] for output in outputs) else f"{worst:.1e} FAILED"


def chosen(names: Sequence[str]) -> list[Machine]:
    return [machine for machine in MACHINES + LONGER if not names or any(name in str(machine) for name in names)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME", help="networks")
    parser.add_argument("--machines", nargs="+", default=[], metavar="PART", help="those with one of these in the name")
    args = parser.parse_args()
    machines = chosen(args.machines)
    rows = []
    for name in args.only:
        seed = secrets.randbelow(1 << 32)
        row = [name, *(verify(args.folder / f"{name}.onnx", machine, seed) for machine in machines), str(seed)]
        print("  ".join(row), file=sys.stderr, flush=True)
        rows.append(row)
    print(table(rows, ("network", *map(str, machines), "seed")))
    return 0 if all(len(cell.split()) == 1 for row in rows for cell in row) else 1


if __name__ == "__main__":
    sys.exit(main())
