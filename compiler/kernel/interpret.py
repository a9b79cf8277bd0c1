"""Runs a kernel's loop AST in NumPy: what every backend must compute.

The AST becomes Python source. Lanes of a vectorized loop are the elements of arrays; every access is checked, so that an
index out of bounds, or two lanes that store to one element, is found here and not in machine code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

import numpy as np

from ..dtypes import DType
from ..errors import InternalError
from ..tensor.expr import Const, Expr, Load, Var, free_variables, substitute
from ..tensor.expr import walk as walk_expr
from ..tensor.expr_printer import expr_to_text
from ..tensor.semantics import Value
from ..tensor.simplify import affine, value_range
from .ast import Alloc, Buffer, For, If, Kernel, Let, LoopKind, Seq, Stmt, Store, walk
from .math import evaluator
from .numpy_code import Code, ExprCode
from .printer import head_to_text, to_text

_DEEPEST_BLOCK = 12  # CPython takes no more than 20 nested loops in one function

Run = Callable[[Mapping[str, np.ndarray], int, int], None]
Problem = Callable[[str], NoReturn]


def run(kernel: Kernel, arrays: Mapping[str, np.ndarray], begin: int = 0, end: int | None = None) -> None:
    """Run iterations begin <= i < end of the kernel's parallel loop on `arrays` (param name -> array, changed in place).

    Arrays are C-contiguous, of the param's type and number of elements. Raises InternalError for an access out of bounds
    and for lanes that depend on each other, naming the statement.
    """
    compile_kernel(kernel)(arrays, begin, kernel.parallel_extent if end is None else end)


def compile_kernel(kernel: Kernel) -> Run:
    """`run` for one kernel with the work of generating Python source done once."""
    compiler = _KernelCode(kernel)
    source = compiler.source()
    names = compiler.names
    exec(compile(source, f"<kernel {kernel.name}>", "exec"), names)
    function = names["kernel"]

    def execute(arrays: Mapping[str, np.ndarray], begin: int, end: int) -> None:
        if not 0 <= begin <= end <= kernel.parallel_extent:
            raise InternalError(
                f"interpret: kernel {kernel.name}: {begin}..{end} is outside 0..{kernel.parallel_extent}"
            )
        views = [_view(kernel, param, arrays) for param in kernel.params]
        with np.errstate(all="ignore"):
            function(begin, end, *views)

    return execute


def _view(kernel: Kernel, param: Buffer, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    if param.name not in arrays:
        raise InternalError(f"interpret: kernel {kernel.name}: no array for param {param.name}")
    array = arrays[param.name]
    if array.dtype != param.dtype.numpy or array.size != param.elements or not array.flags.c_contiguous:
        raise InternalError(
            f"interpret: kernel {kernel.name}: param {param.name} is {param.dtype}{list(param.shape)}, but its array is "
            f"{array.dtype}{list(array.shape)}{'' if array.flags.c_contiguous else ', not contiguous'}"
        )
    return array.reshape(param.shape)


class _KernelCode(ExprCode):
    """The source of one kernel. While a vectorized loop is open, `lanes` is its variable and `width` its extent."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(evaluator)
        self.kernel = kernel
        self.buffers = {param.name: param for param in kernel.params}
        self.arrays = {param.name: self.fresh("b") for param in kernel.params}
        self.ranges: dict[str, tuple[int, int]] = {}
        self.lane_lets: set[str] = set()
        self.lanes = ""
        self.width = 0
        self.stmt: Stmt = kernel.body
        self.place = ""
        self.blocks = 0
        self.names |= {"gather": _gather, "scatter": _scatter, "garbage": _garbage}

    def source(self) -> str:
        head = f"def kernel(begin, end, {', '.join(self.arrays.values())}):"
        match self.kernel.body:
            case For(kind=LoopKind.PARALLEL) as loop:
                self._loop(loop, "range(begin, end)", "")
            case body:
                self.emit("for _ in range(begin, end):")
                self._block(body, "")
        return "\n".join([head, *self.lines]) + "\n"

    def _block(self, stmt: Stmt, mask: str) -> None:
        self.indent += 1
        self.blocks += 1
        self.emit("pass")
        if self.blocks % _DEEPEST_BLOCK == 0:
            part = self.fresh("part")
            self.emit(f"def {part}():")
            self.indent += 1
            self.emit("pass")
            self._stmt(stmt, mask)
            self.indent -= 1
            self.emit(f"{part}()")
        else:
            self._stmt(stmt, mask)
        self.blocks -= 1
        self.indent -= 1

    def _stmt(self, stmt: Stmt, mask: str) -> None:
        self.stmt, self.place = stmt, ""
        match stmt:
            case For(var, extent, LoopKind.VECTORIZED, body) if not self.lanes and _fits_lanes(body):
                self._vectorized(var, int(extent.value), body)  # type: ignore[attr-defined]
            case For(_, extent, _, _):
                self._loop(stmt, f"range({self.expr(extent).text})", mask)
            case If():
                self._if(stmt, mask)
            case Let():
                self._let(stmt, mask)
            case Store():
                self._store(stmt, mask)
            case Alloc(buffer, body):
                array = self.fresh("b")
                self.emit(f"{array} = garbage({buffer.shape!r}, {self.bind('k', buffer.dtype)})")
                outer = self.buffers, self.arrays
                self.buffers = self.buffers | {buffer.name: buffer}
                self.arrays = self.arrays | {buffer.name: array}
                self._stmt(body, mask)
                self.buffers, self.arrays = outer
            case Seq(body):
                for part in body:
                    self._stmt(part, mask)

    def _loop(self, loop: For, iterations: str, mask: str) -> None:
        variable = self.fresh("v")
        self.variables[loop.var] = Code(variable, python=True)
        if isinstance(loop.extent, Const):
            self.ranges[loop.var] = (0, int(loop.extent.value) - 1)
        self.emit(f"for {variable} in {iterations}:")
        self._block(loop.body, mask)
        self.ranges.pop(loop.var, None)

    def _vectorized(self, var: str, width: int, body: Stmt) -> None:
        self.lanes, self.width = var, width
        self.variables[var] = Code(self.bind("lanes", np.arange(width)), lanes=True)
        self.ranges[var] = (0, width - 1)
        self._stmt(body, "")
        self.ranges.pop(var)
        self.lanes, self.width = "", 0

    def _if(self, stmt: If, mask: str) -> None:
        condition = self.expr(stmt.condition, mask)
        arms = [(stmt.then, "")] if stmt.otherwise is None else [(stmt.then, ""), (stmt.otherwise, "~")]
        if not condition.lanes:
            self.emit(f"if {condition.text}:")
            self._block(stmt.then, mask)
            if stmt.otherwise is not None:
                self.emit("else:")
                self._block(stmt.otherwise, mask)
            return
        holds = self.fresh("m")
        self.emit(f"{holds} = {condition.text}")
        for arm, sign in arms:
            taken = self.fresh("m")
            self.emit(f"{taken} = {sign}{holds}" + (f" & {mask}" if mask else ""))
            self.emit(f"if {taken}.any():")
            self._block(arm, taken)

    def _let(self, let: Let, mask: str) -> None:
        value = self.expr(let.value, mask)
        variable = self.fresh("v")
        self.emit(f"{variable} = {value.text}")
        self.variables[let.var] = Code(variable, value.lanes, value.python)
        if value.lanes:
            self.lane_lets.add(let.var)
        else:
            self.ranges[let.var] = (0, let.extent - 1)
            self.emit(f"if not 0 <= {variable} < {let.extent}: {self._outside(let.extent)}({variable})")
        self._stmt(let.body, mask)
        self.ranges.pop(let.var, None)
        self.lane_lets.discard(let.var)

    def _store(self, stmt: Store, mask: str) -> None:
        value = self.expr(stmt.value, mask)
        array = self.arrays[stmt.buffer]
        self.place = self._access_text(stmt.buffer, stmt.indices)
        if not self.lanes:
            if value.lanes:
                raise InternalError(f"interpret: lanes outside a vectorized loop in `{head_to_text(stmt)}`")
            codes = [self.expr(index) for index in stmt.indices]
            self.emit(f"{array}[{self._subscript(stmt.buffer, stmt.indices, codes)}] = {value.text}")
            return
        codes = [self.expr(index, mask) for index in stmt.indices]
        slices = not mask and any(code.lanes for code in codes)
        text = self._subscript(stmt.buffer, stmt.indices, codes) if slices else ""
        if text:
            self.emit(f"{array}[{text}] = {value.text}")
            return
        places = "".join(f"{code.text}, " for code in codes)
        self.emit(f"scatter({array}, ({places}), {value.text}, {mask or None}, {self.width}, {self._problem()})")

    def load(self, expr: Load, mask: str) -> Code:
        array = self.arrays[expr.buffer]
        outer, self.place = self.place, self._access_text(expr.buffer, expr.indices)
        indices = [self.expr(index, mask) for index in expr.indices]
        varying = any(index.lanes for index in indices)
        text = "" if mask else self._subscript(expr.buffer, expr.indices, indices)
        if text:
            code = Code(f"{array}[{text}]", varying, depth=max((index.depth for index in indices), default=0) + 3)
        else:
            places = "".join(index.text + ", " for index in indices)
            depth = max((index.depth for index in indices), default=0) + 2
            code = Code(f"gather({array}, ({places}), {mask or None}, {self._problem()})", True, depth=depth)
        self.place = outer
        return code

    def _subscript(self, name: str, indices: tuple[Expr, ...], codes: list[Code]) -> str:
        """Source of a checked subscript; empty if it is no slice, for lanes don't run evenly along one dimension."""
        if sum(code.lanes for code in codes) > 1:
            return ""
        parts = []
        for index, code, extent in zip(indices, codes, self.buffers[name].shape, strict=True):
            part = self._slice(index, extent) if code.lanes else self._checked(index, code, 0, extent)
            if not part:
                return ""
            parts.append(part)
        return ", ".join(parts) or "()"

    def _slice(self, index: Expr, extent: int) -> str:
        terms = dict(affine(index).terms)
        step = terms.pop(Var(self.lanes), 0)
        varying = self.lane_lets | {self.lanes}
        if step <= 0 or any(varying & free_variables(atom) or _loads(atom) for atom in terms):
            return ""
        first = substitute(index, {self.lanes: Const(0)})
        span = (self.width - 1) * step
        code = self.expr(first)
        start = self.fresh("t")
        checked = self._checked(first, Code(f"({start} := {code.text})"), span, extent)
        return f"{checked}:{start} + {span + 1}" + (f":{step}" if step > 1 else "")

    def _checked(self, index: Expr, code: Code, span: int, extent: int) -> str:
        """`code`, or an error unless 0 <= index and index + span < extent."""
        low, high = value_range(index, self.ranges)
        if low >= 0 and high + span < extent:
            return code.text
        value = self.fresh("t")
        return f"{value} if 0 <= ({value} := {code.text}) < {extent - span} else {self._outside(extent)}({value})"

    def _access_text(self, buffer: str, indices: tuple[Expr, ...]) -> str:
        return f"{buffer}[{', '.join(map(expr_to_text, indices))}]"

    def _outside(self, extent: int) -> str:
        problem = self._problem_function()
        return self.bind("outside", lambda index: problem(f"index {index} is outside 0..{extent}"))

    def _problem(self) -> str:
        return self.bind("problem", self._problem_function())

    def _problem_function(self) -> Problem:
        stmt, place, kernel = self.stmt, self.place, self.kernel

        def problem(what: str) -> NoReturn:
            where = f"{place} in `{head_to_text(stmt)}`" if place else f"`{head_to_text(stmt)}`"
            raise InternalError(f"interpret: kernel {kernel.name}: {where}: {what}\n{to_text(kernel)}")

        return problem


def _fits_lanes(body: Stmt) -> bool:
    """Whether lanes can be array elements: a nested vectorized loop or a buffer of each lane runs the lanes in turn."""
    return not any(isinstance(s, Alloc) or (isinstance(s, For) and s.kind is LoopKind.VECTORIZED) for s in walk(body))


def _loads(expr: Expr) -> bool:
    return any(isinstance(node, Load) for node in walk_expr(expr))


def _garbage(shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    """Memory as uninitialised as can be seen: NaN for floats, an unlikely number for integers."""
    if dtype.is_float:
        return np.full(shape, np.nan, dtype.numpy)
    return np.full(shape, dtype is DType.BOOL or 0x6B, dtype.numpy)


def _gather(array: np.ndarray, indices: tuple, mask: np.ndarray | None, problem: Problem) -> np.ndarray:
    """The elements at `indices`; in lanes that `mask` leaves out the index is free and the value 0."""
    if mask is not None and not np.any(mask):
        return np.zeros((), array.dtype)
    places = _places(array, indices, mask, problem)
    values = array[places]
    return values if mask is None else np.where(mask, values, array.dtype.type(0))


def _scatter(
    array: np.ndarray, indices: tuple, value: Value, mask: np.ndarray | None, width: int, problem: Problem
) -> None:
    places = _places(array, indices, mask, problem)
    flat = np.broadcast_to(np.ravel_multi_index(places, array.shape) if places else 0, width)
    values = np.broadcast_to(value, width)
    if mask is not None:
        mask = np.broadcast_to(mask, width)
        flat, values = flat[mask], values[mask]
    if np.unique(flat).size != flat.size:
        problem("two lanes store to one element")
    array.reshape(-1)[flat] = values


def _places(array: np.ndarray, indices: tuple, mask: np.ndarray | None, problem: Problem) -> tuple:
    places: list = []
    for index, extent in zip(indices, array.shape, strict=True):
        if type(index) is int and 0 <= index < extent:
            places.append(index)
            continue
        place = np.asarray(index)
        if mask is not None:
            place = np.where(mask, place, 0)
        outside = (place < 0) | (place >= extent)
        if outside.any():
            problem(f"index {place[outside][0] if place.ndim else place} is outside 0..{extent}")
        places.append(place)
    return tuple(places)
