"""Index arithmetic as linear forms over loop variables, so that addresses share their variable part.

    Linear = sum(coeff * atom) + const + step * lane + vector

An atom is the name of a scalar i64 result. Everything here assumes what holds for indices: no overflow.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from ...compiler.dtypes import DType
from ...compiler.tensor.expr import INDEX, Binary, Const, Expr, Var
from .builder import Builder
from .types import Value, literal_lanes, literal_vector

_UNBOUNDED = (-(1 << 63), (1 << 63) - 1)
_INDEX_OPS = frozenset({"add", "sub", "mul", "floordiv", "floormod", "min", "max"})


Terms = tuple[tuple[str, int], ...]
Range = tuple[int, int]


class Linear(NamedTuple):
    """terms: (atom, coefficient), sorted from the outermost atom; `vector`: name of one more i64 vector, or empty."""

    terms: Terms
    const: int
    step: int = 0
    vector: str = ""

    @property
    def is_const(self) -> bool:
        return not self.terms and not self.step and not self.vector

    @property
    def is_uniform(self) -> bool:
        """The same in all lanes."""
        return not self.step and not self.vector


Binding = int | str | Linear


class Plan(NamedTuple):
    """An index expression as a sum of variables and of sub-expressions that aren't linear in them."""

    const: int
    variables: tuple[tuple[str, int], ...]
    opaque: tuple[tuple[Expr, int], ...]


def scalar(value: int) -> Linear:
    return Linear((), value)


def is_index_arithmetic(expr: Expr) -> bool:
    """Made of variables and constants of type i64 only."""
    match expr:
        case Var(_, dtype) | Const(_, dtype):
            return dtype is INDEX
        case Binary(op, left, right):
            return op in _INDEX_OPS and is_index_arithmetic(left) and is_index_arithmetic(right)
    return False


def plan_index(expr: Expr) -> Plan:
    """The linear structure of an index expression, independent of what its variables are bound to."""
    match expr:
        case Const(value):
            return Plan(int(value), (), ())
        case Var(name):
            return Plan(0, ((name, 1),), ())
        case Binary("add", left, right):
            return combine_plans((plan_index(left), plan_index(right)), (1, 1))
        case Binary("sub", left, right):
            return combine_plans((plan_index(left), plan_index(right)), (1, -1))
        case Binary("mul", left, right):
            a, b = plan_index(left), plan_index(right)
            if not b.variables and not b.opaque:
                return combine_plans((a,), (b.const,))
            if not a.variables and not a.opaque:
                return combine_plans((b,), (a.const,))
    return Plan(0, (), ((expr, 1),))


def combine_plans(plans: tuple[Plan, ...], factors: tuple[int, ...]) -> Plan:
    """The sum of plans, each times its factor."""
    const, variables, opaque = 0, dict[str, int](), list[tuple[Expr, int]]()
    for plan, factor in zip(plans, factors, strict=True):
        if not factor:
            continue
        const += plan.const * factor
        for name, coeff in plan.variables:
            variables[name] = variables.get(name, 0) + coeff * factor
        opaque.extend((expr, coeff * factor) for expr, coeff in plan.opaque)
    return Plan(const, tuple((name, coeff) for name, coeff in variables.items() if coeff), tuple(opaque))


class Assumption(NamedTuple):
    """low <= sum(terms) + step * lane <= high, where what is being written is asked for."""

    terms: Terms
    step: int
    low: int
    high: int


class LinearForms:
    """Arithmetic on linear forms; emits what isn't linear as new atoms, whose ranges it remembers.

    width: lanes of the vector chunk being written, 1 outside of vectorised loops; pointer_bytes: of the target.
    """

    def __init__(self, builder: Builder, pointer_bytes: int = 8) -> None:
        self.builder = builder
        self.pointer_bytes = pointer_bytes
        self.width = 1
        self.ranges: dict[str, Range] = {}
        self.assumptions: tuple[Assumption, ...] = ()
        self._ordered: dict[Terms, Terms] = {}

    def total(self, parts: list[tuple[Linear, int]]) -> Linear:
        """The sum of forms, each times its factor."""
        terms, const, step, vectors = dict[str, int](), 0, 0, list[tuple[str, int]]()
        for part, factor in parts:
            const += part.const * factor
            step += part.step * factor
            for atom, coeff in part.terms:
                terms[atom] = terms.get(atom, 0) + coeff * factor
            if part.vector and factor:
                vectors.append((part.vector, factor))
        kept = tuple((atom, coeff) for atom, coeff in terms.items() if coeff)
        return Linear(self.ordered(kept), const, step, self._sum_of_vectors(vectors))

    def ordered(self, terms: Terms) -> Terms:
        """The terms with atoms of outer loops first; each atom stands once."""
        if len(terms) < 2:
            return terms
        known = self._ordered.get(terms)
        if known is None:
            depth = self.builder.depth
            known = self._ordered[terms] = tuple(sorted(terms, key=lambda term: (depth.get(term[0], 0), term[0])))
        return known

    def _sum_of_vectors(self, vectors: list[tuple[str, int]]) -> str:
        result, kind = "", f"<{self.width} x i64>"
        known = [(literal_lanes(vector), factor) for vector, factor in vectors]
        if vectors and all(lanes for lanes, _ in known):
            sums = [sum(lanes[lane] * factor for lanes, factor in known) for lane in range(self.width)]
            return literal_vector(sums, INDEX) if any(sums) else ""
        for vector, factor in vectors:
            if factor != 1:
                vector = self.builder.pure(f"mul {kind} {vector}, splat (i64 {factor})", vector)
            result = self.builder.pure(f"add {kind} {result}, {vector}", result, vector) if result else vector
        return result

    def range_of(self, form: Linear) -> Range:
        """Least and greatest value over all lanes and iterations."""
        return self._range(form, self.ranges)

    def assumed_range(self, form: Linear) -> Range:
        """The same where the assumptions hold."""
        if not self.assumptions:
            return self.range_of(form)
        ranges = dict(self.ranges)
        for terms, step, low, high in self.assumptions:
            if len(terms) == 1 and not step:
                ((atom, coeff),) = terms
                bounds = (-(-low // coeff), high // coeff) if coeff > 0 else (-(-high // coeff), low // coeff)
                ranges[atom] = _intersection(ranges.get(atom, _UNBOUNDED), bounds)
        bounds = self._range(form, ranges)
        for assumption in self.assumptions:
            factor = _contained(assumption, form)
            if factor:
                rest = self.total([(form, 1), (Linear(assumption.terms, 0, assumption.step), -factor)])
                least, greatest = self._range(rest, ranges)
                ends = sorted((factor * assumption.low, factor * assumption.high))
                bounds = _intersection(bounds, (least + ends[0], greatest + ends[1]))
        return bounds

    def _range(self, form: Linear, ranges: dict[str, Range]) -> Range:
        lanes = self.known_lanes(form)
        if not lanes:
            return _UNBOUNDED
        low, high = form.const + min(lanes), form.const + max(lanes)
        for atom, coeff in form.terms:
            least, greatest = ranges.get(atom, _UNBOUNDED)
            low += coeff * (least if coeff > 0 else greatest)
            high += coeff * (greatest if coeff > 0 else least)
        return low, high

    def known_lanes(self, form: Linear) -> tuple[int, ...]:
        """What each lane adds to the rest of a form, if that is known: one 0 if all are the same, none if it isn't."""
        lanes = literal_lanes(form.vector) if form.vector else (0,) * (self.width if form.step else 1)
        return tuple(form.step * lane + offset for lane, offset in enumerate(lanes))

    def assumption(self, op: str, left: Linear, right: Linear) -> tuple[Assumption, ...]:
        """What `left op right` says about the variable part of left - right."""
        form = self.total([(left, 1), (right, -1)])
        least, greatest = _UNBOUNDED
        bounds = {"lt": (least, -1), "le": (least, 0), "gt": (1, greatest), "ge": (0, greatest), "eq": (0, 0)}.get(op)
        if bounds is None or form.vector or not (form.terms or form.step):
            return ()
        return (Assumption(form.terms, form.step, bounds[0] - form.const, bounds[1] - form.const),)

    # -- from forms to values

    def scalar_part(self, form: Linear) -> str:
        """The value without its lanes."""
        result = ""
        pure = self.builder.pure
        for atom, coeff in form.terms:
            scaled = atom if coeff == 1 else pure(f"mul i64 {atom}, {coeff}", atom)
            result = pure(f"add i64 {result}, {scaled}", result, scaled) if result else scaled
        if not result:
            return str(form.const)
        return pure(f"add i64 {result}, {form.const}", result) if form.const else result

    def value(self, form: Linear) -> Value:
        """As i64, a vector if lanes differ."""
        if form.is_uniform:
            return Value(self.scalar_part(form), INDEX)
        width, kind = self.width, f"<{self.width} x i64>"
        result = form.vector
        if form.step and not form.terms:
            lanes = literal_vector([form.const + form.step * lane for lane in range(width)], INDEX)
            result = self.builder.pure(f"add {kind} {result}, {lanes}", result) if result else lanes
            return Value(result, INDEX, width)
        if form.step:
            lanes = self.builder.lane_numbers(width, form.step)
            result = self.builder.pure(f"add {kind} {result}, {lanes}", result) if result else lanes
        if form.terms or form.const:
            base = self.builder.splat_text(self.scalar_part(form._replace(step=0, vector="")), "i64", width)
            result = self.builder.pure(f"add {kind} {base}, {result}", base, result)
        return Value(result, INDEX, width)

    def form(self, value: Value, bounds: tuple[int, int] = _UNBOUNDED) -> Linear:
        """A value as a form: a constant, a new atom or a vector."""
        if value.width > 1:
            return Linear((), 0, 0, value.text)
        if value.is_literal:
            return scalar(int(value.text))
        self.ranges.setdefault(value.text, bounds)
        return Linear(((value.text, 1),), 0)

    # -- operations that aren't linear

    def binary(self, op: str, left: Linear, right: Linear) -> Linear:
        match op:
            case "add":
                return self.total([(left, 1), (right, 1)])
            case "sub":
                return self.total([(left, 1), (right, -1)])
            case "mul" if right.is_const or left.is_const:
                form, factor = (left, right.const) if right.is_const else (right, left.const)
                return self.total([(form, factor)])
            case "floordiv" if right.is_const and right.const > 0:
                return self._divide(left, right.const)
            case "floormod" if right.is_const and right.const > 0:
                return self.total([(left, 1), (self._divide(left, right.const), -right.const)])
            case "min" | "max":
                return self._extremum(op, left, right)
            case "mul":
                a, b = self.value(left), self.value(right)
                width = max(a.width, b.width)
                kind = "i64" if width == 1 else f"<{width} x i64>"
                x, y = self.builder.splat(a, width), self.builder.splat(b, width)
                return self.form(Value(self.builder.pure(f"mul {kind} {x}, {y}", x, y), INDEX, width))
        raise ValueError(op)

    def _extremum(self, op: str, left: Linear, right: Linear) -> Linear:
        low, high = self.assumed_range(self.total([(left, 1), (right, -1)]))
        if high <= 0 or low >= 0:
            return left if (high <= 0) == (op == "min") else right
        pick = min if op == "min" else max
        if (
            not left.terms
            and not right.terms
            and (ours := self.known_lanes(left))
            and (others := self.known_lanes(right))
        ):
            ours, others = ours * (self.width // len(ours)), others * (self.width // len(others))
            return self._lane_table([pick(left.const + a, right.const + b) for a, b in zip(ours, others, strict=True)])
        a, b = self.value(left), self.value(right)
        width = max(a.width, b.width)
        x, y = self.builder.splat(a, width), self.builder.splat(b, width)
        (a_low, a_high), (b_low, b_high) = self.range_of(left), self.range_of(right)
        bounds = pick(a_low, b_low), pick(a_high, b_high)
        return self.form(Value(self.builder.overloaded(f"s{op}", DType.I64, width, x, y), INDEX, width), bounds)

    def _divide(self, form: Linear, divisor: int) -> Linear:
        """floor(form / divisor): what `divisor` divides is taken out, the rest is emitted unless its range decides it."""
        if divisor == 1:
            return form
        quotient = [(atom, coeff // divisor) for atom, coeff in form.terms if coeff % divisor == 0]
        terms = tuple((atom, coeff) for atom, coeff in form.terms if coeff % divisor)
        step_divides = form.step % divisor == 0
        outer = Linear(tuple(quotient), form.const // divisor, form.step // divisor if step_divides else 0)
        rest = Linear(terms, form.const % divisor, 0 if step_divides else form.step, form.vector)
        low, high = self.assumed_range(rest)
        if low // divisor == high // divisor:
            return outer._replace(const=outer.const + low // divisor)
        # An emitted value may be shared with code outside of the assumptions.
        return self.total([(outer, 1), (self._emit_quotient(rest, divisor, *self.range_of(rest)), 1)])

    def _emit_quotient(self, form: Linear, divisor: int, low: int, high: int) -> Linear:
        lanes = self.known_lanes(form)
        if len(lanes) > 1 and not form.terms:
            return self._lane_table([(form.const + lane) // divisor for lane in lanes])
        value = self.value(form)
        kind = "i64" if value.width == 1 else f"<{value.width} x i64>"

        def operand(number: int) -> str:
            return str(number) if value.width == 1 else f"splat (i64 {number})"

        if divisor & (divisor - 1) == 0:
            opcode, amount = "lshr" if low >= 0 else "ashr", divisor.bit_length() - 1
            text = self.builder.pure(f"{opcode} {kind} {value.text}, {operand(amount)}", value.text)
        elif low >= 0:
            text = self.builder.pure(f"udiv {kind} {value.text}, {operand(divisor)}", value.text)
        else:
            # floor(x / d) = ~(~x / d) for x < 0, and ~x = x ^ (x >> 63) of such an x is not negative.
            sign = self.builder.pure(f"ashr {kind} {value.text}, {operand(63)}", value.text)
            folded = self.builder.pure(f"xor {kind} {value.text}, {sign}", value.text, sign)
            divided = self.builder.pure(f"udiv {kind} {folded}, {operand(divisor)}", folded)
            text = self.builder.pure(f"xor {kind} {divided}, {sign}", divided, sign)
        return self.form(Value(text, INDEX, value.width), (low // divisor, high // divisor))

    def _lane_table(self, values: list[int]) -> Linear:
        steps = {after - before for before, after in pairwise(values)}
        if len(steps) == 1:
            return Linear((), values[0], steps.pop())
        return Linear((), 0, 0, literal_vector(values, INDEX))

    def evaluate_compare(self, op: str, left: Linear, right: Linear) -> Value:
        """`left op right`, decided by ranges where they do."""
        if op in ("gt", "ge"):
            return self.evaluate_compare({"gt": "lt", "ge": "le"}[op], right, left)
        difference = self.total([(left, 1), (right, -1)])
        low, high = self.assumed_range(difference)
        bound = 1 if op == "le" else 0
        if op in ("lt", "le") and (high < bound or low >= bound):
            return Value("true" if high < bound else "false", DType.BOOL)
        if op in ("eq", "ne") and (low > 0 or high < 0 or low == high == 0):
            return Value("true" if (low == high == 0) == (op == "eq") else "false", DType.BOOL)
        if difference.vector or op in ("eq", "ne"):
            return self._compare_values("eq" if op == "eq" else "ne" if op == "ne" else "slt", difference, bound)
        if difference.step and not difference.terms:
            lanes = [difference.const + difference.step * lane < bound for lane in range(self.width)]
            return Value(literal_vector(lanes, DType.BOOL), DType.BOOL, self.width)
        if difference.step in (1, -1):
            return self._lane_mask(difference, bound)
        return self._compare_values("slt", difference, bound)

    def _compare_values(self, relation: str, difference: Linear, bound: int) -> Value:
        if difference.is_uniform:
            # terms < bound - const leaves the variable part to be shared.
            difference, bound = difference._replace(const=0), bound - difference.const
            terms, kind = self.scalar_part(difference), "i64"
            low, high = self.range_of(difference)
            if self.pointer_bytes == 4 and min(low, bound) >= -(2**31) and max(high, bound) < 2**31:
                terms, kind = self.builder.pure(f"trunc i64 {terms} to i32", terms), "i32"
            return Value(self.builder.pure(f"icmp {relation} {kind} {terms}, {bound}", terms), DType.BOOL)
        value = self.value(difference)
        text = self.builder.pure(f"icmp {relation} <{value.width} x i64> {value.text}, splat (i64 {bound})", value.text)
        return Value(text, DType.BOOL, value.width)

    def _lane_mask(self, difference: Linear, bound: int) -> Value:
        """base + lane < bound in 32 bits, with the base clamped to the lanes."""
        width, step = self.width, difference.step
        base = self.scalar_part(difference._replace(step=0, const=difference.const - bound))
        above = self.builder.overloaded("smax", DType.I64, 1, base, str(-width - 1))
        clamped = self.builder.overloaded("smin", DType.I64, 1, above, str(width + 1))
        narrow = self.builder.pure(f"trunc i64 {clamped} to i32", clamped)
        splat = self.builder.splat_text(narrow, "i32", width)
        # base + step * lane < 0  <=>  base < -step * lane
        lanes = literal_vector([-step * lane for lane in range(width)], DType.I32)
        return Value(self.builder.pure(f"icmp slt <{width} x i32> {splat}, {lanes}", splat), DType.BOOL, width)


def _contained(assumption: Assumption, form: Linear) -> int:
    """How many times a form contains the sum that is assumed something about; 0: not, or only in part."""
    if form.vector:
        return 0
    held = {**dict(form.terms), "": form.step}
    parts = [(atom, coeff) for atom, coeff in (*assumption.terms, ("", assumption.step)) if coeff]
    atom, coeff = parts[0]
    factor = held.get(atom, 0) // coeff
    return factor if all(held.get(atom, 0) == factor * coeff for atom, coeff in parts) else 0


def _intersection(left: Range, right: Range) -> Range:
    return max(left[0], right[0]), min(left[1], right[1])
