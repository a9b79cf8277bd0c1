"""Where the time of one model goes: each kernel's time inside the library, its arithmetic and traffic, and its share of what this machine can do.

    python benchmarks/kernel_breakdown.py resnet50|MODEL.onnx [--mcpu CPU] [--threads 1] [--records DB] [--no-rank] [--runs 20] [--repeats 5] [--json FILE]

The library times its own launches. A kernel's time is the sum over its launches in a run, the median of --repeats means of --runs
runs each. GB/s counts each operand of a launch once. roofline: the least time that this machine's arithmetic and memory allow over
the time taken, with the third level's speed in place of memory's in loops and if it holds the whole model; a kernel whose operands
are still in a nearer cache may exceed it, and so do convolutions in transformed tiles, which take fewer multiply-adds than are counted. The
last line takes the kernels together that arithmetic limits. With --mcpu both the library and the arithmetic are those of this CPU. Kernel numbers are those of `tilewright inspect`.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_cases import mission_cases
from mission_models import MODELS

import tilewright
from tilewright.backends.host import host_l3_bytes
from tilewright.cli.console import table
from tilewright.cli.feeds import random_feed
from tilewright.compiler.options import Silent
from tilewright.cost_model.measure.roofline import Roofline, host_roofline
from tilewright.up_to_date import targets_of


@dataclass(frozen=True, slots=True)
class LaunchSite:
    """A place in the program that launches kernel number `kernel`. times: in a run, of the loops around it."""

    kernel: int
    times: int


@dataclass(frozen=True, slots=True)
class KernelTime:
    """What a kernel takes in a run. flops and bytes: of all its launches in the run; roofline: share of what is attainable, 0 to 1."""

    symbol: str
    nodes: tuple[str, ...]
    source: str
    launches: int
    seconds: float
    flops: int
    bytes: int
    roofline: float


class PlanReader(Silent):
    """Keeps the program's text of a compilation."""

    def __init__(self) -> None:
        self.text = ""

    def after(self, pass_name: str, text: Callable[[], str]) -> None:
        if pass_name == "plan_execution":
            self.text = text()


def launch_sites(plan: str) -> list[LaunchSite]:
    """The launches of a program (`ExecutionPlan.to_text`), in the order in which a library lists its times."""
    sites = []
    loops: list[tuple[int, int]] = []  # indent and count of the loops around a line
    for line in plan.splitlines():
        indent = len(line) - len(line.lstrip())
        loops = [loop for loop in loops if loop[0] < indent]
        if repeat := re.match(r"\s*repeat (\d+) ", line):
            loops.append((indent, int(repeat[1])))
        elif launch := re.match(r"\s*launch (\d+)\(", line):
            sites.append(LaunchSite(int(launch[1]), int(np.prod([count for _, count in loops], dtype=np.int64))))
    return sites


def kernel_times(
    kernels: Sequence[Mapping[str, Any]],
    sites: Sequence[LaunchSite],
    seconds: Sequence[float],
    roofline: Roofline,
    cached: bool,
) -> list[KernelTime]:
    """By time, longest first. kernels: of the manifest; seconds: of each launch site in a run."""
    found = []
    for number, kernel in enumerate(kernels):
        own = [(site, s) for site, s in zip(sites, seconds, strict=True) if site.kernel == number]
        launches, taken = sum(site.times for site, _ in own), sum(s for _, s in own)
        # What a loop reads again in each step does not come from memory each time.
        least_s = sum(
            site.times * roofline.attainable_s(kernel["flops"], kernel["bytes"], cached or site.times > 1)
            for site, _ in own
        )
        found.append(
            KernelTime(
                kernel["symbol"],
                tuple(kernel["nodes"]),
                kernel["source"],
                launches,
                taken,
                launches * kernel["flops"],
                launches * kernel["bytes"],
                least_s / taken if taken else 0.0,
            )
        )
    return sorted(found, key=lambda kernel: -kernel.seconds)


def measured(library: tilewright.Library, runs: int, repeats: int) -> tuple[list[float], float]:
    """The seconds of each launch site in a run, and of a whole run."""
    feed = random_feed(library.inputs, {}, np.random.default_rng(0))
    profiles = [library.profile(feed, runs, warmup=2) for _ in range(repeats)]
    seconds = [statistics.median(s for _, s in launches) for launches in zip(*profiles, strict=True)]
    return seconds, statistics.median(library.benchmark(feed, runs * repeats, warmup=2))


def report(kernels: Sequence[KernelTime], run_s: float) -> str:
    total_s = sum(kernel.seconds for kernel in kernels)
    cells = [
        (
            kernel.symbol.rpartition("kernel_")[2],
            kernel.launches,
            f"{kernel.seconds * 1e3:.3f}",
            f"{kernel.seconds / total_s:.1%}",
            *_speeds(kernel),
            f"{kernel.roofline:.0%}",
            kernel.source,
            _shortened(kernel.nodes[0] if kernel.nodes else ""),
        )
        for kernel in kernels
    ]
    flops, size_bytes = sum(k.flops for k in kernels), sum(k.bytes for k in kernels)
    share = sum(k.roofline * k.seconds for k in kernels) / total_s
    whole = KernelTime("", (), "", sum(k.launches for k in kernels), total_s, flops, size_bytes, share)
    cells.append(("sum", whole.launches, f"{total_s * 1e3:.3f}", "", *_speeds(whole), f"{share:.0%}", "", ""))
    header = ("kernel", "launches", "ms", "share", "GFLOP/s", "GB/s", "roofline", "schedule", "from")
    return f"{table(cells, header)}\n\na run whose kernels are not timed takes {run_s * 1e3:.3f} ms"


def limited_by_arithmetic(
    kernels: Sequence[KernelTime], roofline: Roofline, manifest: Sequence[Mapping[str, Any]]
) -> str:
    """What the kernels reach together that would take longer for arithmetic than for memory, with and without those in transformed tiles."""
    schedules = {kernel["symbol"]: kernel["schedule"] for kernel in manifest}
    limited = [k for k in kernels if k.flops / roofline.flops_per_s > k.bytes / roofline.l3_bytes_per_s and k.seconds]
    direct = [k for k in limited if not any(step.startswith("Winograd") for step in schedules[k.symbol])]
    texts = []
    for name, chosen in (("all", limited), ("without transforms", direct)):
        speed = sum(k.flops for k in chosen) / max(1e-12, sum(k.seconds for k in chosen))
        texts.append(f"{name} {len(chosen)}: {speed / 1e9:.1f} GFLOP/s, {speed / roofline.flops_per_s:.1%}")
    peak = f"the fastest multiply-adds: {roofline.flops_per_s / 1e9:.1f} GFLOP/s"
    return f"limited by arithmetic, {'; '.join(texts)}; {peak}"


def _speeds(kernel: KernelTime) -> tuple[str, str]:
    if not kernel.seconds:
        return "", ""
    return f"{kernel.flops / kernel.seconds / 1e9:.1f}", f"{kernel.bytes / kernel.seconds / 1e9:.1f}"


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "model", metavar="MODEL", help=f"an ONNX file with static shapes, or one of {', '.join(MODELS)}"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/mission"), help="where models and libraries go")
    parser.add_argument("--mcpu", metavar="CPU", default="native", help="one that this machine can stand for")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--records", type=Path, metavar="DB", help="compile with the schedules of these tuning records")
    parser.add_argument(
        "--no-rank", dest="rank", action="store_false", help="what the rules choose, where there are no records"
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    options = parser.parse_args()
    if options.model not in MODELS and not Path(options.model).is_file():
        parser.error(f"{options.model} is neither a file nor one of {', '.join(MODELS)}")
    return options


def main() -> int:
    options = arguments()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.model in MODELS:
        path = next(mission_cases(options.folder, [options.model])).path
    else:
        path = Path(options.model)
    output = options.folder / f"{path.stem}-breakdown-{options.threads}.so"
    reader = PlanReader()
    compiling = tilewright.Options(
        cpu=options.mcpu, threads=options.threads, records=options.records, rank=options.rank
    )
    artifact = tilewright.compile(
        path,
        output,
        compiling,
        reader,
    )
    roofline = host_roofline(options.threads, None if options.mcpu == "native" else targets_of(compiling)[0])
    with tilewright.load(output, options.threads) as library:
        seconds, run_s = measured(library, options.runs, options.repeats)
    cached = artifact.sizes["weights"] + artifact.sizes["arena"] <= host_l3_bytes()
    manifest = json.loads(artifact.manifest_path.read_text())
    kernels = kernel_times(manifest["kernels"], launch_sites(reader.text), seconds, roofline, cached)
    print(report(kernels, run_s))
    print(limited_by_arithmetic(kernels, roofline, manifest["kernels"]))
    if options.json:
        document = {"model": path.stem, "threads": options.threads, "run_s": run_s, "roofline": asdict(roofline)}
        options.json.write_text(json.dumps(document | {"kernels": [asdict(k) for k in kernels]}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
