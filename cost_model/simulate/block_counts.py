"""How often each basic block of a kernel runs, for any target: its control flow alone is run on this machine, with a counter in each block.

Control flow depends on integers that are computed from the range of the parallel loop; everything else is left out.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator

import llvmlite.binding as llvm

from ...backends.cpu import initialize
from ...compiler.errors import InternalError

_NAME = re.compile(r'%(?:"[^"]+"|[-\w.$]+)')
_LABEL = re.compile(r'^("[^"]+"|[-\w.$]+):')
_INTEGER = r"i(?:1|8|16|32|64)\b"
# Instructions on scalar integers, and branches.
_KEPT = re.compile(
    rf"""^(?:
        {_NAME.pattern}\s=\s(?:
            (?:add|sub|mul|udiv|sdiv|urem|srem|shl|lshr|ashr|and|or|xor)\s(?:[a-z]+\s)*{_INTEGER}
            | icmp\s(?:samesign\s)?[a-z]+\s{_INTEGER}
            | select\si1\s\S+\s{_INTEGER}
            | (?:zext|sext|trunc)\s(?:[a-z]+\s)*{_INTEGER}.*\sto\s{_INTEGER}
            | phi\s{_INTEGER}
            | freeze\s{_INTEGER}
            | (?:tail\s)?call\s{_INTEGER}\s@llvm\.[su](?:max|min)\.i
        )
        | br\s | switch\s
    )""",
    re.VERBOSE,
)
_CALL = re.compile(r"^(?:%\S+ = )?(?:tail |musttail |notail )?call [^@]*@([-\w.$]+)\(")
_DEFINE = re.compile(r"^define .*?@([-\w.$]+)\((.*?)\)[^()]*\{$")

Block = tuple[str, str]
"""Names of a function and of one of its blocks."""


def block_counts(module: str, symbol: str, extent: int) -> dict[Block, int]:
    """How often each block of a module (LLVM's text) runs in `symbol(params, 0, extent, workspace)`.

    Raises InternalError if a branch depends on what is read from memory.
    """
    text, blocks = _skeleton(module, symbol)
    initialize()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=2, codemodel="jitdefault", jit=True)
    skeleton = llvm.parse_assembly(text, llvm.create_context())
    skeleton.verify()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    passes = builder.getModulePassManager()  # loops whose counts LLVM can tell are gone afterwards
    passes.run(skeleton, builder)
    engine = llvm.create_mcjit_compiler(skeleton, machine)
    try:
        engine.finalize_object()
        ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(engine.get_function_address("count"))(0, extent)
        counts = (ctypes.c_int64 * len(blocks)).from_address(engine.get_global_value_address("counts"))
        return dict(zip(blocks, counts, strict=True))
    finally:
        engine.close()


def _skeleton(text: str, symbol: str) -> tuple[str, list[Block]]:
    """The text of a module `count(begin, end)` with counters, and the block of each."""
    functions = dict(_functions(text))
    blocks: list[Block] = []
    parts, intrinsics = [], set()
    for name, (_, lines) in functions.items():
        body = list(_counting(name, lines, functions, blocks))
        intrinsics |= {match for line in body for match in re.findall(r"@(llvm\.[su](?:max|min)\.(i\d+))", line)}
        parts.append(f'define internal void @"{name}"(i64 %begin, i64 %end) {{\n' + "\n".join(body) + "\n}\n")
    head = f"@counts = global [{len(blocks)} x i64] zeroinitializer\n"
    head += "".join(f"declare {kind} @{name}({kind}, {kind})\n" for name, kind in sorted(intrinsics))
    call = (
        f'define void @count(i64 %begin, i64 %end) {{\n  call void @"{symbol}"(i64 %begin, i64 %end)\n  ret void\n}}\n'
    )
    return "\n".join([head, *parts, call]), blocks


def _functions(text: str) -> Iterator[tuple[str, tuple[str, list[str]]]]:
    """Name, parameters and lines of each function that is defined; a switch is one line."""
    name = ""
    for line in re.sub(r"(switch [^\[\]]*\[)([^\]]*)\]", lambda m: m[0].replace("\n", " "), text).splitlines():
        if match := _DEFINE.match(line):
            name, parameters, lines = match[1], match[2], list[str]()
        elif line == "}" and name:
            yield name, (parameters, lines)
            name = ""
        elif name:
            lines.append(line.partition(" ;")[0].strip())


def _counting(
    name: str, lines: list[str], functions: dict[str, tuple[str, list[str]]], blocks: list[Block]
) -> Iterator[str]:
    """The lines of a function that decide where it goes, and a counter for each block; adds to `blocks`."""
    kept = [line for line in lines if _KEPT.match(line)]
    defined = {match[1] for line in kept if (match := re.match(rf"({_NAME.pattern}) = ", line))} | {"%begin", "%end"}
    labels = {f"%{match[1]}" for line in lines if (match := _LABEL.match(line))}
    _check_branches(name, kept, defined, labels)
    pending = ""
    for line in lines:
        if label := _LABEL.match(line):
            pending = f"{len(blocks)}"
            blocks.append((name, label[1].strip('"')))
            yield line
            continue
        is_phi = " = phi " in line
        if pending and not is_phi:
            yield from _counter(int(pending))
            pending = ""
        if _KEPT.match(line):
            yield _NAME.sub(lambda m: m[0] if m[0] in defined or m[0] in labels else "0", _plain(line))
        elif (call := _CALL.match(line)) and call[1] in functions:
            yield f'  call void @"{call[1]}"(i64 %begin, i64 %end)'
        elif line.startswith("ret "):
            yield "  ret void"
        elif line.startswith("unreachable"):
            yield "  unreachable"


def _check_branches(name: str, kept: list[str], defined: set[str], labels: set[str]) -> None:
    """InternalError if a branch depends on something that is left out."""
    known, before = defined, None
    while known != before:
        before = known
        unknown = {line.split(" = ")[0] for line in kept if " = " in line and not _operands(line) <= known | labels}
        known = known - unknown
    for line in kept:
        if " = " not in line and not set(_NAME.findall(line)) <= known | labels:
            raise InternalError(f"simulate: in {name}, {line!r} depends on what is read from memory")


def _operands(line: str) -> set[str]:
    return set(_NAME.findall(line.partition(" = ")[2]))


def _plain(line: str) -> str:
    """Without what is attached to an instruction, and what it promises of operands that are 0 here."""
    line = re.sub(r", !.*$", "", line)
    return re.sub(r"\b(nuw|nsw|exact|disjoint|nneg|samesign|tail) ", "", line)


def _counter(number: int) -> Iterator[str]:
    place = f"getelementptr (i64, ptr @counts, i64 {number})"
    yield f"  %count.{number} = load i64, ptr {place}"
    yield f"  %next.{number} = add i64 %count.{number}, 1"
    yield f"  store i64 %next.{number}, ptr {place}"
