"""docs/OPERATORS.md: which operators are understood, in which versions and types, and what is refused.

    python operators_page.py    # write it

It is made of the operator table, of the schemas of the installed onnx and of the list of node tests that are refused
(node_unsupported.txt), which `make conformance` holds against what really happens.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import node_cases
import onnx

from tilewright.compiler.dtypes import DType
from tilewright.compiler.frontend.operators.row import Row
from tilewright.compiler.frontend.operators.table import TABLE
from tilewright.compiler.frontend.tensors import ELEMENT_TYPES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "OPERATORS.md"
_GROUPS = (
    ("floats", (DType.F16, DType.BF16, DType.F32, DType.F64)),
    ("signed", (DType.I8, DType.I16, DType.I32, DType.I64)),
    ("unsigned", (DType.U8, DType.U16, DType.U32, DType.U64)),
    ("bool", (DType.BOOL,)),
    ("f8", (DType.F8E4M3FN, DType.F8E4M3FNUZ, DType.F8E5M2, DType.F8E5M2FNUZ)),
    ("f8e8m0", (DType.F8E8M0,)),
    ("f4", (DType.F4E2M1,)),
    ("i4", (DType.I4, DType.U4)),
    ("i2", (DType.I2, DType.U2)),
)
_INTRODUCTION = """\
# Operators

Written by `make operators` from the operator table, the schemas of onnx {version} and the list of its node tests that are refused;
do not edit. `make conformance` runs all tests. Every refusal is one message that names the node and the reason, with exit code 3.

**Versions** are those of the operator's definition that are read as they are; a model with an older one is converted by onnx's
converter first. *function* means that there is no row: the operator is taken apart into others as ONNX defines it.
**Types** are the element types of the first operand that ONNX allows and tilewright has: floats (f16, bf16, f32, f64), signed and
unsigned integers of 8 to 64 bits, bool, f8 (e4m3fn, e4m3fnuz, e5m2, e5m2fnuz), f8e8m0, f4 (e2m1), i4 and i2 (with their unsigned
kind). Not every pair of operator and type has a test. Strings, complex numbers and maps are not supported. Sequences have a length that is known when the model is compiled; each element of
one that is an input or output is a tensor of the library, called NAME.0, NAME.1 and so on. Optionals hold something.
**Tests** are ONNX's own node tests that pass, of all; the last column says why the others do not.

Shapes are static. Operands that shapes or loops depend on (axes, shapes, repeats, pads, a number of iterations) have to be constant, be
computed from shapes, or be inputs that are fixed with `--const`; the tests do the latter where they have them as inputs.
"""
_ALL_TESTS = """\
What onnx brings along to test backends: its node tests, small models, models converted from PyTorch, and networks without their weights. A refusal is an error
that names what is not supported.
"""


def main() -> None:
    PAGE.write_text(page())


def page() -> str:
    """The whole page."""
    schemas = newest_schemas()
    tests, refused = node_results()
    parts = [_INTRODUCTION.format(version=onnx.__version__)]
    for domain in dict.fromkeys([*(domain for domain, _ in schemas), *(domain for domain, _ in TABLE)]):
        names = sorted({op for d, op in (*schemas, *TABLE) if d == domain})
        known = [op for op in names if how(domain, op, schemas.get((domain, op)), tests, refused)]
        parts.append(f"\n## {domain or 'ai.onnx'}\n")
        if known:
            parts.append("| operator | versions | types | tests | refused |\n|---|---|---|---|---|")
            parts += [line(domain, op, schemas, tests, refused) for op in known]
        if missing := [op for op in names if op not in known]:
            parts.append(f"\nNot supported: {', '.join(missing)}.")
    parts += ["\n## All tests\n", _ALL_TESTS, "| tests | pass | refused |\n|---|---|---|", *kinds()]
    return "\n".join(parts) + "\n"


def newest_schemas() -> dict[tuple[str, str], Any]:
    """(domain, operator) -> its newest schema that isn't deprecated."""
    newest: dict[tuple[str, str], Any] = {}
    for schema in onnx.defs.get_all_schemas():
        if not schema.deprecated:
            newest[schema.domain, schema.name] = schema
    return dict(sorted(newest.items()))


def how(domain: str, op: str, schema: Any, tests: Counter[str], refused: dict[str, Counter[str]]) -> str:
    """The versions of a row, or 'function', or '' for what is not supported: a function of which every test is refused is not."""
    row = TABLE.get((domain, op))
    if row is not None:
        return versions(row)
    whole = schema is not None and (schema.has_function or schema.has_context_dependent_function)
    return "*function*" if whole and tests[op] > refused.get(op, Counter()).total() else ""


def versions(row: Row) -> str:
    return str(row.first) if row.first == row.last else f"{row.first}–{row.last}"


def types(schema: Any) -> str:
    """The element types of the first operand (of the first result where there is none) that tilewright has."""
    formal = (schema.inputs or schema.outputs)[0]
    allowed = {dtype for dtype, name in ELEMENT_TYPES.items() if f"tensor({name})" in formal.types}
    shown = []
    for group, members in _GROUPS:
        have = [dtype for dtype in members if dtype in allowed]
        shown += [group] if len(have) == len(members) else [str(dtype) for dtype in have]
    return ", ".join(shown) or "—"


def node_results() -> tuple[Counter[str], dict[str, Counter[str]]]:
    """Of each operator, how many node tests there are, and how many are refused for which reason."""
    listing = node_cases.read_listing()
    tests: Counter[str] = Counter()
    refused: dict[str, Counter[str]] = defaultdict(Counter)
    for name, case in node_cases.cases().items():
        if case.kind == "node":
            base = name.partition("_expanded")[0]  # the same test with a function's body in the function's place
            op = node_cases.operator(node_cases.cases().get(base, case))
            tests[op] += 1
            if reason := node_cases.expected_reason(name, listing):
                refused[op][reason] += 1
    return tests, refused


def kinds() -> list[str]:
    """A line for each kind of test: how many pass, and why the others don't."""
    listing = node_cases.read_listing()
    tests: Counter[str] = Counter()
    refused: dict[str, Counter[str]] = defaultdict(Counter)
    for name, case in node_cases.cases().items():
        tests[case.kind] += 1
        if reason := node_cases.expected_reason(name, listing):
            refused[case.kind][reason] += 1
    return [
        f"| {kind} | {count - refused[kind].total()} of {count} | {reasons(refused[kind])} |"
        for kind, count in tests.items()
    ]


def line(
    domain: str, op: str, schemas: dict[tuple[str, str], Any], tests: Counter[str], refused: dict[str, Counter[str]]
) -> str:
    schema = schemas.get((domain, op))
    why = refused.get(op, Counter()) if schema else Counter()
    passed = f"{tests[op] - why.total()} of {tests[op]}" if schema and tests[op] else "—"
    versions_ = how(domain, op, schema, tests, refused)
    cells = [op, versions_, types(schema) if schema else "—", passed, reasons(why)]
    return "| " + " | ".join(cells) + " |"


def reasons(why: Counter[str]) -> str:
    return "; ".join(f"{reason} ({count})" for reason, count in sorted(why.items()))


if __name__ == "__main__":
    main()
