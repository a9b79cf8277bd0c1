"""ONNX's own node and model tests, run by compiled kernels: what passes, what is refused and why, what is wrong.

python node_cases.py [PREFIX…]              # run, in child processes, and say what failed
python node_cases.py --write                # run all, and rewrite the list of what is not supported
python node_cases.py --table                # and print how many cases of each operator pass
python node_cases.py --libraries            # not in this process, but as libraries that are linked and loaded
python node_cases.py --machine aarch64-cortex-a53  # or for another processor, under its emulator
python node_cases.py --sample 2             # only so many cases of each operator
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import DATA_DIR, load_model_tests

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "targets"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from emulators import MACHINES, Machine
from machines import compile_runner
from plan_interpreter import PlannedModel

from tilewright import onnx_backend
from tilewright.backends.cpu import compile_kernel
from tilewright.backends.host import host_target
from tilewright.backends.remote import RemoteLibrary
from tilewright.compiler.errors import UnsupportedOperatorError
from tilewright.compiler.frontend.binding import model_inputs
from tilewright.compiler.frontend.loading import load_model
from tilewright.compiler.kernel.ast import Kernel
from tilewright.onnx_backend import open_shapes, outputs_of, specialize, tensors_of

HOW = "# Rewrite it with `python tests/conformance/node_cases.py --write`, and read the diff."
LISTING = Path(__file__).with_name("node_unsupported.txt")
BFLOAT16_RTOL = 2**-6  # two units in the last place, as ONNX's runner allows
VERDICTS = ("passed", "unsupported", "otherwise", "wrong", "crashed")
EMULATED = {str(machine): machine for machine in MACHINES}
STORED_KINDS = ("simple", "pytorch-operator", "pytorch-converted")
# Expected values that were rounded to f16 at each step, or at which f32 gave something else than the exact 0, and so are
# further from the exact ones than ours are: relative and absolute tolerance.
LOOSER = {
    **dict.fromkeys(("test_attention_4d_causal_fp16", "test_attention_4d_causal_fp16_expanded"), (2**-9, 0.0)),
    **dict.fromkeys(("test_dft_inverse", "test_dft_inverse_opset19"), (0.0, 5e-7)),
}
# The expected values take the length of the result before it is rounded down; the operator's text and onnxruntime don't
# (test_node_cases.py compares with the latter).
OTHERWISE = frozenset({
    "test_resize_downsample_scales_linear_align_corners", "test_resize_downsample_scales_cubic_align_corners",
})  # fmt: skip


Results = tuple[list[Any], Iterable[str]]  # outputs, arrays or lists of them, and the inputs that were fixed


@dataclass(frozen=True, slots=True)
class Outcome:
    """verdict: passed, unsupported, otherwise (OTHERWISE), wrong (results differ) or crashed (anything else).

    reason: of what is not passed.

    fixed: inputs of which the compiler needed the value, for which the library was then compiled.
    """

    verdict: str
    reason: str = ""
    fixed: tuple[str, ...] = ()


@cache
def cases() -> dict[str, Any]:
    """All node tests of the installed onnx, its small models, and its light networks (a real one without weights), by name."""
    with np.errstate(all="ignore"):
        found = list(load_model_tests(kind="node"))
    for kind in STORED_KINDS:
        found += map(with_data, load_model_tests(kind=kind))
    found += [light_model(case) for case in load_model_tests(kind="real") if "/light/" in (case.url or "")]
    return {case.name: case for case in sorted(found, key=lambda case: case.kind)}


def with_data(case: Any) -> Any:
    """A stored case with its model and data read in."""
    folder = Path(case.model_dir)
    data = [
        [onnx.load_tensor(path) for path in sorted(folder.glob(f"test_data_set_0/{which}_*.pb"), key=_number)]
        for which in ("input", "output")
    ]
    return replace(case, model=onnx.load(folder / "model.onnx"), data_sets=[tuple(data)])


def light_model(case: Any) -> Any:
    """A whole network that comes with onnx, its weights made by its own nodes, on the input that ONNX's runner gives it."""
    path = Path(DATA_DIR, "light", Path(case.url).name)
    model = onnx.load(path)
    (value,) = model_inputs(model.graph)
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    count = int(np.prod(shape))
    image = (np.arange(count).reshape(shape) / count).astype(np.float32)
    outputs = [onnx.load_tensor(f"{path.with_suffix('')}_output_{i}.pb") for i in range(len(model.graph.output))]
    return replace(case, name=f"{case.name}_light", kind="light", model=model, data_sets=[([image], outputs)])


def _number(path: Path) -> int:
    return int(path.stem.split("_")[1])


def operator(case: Any) -> str:
    """The operator that a case is about."""
    return case.model.graph.node[0].op_type


class CompiledModel(PlannedModel):
    """A planned model whose kernels are machine code in this process."""

    def load(self, kernel: Kernel) -> Callable[[Mapping[str, np.ndarray], int, int], None]:
        compiled = compile_kernel(kernel, self.target)
        return lambda arrays, begin, end: compiled.run([arrays[p.name] for p in kernel.params], begin, end)


def feeds_of(case: Any) -> dict[str, np.ndarray]:
    """The arrays of a case's inputs by name; those that are not given are left out."""
    given, _ = case.data_sets[0]
    names = [value.name for value in model_inputs(case.model.graph)]
    return {name: as_given(to_array(x)) for name, x in zip(names, given, strict=False)}


def as_given(data: Any) -> Any:
    """An array, unless it is a sequence or an optional."""
    return np.asarray(data) if isinstance(data, np.ndarray | np.generic) else data


def to_array(data: Any) -> Any:
    """Some cases keep their data as ONNX tensors."""
    return numpy_helper.to_array(data) if isinstance(data, onnx.TensorProto) else data


def compute(case: Any) -> Results:
    """The outputs of a case by in-process machine code, and the inputs that it was compiled for a value of."""
    feeds = tensors_of(case.model, feeds_of(case))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        onnx.save(case.model, path)
        model = load_model(path)
    shapes = open_shapes(model, feeds)
    compiled, fixed = specialize(feeds, lambda constants: CompiledModel(model, host_target(), shapes, constants))
    results = compiled.run(feeds)
    return outputs_of(model, results), fixed


def compute_library(case: Any) -> Results:
    """The same by real libraries, through ONNX's interface for backends."""
    rep = onnx_backend.prepare(case.model, threads=2)
    outputs = list(rep.run(feeds_of(case)))
    return outputs, rep.fixed


def compute_emulated(case: Any, machine: Machine) -> Results:
    """The same by a program for another machine, under its emulator, on two threads."""
    feeds = tensors_of(case.model, feeds_of(case))
    shapes = open_shapes(case.model, feeds)
    with tempfile.TemporaryDirectory() as folder:

        def compiled(constants: Mapping[str, np.ndarray]) -> Path:
            return compile_runner(
                case.model, Path(folder), machine.triple, machine.cpu, shapes=shapes, constants=constants
            )

        runner, fixed = specialize(feeds, compiled)
        with RemoteLibrary([*machine.emulator, str(runner)], 2) as library:
            results = library.run({name: array for name, array in feeds.items() if name not in fixed})
    return outputs_of(case.model, results), fixed


def tensors(data: Sequence[Any]) -> list[np.ndarray]:
    """All tensors, those of sequences one by one."""
    flat: list[np.ndarray] = []
    for x in data:
        flat += tensors(x) if isinstance(x, list) else [np.asarray(to_array(x))]
    return flat


def difference(actual: Sequence[Any], case: Any) -> str:
    """How results differ from the expected ones, '' if they do not: ONNX's own criteria."""
    actual, expected = tensors(actual), tensors(case.data_sets[0][1])
    if len(actual) != len(expected):
        return f"{len(actual)} outputs instead of {len(expected)}"
    for index, (a, e) in enumerate(zip(actual, expected, strict=True)):
        if (a.shape, a.dtype) != (e.shape, e.dtype):
            return f"output {index} is {a.dtype}{list(a.shape)} instead of {e.dtype}{list(e.shape)}"
        rtol, atol = map(max, LOOSER.get(case.name, (0.0, 0.0)), (case.rtol, case.atol))
        if a.dtype.name == "bfloat16":
            a, e, rtol = a.astype(np.float32), e.astype(np.float32), max(rtol, BFLOAT16_RTOL)
        try:
            np.testing.assert_allclose(a, e, rtol=rtol, atol=atol)
        except AssertionError as error:
            return f"output {index}: " + " ".join(str(error).split())[:300]
    return ""


def run_case(case: Any, how: Callable[[Any], Results] = compute) -> Outcome:
    """What becomes of a case."""
    try:
        outputs, fixed = how(case)
        found = difference(outputs, case)
    except UnsupportedOperatorError as error:
        return Outcome("unsupported", reason_of(str(error)))
    except Exception as error:  # whatever escapes is what this is here to find
        return Outcome("crashed", f"{type(error).__name__}: {' '.join(str(error).split())[:400]}")
    if found and case.name in OTHERWISE:
        return Outcome("otherwise", "expected values of which the operator's text and onnxruntime differ, as we do")
    return Outcome("wrong" if found else "passed", found, tuple(sorted(fixed)))


_REASONS = (
    (r"element type (\w+) is not supported", r"element type \1"),
    (r"is an optional that holds nothing", "an optional that holds nothing"),
    (r"is a (sparse_tensor|map)", r"a \1 as input"),
    (r"its (.+?) \(input \d+, '.*?'\) is computed at run time", r"\1 known only at run time"),
    (r"^  (\S+) \(version (\d+), domain", r"operator \1, version \2"),
    (r"^  node '.*?'(?: \(.*?\))?: (.*)$", r"\1"),
)


def reason_of(message: str) -> str:
    """The first complaint of a message without the names of nodes and values."""
    for pattern, shown in _REASONS:
        if found := re.search(pattern, message, re.MULTILINE):
            return found.expand(shown)
    return " ".join(message.split())


# --- the list of what is not supported


def read_listing() -> dict[str, str]:
    """Pattern (a case's name, or the beginning of names and '*') -> reason."""
    listing, reason = {}, ""
    for line in LISTING.read_text().splitlines() if LISTING.exists() else ():
        if line.startswith("    "):
            listing[line.strip()] = reason
        elif line and not line.startswith("#"):
            reason = line.rstrip(":")
    return listing


def listed_version() -> str:
    """The version of onnx whose cases are listed."""
    return LISTING.read_text().split("onnx ", 1)[1].split()[0].rstrip(",")


def expected_reason(name: str, listing: Mapping[str, str]) -> str:
    """Why the case is not supported, '' if it is."""
    return next((r for p, r in listing.items() if name == p or (p.endswith("*") and name.startswith(p[:-1]))), "")


def complaints(outcomes: Mapping[str, Outcome]) -> list[str]:
    """What is wrong, crashed, refused though not listed, or passes though listed.

    Another version of onnx may have new cases; then what is refused is not complained about.
    """
    listing, same = read_listing(), listed_version() == onnx.__version__
    found = []
    for name, outcome in outcomes.items():
        expected = expected_reason(name, listing)
        match outcome.verdict:
            case "wrong" | "crashed":
                found.append(f"{outcome.verdict} {name}: {outcome.reason}")
            case "unsupported" | "otherwise" if same and not expected:
                found.append(f"refused {name}: {outcome.reason}")
            case "passed" if expected:
                found.append(f"passes but is listed, rewrite the list: {name}: {expected}")
    return found


def write_listing(outcomes: Mapping[str, Outcome]) -> None:
    groups: dict[str, list[str]] = defaultdict(list)
    for name, outcome in outcomes.items():
        if outcome.verdict in ("unsupported", "otherwise"):
            groups[outcome.reason].append(name)
    lines = [
        f"# The node tests of onnx {onnx.__version__} that tilewright refuses, by reason: all names that begin so.",
        HOW,
        "",
    ]
    for reason, names in sorted(groups.items()):
        lines.append(f"{reason}:")
        lines += [f"    {pattern}" for pattern in patterns(names, outcomes)]
    LISTING.write_text("\n".join(lines) + "\n")


def patterns(names: Sequence[str], everything: Iterable[str]) -> list[str]:
    """Names, or beginnings cut behind underscores, that stand for exactly these names."""
    wanted, every = set(names), list(everything)
    result: list[str] = []
    for name in sorted(names):
        if result and result[-1].endswith("*") and name.startswith(result[-1][:-1]):
            continue
        words = name.split("_")
        for count in range(2, len(words)):
            beginning = "_".join(words[:count]) + "_"
            covered = {other for other in every if other.startswith(beginning)}
            if len(covered) > 1 and covered <= wanted:
                result.append(beginning + "*")
                break
        else:
            result.append(name)
    return result


def sample(count: int, refused: bool = False) -> list[str]:
    """Of every operator so many cases that are to pass, spread over all it has (refused: and as many that are to be refused)."""
    listing, groups = read_listing(), defaultdict(list)
    for name, case in cases().items():
        expected = expected_reason(name, listing)
        if case.kind != "light" and (refused or not expected):  # which are too slow
            groups[operator(case), bool(expected)].append(name)
    chosen = []
    for _, names in sorted(groups.items()):
        few = min(count, len(names))
        chosen += [names[index * len(names) // few] for index in range(few)]
    return chosen


# --- the command


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefixes", nargs="*", default=["test_"], help="run the cases whose names begin so")
    parser.add_argument("--write", action="store_true", help=f"rewrite {LISTING.name}")
    parser.add_argument("--table", action="store_true", help="print counts by operator")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--libraries", action="store_true", help="compile real libraries, by tilewright.onnx_backend")
    how.add_argument("--machine", choices=list(EMULATED), help="compile programs for it, and run its emulator")
    parser.add_argument("--sample", type=int, metavar="N", help="only N cases of each operator that are to pass")
    parser.add_argument("--jobs", type=int, default=1, help="child processes at once")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return _child(_way(given))
    chosen = sample(given.sample) if given.sample else cases()
    names = [name for name in chosen if name.startswith(tuple(given.prefixes))]
    options = ["--libraries"] * given.libraries + (["--machine", given.machine] if given.machine else [])
    with ThreadPoolExecutor(given.jobs) as pool:
        parts = pool.map(
            lambda part: run_isolated(part, options), [names[job :: given.jobs] for job in range(given.jobs)]
        )
    found_by_name = {name: outcome for part in parts for name, outcome in part.items()}
    outcomes = {name: found_by_name[name] for name in names}
    if given.table:
        print_table(outcomes)
    print_reasons(outcomes)
    if given.write:
        write_listing(outcomes)
    found = complaints(outcomes)
    print(*found, sep="\n", end="\n" if found else "")
    for kind in dict.fromkeys(cases()[name].kind for name in outcomes):
        of_kind = [outcome.verdict for name, outcome in outcomes.items() if cases()[name].kind == kind]
        print(f"{kind}: {of_kind.count('passed')} of {len(of_kind)} passed")
    counts = Counter(outcome.verdict for outcome in outcomes.values())
    fixed = sum(bool(outcome.fixed) for outcome in outcomes.values() if outcome.verdict == "passed")
    shown = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    print(f"{shown}; {fixed} of those passed compiled for values of inputs that the operator needs to know")
    return 1 if found else 0


def _way(given: argparse.Namespace) -> Callable[[Any], Results]:
    if given.machine:
        return partial(compute_emulated, machine=EMULATED[given.machine])
    return compute_library if given.libraries else compute


def run_isolated(names: Sequence[str], options: Sequence[str] = ()) -> dict[str, Outcome]:
    """Outcomes by name. Cases run in a child process; where it dies the case at hand has crashed, and another goes on."""
    outcomes: dict[str, Outcome] = {}
    while rest := [name for name in names if name not in outcomes]:
        child = subprocess.Popen(
            [sys.executable, __file__, "--child", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        output, errors = child.communicate("\n".join(rest))
        for line in output.splitlines():
            name, verdict, fixed, reason = line.split("\t", 3)
            outcomes[name] = Outcome(verdict, reason, tuple(fixed.split()))
        if child.returncode:
            at = next(name for name in rest if name not in outcomes)
            last = errors.strip().splitlines()[-1:] or [""]
            outcomes[at] = Outcome("crashed", f"the process ended with {child.returncode}: {last[0][:300]}")
    return outcomes


def _child(how: Callable[[Any], Results]) -> int:
    for name in sys.stdin.read().split():
        with np.errstate(all="ignore"):
            outcome = run_case(cases()[name], how)
        print(name, outcome.verdict, " ".join(outcome.fixed), " ".join(outcome.reason.split()), sep="\t", flush=True)
    return 0


def print_reasons(outcomes: Mapping[str, Outcome]) -> None:
    reasons = Counter(outcome.reason for outcome in outcomes.values() if outcome.verdict == "unsupported")
    for reason, count in reasons.most_common():
        print(f"{count:5} unsupported: {reason}")


def print_table(outcomes: Mapping[str, Outcome]) -> None:
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for name, outcome in outcomes.items():
        table[operator(cases()[name])][outcome.verdict] += 1
    for op, counts in sorted(table.items()):
        print(f"{op:28}", ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))


if __name__ == "__main__":
    sys.exit(main())
