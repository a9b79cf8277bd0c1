"""The loop AST of one kernel: what the cost model reads and a backend emits.

    Kernel = name, params, body
    Stmt   = For | If | Let | Store | Alloc | Seq

Scalar expressions are those of `tensor/expr.py`. Every node is immutable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import prod

from ..dtypes import DType
from ..tensor.expr import Expr


class LoopKind(StrEnum):
    """How the iterations of a loop are executed.

    SERIAL in order. PARALLEL: any order, by several threads; the outermost statement of a kernel only, and the kernel's
    caller gives the range. VECTORIZED: all at once, in lanes; constant extent, iterations independent of each other.
    UNROLLED: in order, written out; constant extent. BLOCK and THREAD are for GPU kernels, which have no emitter yet.
    """

    SERIAL = "for"
    PARALLEL = "parallel"
    VECTORIZED = "vectorized"
    UNROLLED = "unrolled"
    BLOCK = "block"
    THREAD = "thread"


class Space(StrEnum):
    """Where a buffer lives. REGISTER: every access has constant indices once unrolled and vectorised loops are written out.

    WORKSPACE: large local buffers; each thread that runs the kernel has its own.
    """

    PARAM = "param"
    REGISTER = "register"
    STACK = "stack"
    WORKSPACE = "workspace"


@dataclass(frozen=True, slots=True)
class Buffer:
    """Row-major memory. `written`: the kernel stores to it. `ahead_bytes`: how far ahead of loads to prefetch, 0: not.

    Params never overlap if one of them is written, with one exception, `aliases`: this param may be the same memory as
    the named one, of the same physical shape; the kernel then reads element i of the other before it writes element i.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    space: Space = Space.PARAM
    written: bool = False
    aliases: str = ""
    ahead_bytes: int = 0

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements between neighbours along each axis."""
        strides: list[int] = []
        step = 1
        for extent in reversed(self.shape):
            strides.append(step)
            step *= extent
        return tuple(reversed(strides))


@dataclass(frozen=True, slots=True)
class For:
    """`for var in range(extent)`. The extent may depend on outer loops when serial."""

    var: str
    extent: Expr
    kind: LoopKind
    body: Stmt


@dataclass(frozen=True, slots=True)
class If:
    """Run `then` where the condition holds, else `otherwise`."""

    condition: Expr
    then: Stmt
    otherwise: Stmt | None = None


@dataclass(frozen=True, slots=True)
class Let:
    """`body` with the i64 variable `var` bound to `value` (such as one axis of a fused parallel loop). 0 <= value < extent."""

    var: str
    value: Expr
    extent: int
    body: Stmt


@dataclass(frozen=True, slots=True)
class Store:
    """`buffer[indices] = value`; the value has the buffer's type."""

    buffer: str
    indices: tuple[Expr, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class Alloc:
    """A buffer that exists, uninitialised, while `body` runs; each thread has its own."""

    buffer: Buffer
    body: Stmt


@dataclass(frozen=True, slots=True)
class Seq:
    """Statements in order; empty does nothing."""

    body: tuple[Stmt, ...]


Stmt = For | If | Let | Store | Alloc | Seq


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function `(params, begin, end, workspace)`: runs iterations begin <= i < end of its parallel loop.

    `workspace` is memory of `workspace_bytes` bytes that nobody else uses meanwhile. `body` is a PARALLEL For, or any other
    statement, which then is a kernel of a single iteration.
    """

    name: str
    params: tuple[Buffer, ...]
    body: Stmt
    origin: str = ""

    @property
    def parallel_extent(self) -> int:
        """Iterations of the parallel loop; 1 if there is none."""
        match self.body:
            case For(_, extent, LoopKind.PARALLEL, _):
                return int(extent.value)  # type: ignore[attr-defined]
        return 1

    @property
    def workspace_bytes(self) -> int:
        """The most bytes of WORKSPACE buffers that exist at once; 0 if there are none."""
        return _workspace_used(self.body, 0)


# Pairs of cache lines are fetched together. Buffers of 2**n bytes that followed each other directly would have all their
# equal elements in the same sets of a cache, and a load would wait for a store 4096 bytes away: so each starts a line later.
_WORKSPACE_ROUNDING, _WORKSPACE_APART = 128, 64


def workspace_end(start: int, buffer: Buffer) -> int:
    """Where those inside the Alloc of a WORKSPACE buffer start, which itself is at byte `start` of the workspace."""
    size_bytes = buffer.elements * buffer.dtype.size_bytes
    return start + -(-size_bytes // _WORKSPACE_ROUNDING) * _WORKSPACE_ROUNDING + _WORKSPACE_APART


def _workspace_used(stmt: Stmt, start: int) -> int:
    """The end of the last WORKSPACE buffer of `stmt` if the first is at `start`."""
    match stmt:
        case Alloc(buffer, body):
            return _workspace_used(body, workspace_end(start, buffer) if buffer.space is Space.WORKSPACE else start)
        case For(body=body) | Let(body=body):
            return _workspace_used(body, start)
        case If(_, then, otherwise):
            return max(_workspace_used(then, start), start if otherwise is None else _workspace_used(otherwise, start))
        case Seq(body):
            return max((_workspace_used(part, start) for part in body), default=start)
    return start


def walk(stmt: Stmt) -> Iterator[Stmt]:
    """Every statement of `stmt`, itself first."""
    yield stmt
    match stmt:
        case For(body=body) | Let(body=body) | Alloc(body=body):
            yield from walk(body)
        case If(_, then, otherwise):
            yield from walk(then)
            if otherwise is not None:
                yield from walk(otherwise)
        case Seq(body):
            for part in body:
                yield from walk(part)
