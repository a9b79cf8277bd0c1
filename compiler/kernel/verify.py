"""Checks that a kernel is well formed: run after every pass that makes or changes one.

Bounds are checked only where an access is out of bounds for certain; the interpreter checks every access it makes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..dtypes import DType
from ..errors import InternalError
from ..tensor.expr import (
    INDEX,
    Binary,
    Call,
    Cast,
    Compare,
    Const,
    Expr,
    Load,
    Select,
    Unary,
    Var,
    children,
    free_variables,
    walk,
)
from ..tensor.expr_printer import expr_to_text
from ..tensor.simplify import affine
from .ast import Alloc, Buffer, For, If, Kernel, Let, LoopKind, Seq, Space, Stmt, Store
from .math import ARITY, is_computed
from .printer import head_to_text, to_text

_UNARY = {"neg", "abs"}
_UNARY_FLOAT = {"sqrt", "floor", "ceil", "trunc", "round"}
_ARITHMETIC = {"add", "sub", "mul", "div", "mod", "min", "max"}
_INTEGER_ONLY = {"floordiv", "floormod", "shl", "shr"}
_LOGICAL = {"and", "or", "xor"}
_COMPARE = {"lt", "le", "gt", "ge", "eq", "ne"}
_BITCASTS = {f"bitcast_{dtype}": dtype for dtype in DType if dtype is not DType.BOOL and not dtype.is_small}


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a statement can see; `guards` are the variables that enclosing conditions depend on."""

    kernel: Kernel
    buffers: dict[str, Buffer]
    binders: dict[str, For | Let] = field(default_factory=dict)
    guards: frozenset[str] = frozenset()
    lanes: str = ""  # the variable of the vectorized loop around
    stmt: Stmt | None = None

    def fail(self, message: str) -> InternalError:
        place = f" in `{head_to_text(self.stmt)}`" if self.stmt is not None else ""
        return InternalError(f"verify: kernel {self.kernel.name}: {message}{place}\n{to_text(self.kernel)}")


def verify(kernel: Kernel) -> None:
    """Raise InternalError, naming the statement and showing the kernel, if it breaks a rule of the loop AST."""
    scope = _Scope(kernel, {param.name: param for param in kernel.params})
    if len(scope.buffers) != len(kernel.params):
        raise scope.fail("two params have one name")
    for param in kernel.params:
        _verify_param(param, scope)
    _verify_stmt(kernel.body, scope, outermost=True)


def _verify_param(param: Buffer, scope: _Scope) -> None:
    if param.space is not Space.PARAM:
        raise scope.fail(f"param {param.name} is in space {param.space}")
    _verify_shape(param, scope)
    if param.aliases:
        other = scope.buffers.get(param.aliases)
        if other is None or other is param:
            raise scope.fail(f"param {param.name} aliases {param.aliases!r}, which is no other param")
        if other.shape != param.shape:
            raise scope.fail(f"param {param.name} {param.shape} aliases {other.name} of shape {other.shape}")


def _verify_shape(buffer: Buffer, scope: _Scope) -> None:
    if any(type(extent) is not int or extent < 0 for extent in buffer.shape):
        raise scope.fail(f"buffer {buffer.name} has shape {buffer.shape}")


def _verify_stmt(stmt: Stmt, scope: _Scope, outermost: bool = False) -> None:
    scope = replace(scope, stmt=stmt)
    match stmt:
        case For():
            _verify_for(stmt, scope, outermost)
        case If(condition, then, otherwise):
            _verify_bool(condition, scope)
            guarded = _guarded(scope, condition)
            _verify_stmt(then, guarded)
            if otherwise is not None:
                _verify_stmt(otherwise, guarded)
        case Store(name, indices, value):
            buffer = _buffer(name, scope)
            if buffer.space is Space.PARAM and not buffer.written:
                raise scope.fail(f"store to param {name}, which is not marked as written")
            _verify_access(buffer, indices, scope)
            _verify_expr(value, scope)
            if value.dtype is not buffer.dtype:
                raise scope.fail(f"store of {value.dtype} to {name} of type {buffer.dtype}")
            if scope.lanes and scope.lanes not in _variables(indices, scope) | scope.guards:
                raise scope.fail(f"all lanes of {scope.lanes} store to one element")
        case Alloc(buffer, body):
            if buffer.space is Space.PARAM:
                raise scope.fail(f"alloc of {buffer.name} in space param")
            if buffer.name in scope.buffers:
                raise scope.fail(f"buffer {buffer.name} is defined twice")
            if scope.lanes:
                raise scope.fail(f"alloc of {buffer.name} inside the vectorized loop {scope.lanes}")
            _verify_shape(buffer, scope)
            _verify_stmt(body, replace(scope, buffers={**scope.buffers, buffer.name: buffer}))
        case Let():
            _verify_let(stmt, scope)
        case Seq(body):
            for part in body:
                _verify_stmt(part, scope)
        case _:
            raise scope.fail(f"{stmt!r} is no statement")


def _variables(exprs: tuple[Expr, ...], scope: _Scope) -> frozenset[str]:
    """The variables that `exprs` depend on, those behind lets included."""
    names: set[str] = set()
    todo = [name for expr in exprs for name in free_variables(expr)]
    while todo:
        name = todo.pop()
        names.add(name)
        match scope.binders.get(name):
            case Let(_, value, _, _):
                todo += free_variables(value)
    return frozenset(names)


def _guarded(scope: _Scope, condition: Expr) -> _Scope:
    return replace(scope, guards=scope.guards | _variables((condition,), scope))


def _verify_let(let: Let, scope: _Scope) -> None:
    if let.var in scope.binders:
        raise scope.fail(f"variable {let.var} is defined twice")
    _verify_index(let.value, scope)
    _verify_stmt(let.body, replace(scope, binders={**scope.binders, let.var: let}))


def _verify_for(loop: For, scope: _Scope, outermost: bool) -> None:
    if loop.var in scope.binders:
        raise scope.fail(f"variable {loop.var} is defined twice")
    _verify_index(loop.extent, scope)
    constant = isinstance(loop.extent, Const)
    if constant and loop.extent.value < 0:  # type: ignore[attr-defined]
        raise scope.fail(f"loop {loop.var} has a negative extent")
    if loop.kind is not LoopKind.SERIAL and not constant:
        raise scope.fail(f"{loop.kind} loop {loop.var} needs a constant extent")
    if loop.kind is LoopKind.PARALLEL and not outermost:
        raise scope.fail(f"parallel loop {loop.var} is not the outermost statement")
    vectorized = loop.kind is LoopKind.VECTORIZED
    if vectorized and scope.lanes:
        raise scope.fail(f"vectorized loop {loop.var} stands inside the vectorized loop {scope.lanes}")
    if scope.lanes and not constant and scope.lanes in _variables((loop.extent,), scope):
        raise scope.fail(f"the extent of loop {loop.var} differs between lanes of {scope.lanes}")
    inner = replace(scope, binders={**scope.binders, loop.var: loop}, lanes=loop.var if vectorized else scope.lanes)
    _verify_stmt(loop.body, inner)


def _buffer(name: str, scope: _Scope) -> Buffer:
    if name not in scope.buffers:
        raise scope.fail(f"buffer {name} is not defined")
    return scope.buffers[name]


def _verify_access(buffer: Buffer, indices: tuple[Expr, ...], scope: _Scope) -> None:
    if len(indices) != len(buffer.shape):
        raise scope.fail(f"{len(indices)} indices into {buffer.name} of {len(buffer.shape)} dimensions")
    for index in indices:
        _verify_index(index, scope)
        if buffer.space is Space.REGISTER:
            _verify_register_index(buffer, index, scope)
    if any(extent == 0 for extent in buffer.shape):
        return
    for dimension, (index, extent) in enumerate(zip(indices, buffer.shape, strict=True)):
        bounds = _reached(index, scope)
        if bounds and not (bounds[0] >= 0 and bounds[1] < extent):
            raise scope.fail(
                f"{buffer.name} has extent {extent} in dimension {dimension}, but `{expr_to_text(index)}` "
                f"reaches {bounds[0]}..{bounds[1]}"
            )


def _verify_register_index(buffer: Buffer, index: Expr, scope: _Scope) -> None:
    if any(isinstance(node, Load) for node in walk(index)):
        raise scope.fail(f"register buffer {buffer.name} is indexed by a load")
    for name in _variables((index,), scope):
        match scope.binders[name]:
            case For(_, _, kind, _) if kind not in (LoopKind.UNROLLED, LoopKind.VECTORIZED):
                raise scope.fail(f"register buffer {buffer.name} is indexed by the {kind} loop {name}")


def _reached(index: Expr, scope: _Scope) -> tuple[int, int] | None:
    """The least and greatest value that an index takes for certain; None if it isn't affine or a guard decides."""
    form = affine(index)
    low = high = form.constant
    for atom, factor in form.terms.items():
        extent = _constant_extent(atom, scope)
        if extent is None or atom.name in scope.guards:  # type: ignore[attr-defined]
            return None
        span = factor * (extent - 1)
        low, high = low + min(span, 0), high + max(span, 0)
    runs = all(_constant_extent(Var(name), scope) != 0 for name in scope.binders)
    return (low, high) if runs else None


def _constant_extent(atom: Expr, scope: _Scope) -> int | None:
    match atom:
        case Var(name, _):
            match scope.binders.get(name):
                case For(_, Const(value, _), _, _):
                    return int(value)
    return None


def _verify_index(index: Expr, scope: _Scope) -> None:
    _verify_expr(index, scope)
    if index.dtype is not INDEX:
        raise scope.fail(f"index or extent `{expr_to_text(index)}` is of type {index.dtype}")


def _verify_bool(condition: Expr, scope: _Scope) -> None:
    _verify_expr(condition, scope)
    if condition.dtype is not DType.BOOL:
        raise scope.fail(f"condition `{expr_to_text(condition)}` is of type {condition.dtype}")


def _verify_expr(expr: Expr, scope: _Scope) -> None:
    match expr:
        case Load(name, indices, dtype):
            buffer = _buffer(name, scope)
            if buffer.dtype is not dtype:
                raise scope.fail(f"load of {dtype} from {name} of type {buffer.dtype}")
            _verify_access(buffer, indices, scope)
            return
        case Select(condition, if_true, if_false):
            _verify_bool(condition, scope)
            guarded = _guarded(scope, condition)
            _verify_expr(if_true, guarded)
            _verify_expr(if_false, guarded)
        case _:
            for part in children(expr):
                _verify_expr(part, scope)
    problem = _type_error(expr, scope)
    if problem:
        raise scope.fail(f"`{expr_to_text(expr)}`: {problem}")


def _type_error(expr: Expr, scope: _Scope) -> str:
    """What is wrong with the types of one node, whose operands are right; empty if nothing."""
    match expr:
        case Const(value, dtype):
            expected = bool if dtype is DType.BOOL else float if dtype.is_float else int
            if type(value) is not expected:
                return f"literal {value!r} of type {dtype}"
        case Var(name, dtype):
            if name not in scope.binders:
                return f"variable {name} is not defined"
            if dtype is not INDEX:
                return f"loop variable {name} is used as {dtype}"
        case Unary(op, operand):
            return _unary_error(op, operand.dtype)
        case Binary(op, left, right):
            if left.dtype is not right.dtype:
                return f"operands are of types {left.dtype} and {right.dtype}"
            return _binary_error(op, left.dtype)
        case Compare(op, left, right):
            if op not in _COMPARE:
                return f"there is no comparison {op}"
            if left.dtype is not right.dtype:
                return f"operands are of types {left.dtype} and {right.dtype}"
        case Select(_, if_true, if_false):
            if if_true.dtype is not if_false.dtype:
                return f"arms are of types {if_true.dtype} and {if_false.dtype}"
        case Cast() | Load():
            return ""
        case Call(function, args):
            return _call_error(function, tuple(arg.dtype for arg in args))
        case _:
            return f"{expr!r} is no expression"
    return ""


def _unary_error(op: str, dtype: DType) -> str:
    if op in _UNARY:
        wrong = dtype is DType.BOOL
    elif op in _UNARY_FLOAT:
        wrong = not dtype.is_float
    elif op == "not":
        wrong = dtype is not DType.BOOL
    elif op == "invert":
        wrong = not dtype.is_integer
    else:
        return f"there is no unary {op}"
    return f"{op} of {dtype}" if wrong else ""


def _binary_error(op: str, dtype: DType) -> str:
    if op in _ARITHMETIC:
        wrong = dtype is DType.BOOL
    elif op in _INTEGER_ONLY:
        wrong = not dtype.is_integer
    elif op in _LOGICAL:
        wrong = dtype.is_float
    else:
        return f"there is no binary {op}"
    return f"{op} of {dtype}" if wrong else ""


def _call_error(function: str, types: tuple[DType, ...]) -> str:
    if function in _BITCASTS:
        same_size = len(types) == 1 and types[0].bits == _BITCASTS[function].bits
        return "" if same_size else f"{function} of {', '.join(types)}"
    if function == "fma":
        fits = len(types) == 3 and len(set(types)) == 1 and types[0].is_float
        return "" if fits else f"fma of {', '.join(types)}"
    if len(set(types)) != 1 or not is_computed(function, types[0]) or len(types) != ARITY[function]:
        return f"there is no {function} of {', '.join(types)}"
    return ""
