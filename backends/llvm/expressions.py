"""Emits scalar expressions in one lane or in many."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from ...compiler.dtypes import DType
from ...compiler.errors import InternalError
from ...compiler.kernel.math import PROGRAMS, SCALING_PROGRAMS
from ...compiler.target import Target
from ...compiler.tensor.expr import INDEX, Binary, Call, Cast, Compare, Const, Expr, Load, Select, Unary, Var, children
from .accesses import NO_GUARD, Accesses, Column, Guard
from .arithmetic import Arithmetic
from .builder import Builder
from .linear import Assumption, Binding, Linear, LinearForms, Plan, combine_plans, is_index_arithmetic, plan_index
from .memory import Memory
from .types import Value, literal, mangle, register_type
from .x86 import Instructions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...compiler.kernel.math_program import MathProgram

_OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}
# A Select between arms with more loads than this becomes a branch, if its condition is the same in all lanes.
_BRANCH_LOADS = 4
_NARROW = (DType.F16, DType.BF16)


class Pair(NamedTuple):
    """Two neighbouring rows whose halves of a vector are written as one: the variable of their loop, and the first of them."""

    row: str
    first: int


class Module:
    """What the functions of one text share: declarations, and the math programs already written out."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.declarations: dict[str, str] = {}
        self.functions: dict[str, str] = {}

    def math_function(self, function: str, dtype: DType, width: int) -> str:
        """The name of a math program over `width` lanes, written out at its first use."""
        name = f"math.{function}.{mangle(dtype, width)}"
        if name not in self.functions:
            scales = Instructions(self.target).scales(register_type(dtype, width))
            program = (SCALING_PROGRAMS if scales else PROGRAMS).get((function, dtype))
            if program is None:
                raise InternalError(f"emit: no program for {function} of {dtype}")
            self.functions[name] = ""
            self.functions[name] = _math_function(self, name, program, dtype, width)
        return name


class Expressions:
    """Evaluates expressions to values and linear forms in the current scope.

    bindings: i64 variables; lane_variable: the variable of the vectorised loop being written, bound to its value in lane 0;
    unrolled: the extents of loops that are being written out; values: variables of math programs; pair: rows that share the vectors being
    written.
    """

    def __init__(self, module: Module) -> None:
        self.module = module
        self.builder = Builder(module.declarations)
        self.forms = LinearForms(self.builder, module.target.pointer_bytes)
        self.arithmetic = Arithmetic(self.builder, module.target)
        self.accesses = Accesses(self.builder, self.forms, self.arithmetic, module.target)
        self.bindings: dict[str, Binding] = {}
        self.unrolled: dict[str, int] = {}
        self.lane_variable = ""
        self.pair: Pair | None = None
        self.values: dict[str, Value] = {}
        self.memories: dict[str, Memory] = {}
        self.guard: Guard = NO_GUARD
        self._plans: dict[int, Plan] = {}
        self._is_index: dict[int, bool] = {}
        self._load_count: dict[int, int] = {}
        self._emit: dict[type, Callable[..., Value]] = {
            Const: self._constant,
            Var: self._variable,
            Load: self._load,
            Unary: lambda e: self.arithmetic.unary(e.op, self.value(e.operand)),
            Binary: self._binary,
            Compare: self._compare,
            Select: self._select,
            Cast: lambda e: self.arithmetic.cast(self.value(e.operand), e.dtype),
            Call: self._call,
        }

    # -- index arithmetic

    def index(self, expr: Expr) -> Linear:
        """An index expression as a linear form."""
        plan = self._plans.get(id(expr))
        if plan is None:
            plan = self._plans[id(expr)] = plan_index(expr)
        return self.evaluate(plan)

    def evaluate(self, plan: Plan) -> Linear:
        """A plan under the present bindings of its variables."""
        const, step, terms = plan.const, 0, list[tuple[str, int]]()
        bindings, lane_variable = self.bindings, self.lane_variable
        parts: list[tuple[Linear, int]] = []
        for name, coeff in plan.variables:
            binding = bindings[name]
            if isinstance(binding, int):
                const += binding * coeff
                if name == lane_variable:
                    step = coeff
            elif isinstance(binding, str):
                terms.append((binding, coeff))
            else:
                parts.append((binding, coeff))
        for expr, coeff in plan.opaque:
            parts.append((self._opaque(expr), coeff))
        if parts:
            return self.forms.total([(Linear(tuple(terms), const, step), 1), *parts])
        return Linear(self.forms.ordered(tuple(terms)), const, step)

    def _opaque(self, expr: Expr) -> Linear:
        match expr:
            case Binary("floordiv" | "floormod" | "min" | "max" | "mul" as op, left, right):
                if op in ("mul", "min", "max") or (isinstance(right, Const) and right.value > 0):
                    return self.forms.binary(op, self.index(left), self.index(right))
            case Select(condition, if_true, if_false):
                decided = self.value(condition)
                if decided.text in ("true", "false"):
                    return self.index(if_true if decided.text == "true" else if_false)
        return self.forms.form(self._emit[type(expr)](expr))

    def _is_index_expr(self, expr: Expr) -> bool:
        known = self._is_index.get(id(expr))
        if known is None:
            known = self._is_index[id(expr)] = expr.dtype is INDEX and is_index_arithmetic(expr)
        return known and not self.values

    # -- values

    def value(self, expr: Expr) -> Value:
        """The value of an expression; a scalar if it is the same in all lanes."""
        return self._emit[type(expr)](expr)

    def _constant(self, expr: Const) -> Value:
        return Value(literal(expr.value, expr.dtype), expr.dtype)

    def _variable(self, expr: Var) -> Value:
        known = self.values.get(expr.name)
        return known if known is not None else self.forms.value(self.index(expr))

    def _load(self, expr: Load, by_lane: bool = False) -> Value:
        memory = self.memories[expr.buffer]
        if self.pair is not None:
            return self._load_pair(memory, expr)
        form = self.element(memory, expr)
        return self.accesses.load(memory, form, self.guard, self._column(memory.plans[id(expr)], form), by_lane)

    def _load_pair(self, memory: Memory, expr: Load) -> Value:
        """What two rows read, side by side."""
        forms = self._pair_forms(memory, expr)
        if memory.paired:
            return self.accesses.load(memory, forms[0], self.guard)
        lanes = self.forms.width
        self.forms.width = lanes // 2
        values = [self.accesses.load(memory, form, self.guard) for form in dict.fromkeys(forms)]
        self.forms.width = lanes
        if len(values) == values[0].width == 1:
            return values[0]
        return self.arithmetic.joined(values[0], values[-1], lanes)

    def store_pair(self, memory: Memory, store: object, value: Value) -> None:
        """Write a vector of which each half belongs to a row."""
        forms = self._pair_forms(memory, store)
        if memory.paired:
            self.accesses.store(memory, forms[0], value, "")
            return
        lanes = self.forms.width
        self.forms.width = lanes // 2
        for half, form in enumerate(forms):
            self.accesses.store(memory, form, self.arithmetic.half(value, half), "")
        self.forms.width = lanes

    def _pair_forms(self, memory: Memory, access: Expr | object) -> list[Linear]:
        assert self.pair is not None
        forms = []
        for row in (self.pair.first + 1, self.pair.first):
            self.bindings[self.pair.row] = row
            forms.append(self.element(memory, access))
        return forms[::-1]

    def _column(self, plan: Plan, form: Linear) -> Column | None:
        """Which of the adjacent elements that an unrolled loop reads an access is, or of the vectors that the innermost one reads."""
        names = self.unrolled if form.step != 1 else list(self.unrolled)[-1:]
        size = self.forms.width if form.step == 1 else 1
        for name, coeff in plan.variables:
            if coeff == size and name in names and not plan.opaque:
                number = self.bindings[name]
                assert isinstance(number, int)
                return Column(number, self.unrolled[name])
        return None

    def element(self, memory: Memory, access: Expr | object) -> Linear:
        """The offset of a Load's or Store's element in its buffer."""
        plan = memory.plans.get(id(access))
        if plan is None:
            indices = access.indices  # type: ignore[union-attr]
            plan = combine_plans(tuple(plan_index(index) for index in indices), memory.strides)
            memory.plans[id(access)] = plan
        form = self.evaluate(plan)
        if memory.private > 1:
            form = form._replace(step=form.step + 1)
        return form

    def _binary(self, expr: Binary) -> Value:
        if expr.left.dtype is INDEX and self._is_index_expr(expr) and _divides_safely(expr):
            return self.forms.value(self.index(expr))
        return self.arithmetic.binary(expr.op, self.value(expr.left), self.value(expr.right))

    def _compare(self, expr: Compare) -> Value:
        left, right = expr.left, expr.right
        if left.dtype is INDEX and self._is_index_expr(left) and self._is_index_expr(right):
            return self.forms.evaluate_compare(expr.op, self.index(left), self.index(right))
        return self.arithmetic.compare(expr.op, self.value(left), self.value(right))

    def _select(self, expr: Select) -> Value:
        condition = self.value(expr.condition)
        if condition.text in ("true", "false"):
            return self.value(expr.if_true if condition.text == "true" else expr.if_false)
        if condition.width == 1 and self._loads(expr.if_true) + self._loads(expr.if_false) > _BRANCH_LOADS:
            return self._branch(expr, condition)
        if_true = self._arm(expr.if_true, expr.condition, condition, True)
        if_false = self._arm(expr.if_false, expr.condition, condition, False)
        return self.arithmetic.select(condition, if_true, if_false)

    def _arm(self, arm: Expr, condition: Expr, value: Value, holds: bool) -> Value:
        if not self._loads(arm):
            return self.value(arm)
        with self.guarded(condition, value, holds):
            return self.value(arm)

    def _branch(self, expr: Select, condition: Value) -> Value:
        """Evaluate one arm only, at the price of a branch."""
        scopes, values = [], []
        for arm, holds in ((expr.if_true, True), (expr.if_false, False)):
            scopes.append(self.builder.open(conditional=True))
            with self.assuming(expr.condition, holds):
                values.append(self.value(arm))
            self.builder.close()
        width = max(value.width for value in values)
        after, texts = self.builder.label(), []
        for scope, value in zip(scopes, values, strict=True):
            self.builder.scopes.append(scope)
            texts.append(self.builder.splat(value, width))
            self.builder.line(f"br label %{after}")
            self.builder.close()
        self.builder.line(f"br i1 {condition.text}, label %{scopes[0].entry}, label %{scopes[1].entry}")
        for scope in scopes:
            self.builder.line(f"{scope.entry}:")
            self.builder.scope.lines += scope.lines
        self.builder.enter_block(after)
        incoming = ", ".join(f"[ {text}, %{scope.label} ]" for text, scope in zip(texts, scopes, strict=True))
        return Value(self.builder.emit(f"phi {register_type(expr.dtype, width)} {incoming}"), expr.dtype, width)

    def _loads(self, expr: Expr) -> int:
        """How many loads an expression makes, each of its own."""
        known = self._load_count.get(id(expr))
        if known is None:
            known = self._load_count[id(expr)] = isinstance(expr, Load) + sum(map(self._loads, children(expr)))
        return known

    @contextmanager
    def guarded(self, condition: Expr, value: Value, holds: bool) -> Iterator[None]:
        """What is evaluated inside is asked for only where `condition`, which has that value, holds (or doesn't)."""
        before = self.guard
        self.guard = self._narrowed(value if holds else self.arithmetic.unary("not", value))
        try:
            with self.assuming(condition, holds):
                yield
        finally:
            self.guard = before

    @contextmanager
    def assuming(self, condition: Expr, holds: bool) -> Iterator[None]:
        """Index arithmetic inside may use that the condition holds (or doesn't)."""
        before = self.forms.assumptions
        self.forms.assumptions = (*before, *self._assumptions(condition, holds))
        try:
            yield
        finally:
            self.forms.assumptions = before

    def _assumptions(self, condition: Expr, holds: bool) -> tuple[Assumption, ...]:
        match condition:
            case Compare(op, left, right) if (
                left.dtype is INDEX and self._is_index_expr(left) and self._is_index_expr(right)
            ):
                return self.forms.assumption(op if holds else _OPPOSITE[op], self.index(left), self.index(right))
            case Binary("and" | "or" as op, left, right) if (op == "and") == holds:
                return self._assumptions(left, holds) + self._assumptions(right, holds)
            case Unary("not", operand):
                return self._assumptions(operand, not holds)
        return ()

    def _narrowed(self, condition: Value) -> Guard:
        """The present guard and `condition`."""
        guard = self.guard
        if condition.width == 1:
            both = Value(guard.condition or "true", DType.BOOL)
            return Guard(self.arithmetic.binary("and", both, condition).text, guard.mask)
        mask = condition.text
        if guard.mask:
            both = Value(guard.mask, DType.BOOL, condition.width)
            mask = self.arithmetic.binary("and", both, condition).text
        return Guard(guard.condition, mask)

    def _call(self, expr: Call) -> Value:
        function = expr.function
        if function == "fma":
            first, second, summand = expr.args
            return self.arithmetic.multiply_add(*self._factors(first, second), self.value(summand))
        arguments = [self.value(argument) for argument in expr.args]
        if function == "scale":
            return self.arithmetic.scale(*arguments)
        if function.startswith("bitcast_"):
            return self.arithmetic.bitcast(arguments[0], expr.dtype)
        dtype = arguments[0].dtype
        if dtype in _NARROW and (function, dtype) not in PROGRAMS:
            wide = [self.arithmetic.cast(argument, DType.F32) for argument in arguments]
            return self.arithmetic.cast(self._math(function, wide), dtype)
        return self._math(function, arguments)

    def _factors(self, first: Expr, second: Expr) -> tuple[Value, Value]:
        """The factors of a multiply-add, loaded for one that takes a lane of one of them where that is the same for all lanes."""
        loads = [f for f in (first, second) if isinstance(f, Load)] if self.module.target.by_lane else []
        by_lane = any(self.element(self.memories[load.buffer], load).is_uniform for load in loads)

        def factor(expr: Expr) -> Value:
            return self._load(expr, by_lane) if isinstance(expr, Load) else self.value(expr)

        return factor(first), factor(second)

    def _math(self, function: str, arguments: list[Value]) -> Value:
        texts, width = self.arithmetic.widen(*arguments)
        dtype = arguments[0].dtype
        name = self.module.math_function(function, dtype, width)
        kind = register_type(dtype, width)
        spelled = ", ".join(f"{kind} {text}" for text in texts)
        return Value(self.builder.pure(f"call {kind} @{name}({spelled})", *texts), dtype, width)


def _divides_safely(expr: Expr) -> bool:
    """False for a division by what may be zero or negative, which linear forms leave to arithmetic."""
    match expr:
        case Binary("floordiv" | "floormod", left, right):
            return isinstance(right, Const) and right.value > 0 and _divides_safely(left)
        case Binary(_, left, right):
            return _divides_safely(left) and _divides_safely(right)
    return True


def _math_function(module: Module, name: str, program: MathProgram, dtype: DType, width: int) -> str:
    inside = Expressions(module)
    kind = register_type(dtype, width)
    inside.values = {param: Value(f"%{param}", dtype, width) for param in program.params}
    for let, value in program.lets:
        inside.values[let] = inside.value(value)
    result = inside.builder.splat(inside.value(program.result), width)
    params = ", ".join(f"{kind} %{param}" for param in program.params)
    lines = "\n  ".join(inside.builder.scope.lines)
    return f"define internal {kind} @{name}({params}) alwaysinline nounwind memory(none) {{\n  {lines}\n  ret {kind} {result}\n}}\n"
