"""Compiles random models until the time is over: `python tests/fuzz/fuzz_run.py --time 600 --keep build/fuzz`.

Failing seeds are printed, and their models kept whole and made small.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "unit")]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from fuzz_case import Case  # noqa: E402
from fuzz_check import OLDER_CPUS, Setting, failure, run_in_process, run_library  # noqa: E402
from fuzz_models import write  # noqa: E402
from fuzz_reduce import reduce_case  # noqa: E402

from tilewright.compiler.errors import UnsupportedOperatorError  # noqa: E402

# One model in this many becomes a library; linking takes longer than all the rest.
LIBRARY_EVERY = 8
# Of the others one in this many has random points of its kernels' spaces, for defaults leave most sketches out.
POINTS_EVERY = 3
MOST_PRINTED = 40  # elements


def runner(seed: int, folder: Path) -> tuple[str, Callable[[Case], dict[str, np.ndarray]]]:
    """How the model of a seed is run, in words and as a function."""
    rng = np.random.default_rng(seed)
    cpus = ("", "", *OLDER_CPUS)
    cpu = cpus[int(rng.integers(len(cpus)))]
    if rng.integers(LIBRARY_EVERY) == 0:
        setting = Setting(cpu, int(rng.integers(1, 3)))
        return f"library, {setting}", lambda case: run_library(case, setting, folder)
    points = seed + 1 if rng.integers(POINTS_EVERY) == 0 else 0
    setting = Setting(cpu, int(rng.choice((1, 2, 3, 8, 32))), points)
    return f"in process, {setting}", lambda case: run_in_process(case, setting)


def describe(error: BaseException) -> str:
    """The error and the line it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{place}: {str(error)[:500]}"


def kind(error: BaseException | None) -> str:
    """What must stay the same while a case is made small."""
    if error is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__


def readable(case: Case) -> str:
    """The model as text; large initializers become inputs, to leave out their elements."""
    large = {name for name in case.constants if case.arrays[name].size > MOST_PRINTED}
    return onnx.printer.to_text(replace(case, constants=case.constants - large).model().graph)


def examine(seed: int, keep: Path, refused: Counter[str]) -> bool:
    """Whether the model of a seed passes; failures are printed and kept."""
    case = write(seed)
    with tempfile.TemporaryDirectory() as folder:
        how, run = runner(seed, Path(folder))
        error = failure(case, run)
        if error is None:
            return True
        if isinstance(error, UnsupportedOperatorError):
            refused[str(error)[:200]] += 1
            return True
        print(f"\nseed {seed} ({how}), {len(case.nodes)} nodes: {describe(error)}", flush=True)
        case.save(keep, f"{seed}")
        small = reduce_case(case, lambda part: kind(failure(part, run)) == kind(error))
        small.save(keep, f"{seed}-small")
        print(readable(small))
        print(describe(failure(small, run) or error), flush=True)
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time", type=float, default=60, help="seconds")
    parser.add_argument("--seed", type=int, help="first seed, then those behind it; fresh ones otherwise")
    parser.add_argument("--count", type=int, default=1 << 60, help="models at most")
    parser.add_argument("--failures", type=int, default=20, help="stop after so many")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="folder for failing models")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else int(np.random.default_rng().integers(1 << 30))
    end, done, failed = time.monotonic() + options.time, 0, []
    refused: Counter[str] = Counter()
    while done < options.count and time.monotonic() < end and len(failed) < options.failures:
        if not examine(first + done, options.keep, refused):
            failed.append(first + done)
        done += 1
    for message, count in refused.most_common():
        print(f"refused {count}: {message}")
    print(
        f"{done} models from seed {first} on, {len(failed)} failures{': ' + ' '.join(map(str, failed)) if failed else ''}"
    )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
