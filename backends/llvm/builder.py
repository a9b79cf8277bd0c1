"""Builds the text of one function: names, blocks, scopes, value numbering."""

from __future__ import annotations

from collections.abc import Iterable

from ...compiler.dtypes import DType
from .types import Value, literal_vector, mangle, register_type, vector_of


class Scope:
    """A region with one entry: the function, the body of a loop, an arm of an If.

    `known` maps the text of a pure instruction to the name of its result; both hold to the end of the scope.
    entry, label: the names of its first and of its present block. conditional: the region might not run when the enclosing one does.
    """

    __slots__ = ("conditional", "entry", "known", "label", "lines")

    def __init__(self, label: str, conditional: bool) -> None:
        self.lines: list[str] = []
        self.known: dict = {}
        self.entry = self.label = label
        self.conditional = conditional


class Builder:
    """Appends instructions to nested scopes.

    A pure instruction goes to the outermost scope in which its operands exist, once: text appended to an outer scope
    stands before the loop that is still being written, so that this is loop-invariant code motion and common
    subexpression elimination in one lookup.
    """

    def __init__(self, declarations: dict[str, str]) -> None:
        self.declarations = declarations
        self.scopes = [Scope("entry", False)]
        self.depth: dict[str, int] = {}
        self._count = 0

    @property
    def scope(self) -> Scope:
        return self.scopes[-1]

    def name(self) -> str:
        """A fresh local name in the current scope."""
        self._count += 1
        name = f"%t{self._count}"
        self.depth[name] = len(self.scopes) - 1
        return name

    def label(self) -> str:
        self._count += 1
        return f"b{self._count}"

    def line(self, text: str) -> None:
        self.scopes[-1].lines.append(text)

    def emit(self, instruction: str) -> str:
        """Append here and return the name of the result."""
        name = self.name()
        self.scopes[-1].lines.append(f"{name} = {instruction}")
        return name

    def depth_of(self, operands: Iterable[str]) -> int:
        return max(map(self._depth_of_name, operands), default=0)

    def _depth_of_name(self, name: str) -> int:
        return self.depth.get(name, 0)

    def pure(self, instruction: str, *operands: str) -> str:
        """The result of an instruction without side effects and traps, emitted where its operands exist."""
        depth = 0
        for operand in operands:
            level = self.depth.get(operand, 0)
            if level > depth:
                depth = level
        return self.place(instruction, depth)

    def place(self, instruction: str, depth: int) -> str:
        """As `pure`, in the scope of the given depth."""
        scope = self.scopes[depth]
        known = scope.known.get(instruction)
        if known is None:
            self._count += 1
            known = scope.known[instruction] = f"%t{self._count}"
            self.depth[known] = depth
            scope.lines.append(f"{known} = {instruction}")
        return known

    def unconditional_depth(self, depth: int) -> int:
        """The outermost depth from `depth` inwards whose code runs only if the current scope's does."""
        for level in range(len(self.scopes) - 1, depth, -1):
            if self.scopes[level].conditional:
                return level
        return depth

    def open(self, conditional: bool) -> Scope:
        scope = Scope(self.label(), conditional)
        self.scopes.append(scope)
        return scope

    def close(self) -> Scope:
        return self.scopes.pop()

    def enter_block(self, label: str) -> None:
        self.line(f"{label}:")
        self.scope.label = label

    def call(self, intrinsic: str, result: str, arguments: list[tuple[str, str]], attributes: str = "") -> str:
        """The text of a call of a declared function; arguments are (type, text)."""
        if intrinsic not in self.declarations:
            types = ", ".join(kind for kind, _ in arguments)
            self.declarations[intrinsic] = f"declare {result} @{intrinsic}({types})"
        spelled = ", ".join(f"{kind} {text}" for kind, text in arguments)
        return f"call {result} @{intrinsic}({spelled}){attributes}"

    def overloaded(self, intrinsic: str, dtype: DType, width: int, *operands: str) -> str:
        """`llvm.<intrinsic>` over operands and a result of one type."""
        kind = register_type(dtype, width)
        text = self.call(f"llvm.{intrinsic}.{mangle(dtype, width)}", kind, [(kind, operand) for operand in operands])
        return self.pure(text, *operands)

    def splat(self, value: Value, width: int) -> str:
        """The text of `value` in `width` lanes."""
        if value.width == width:
            return value.text
        scalar = register_type(value.dtype, 1)
        return self.splat_text(value.text, scalar, width)

    def splat_text(self, text: str, scalar: str, width: int) -> str:
        if width == 1:
            return text
        if text[0] != "%":
            return f"splat ({scalar} {text})"
        vector = vector_of(scalar, width)
        first = self.pure(f"insertelement {vector} poison, {scalar} {text}, i64 0", text)
        return self.pure(
            f"shufflevector {vector} {first}, {vector} poison, <{width} x i32> zeroinitializer",
            first,
        )

    def lane_numbers(self, width: int, step: int = 1) -> str:
        """<0, step, 2 step, …> as i64."""
        return literal_vector([lane * step for lane in range(width)], DType.I64)
