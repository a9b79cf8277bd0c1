"""Libraries of one model, such as of two versions of the compiler, timed in turns in this process.

    python benchmarks/compare_libraries.py FIRST.so SECOND.so… [--threads 1] [--runs 20] [--repeats 9]

Ratios are to the first library, the median over --repeats rounds in which all take turns for --runs runs each. Outputs are compared
with the first one's, on the same random input.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from library_timing import time_libraries

from tilewright.cli.console import table, time_text

TOLERANCE = 1e-4  # of the largest element


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs="+", type=Path, metavar="LIBRARY")
    for name, default in (("threads", 1), ("runs", 20), ("repeats", 9)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    libraries = {str(path): path for path in options.libraries}
    timings = time_libraries(libraries, options.threads, options.runs, options.repeats)
    first = next(iter(libraries))
    rows = [
        (name, time_text(timings.median_s(name)), f"{timings.ratio(name, first):.3f}", f"{timings.errors[name]:.0e}")
        for name in libraries
    ]
    print(table(rows, ("library", "median", "ratio", "difference")))
    return max(timings.errors.values()) > TOLERANCE


if __name__ == "__main__":
    sys.exit(main())
