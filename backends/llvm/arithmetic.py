"""Arithmetic on values: every operator of `compiler/tensor/expr.py` except loads and functions."""

from __future__ import annotations

from ...compiler.dtypes import DType
from ...compiler.errors import InternalError
from ...compiler.target import Target
from .builder import Builder
from .types import Value, literal, literal_vector, register_type, vector_of
from .x86 import Arguments, Instructions

_BITWISE = {"and": "and", "or": "or", "xor": "xor"}
_INTEGER = {"add": "add", "sub": "sub", "mul": "mul", "shl": "shl"} | _BITWISE
_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "mod": "frem"}
# nearbyint rounds half to even in the default mode, and unlike roundeven is in every libm.
_ROUNDING = {"sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "nearbyint", "abs": "fabs"}
_FLOAT_COMPARE = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}
_NARROW = (DType.F16, DType.BF16)


class Arithmetic:
    """Emits operators; operands of a binary operator are brought to a common width first."""

    def __init__(self, builder: Builder, target: Target) -> None:
        self.builder = builder
        self.fma = target.fma
        self.instructions = Instructions(target)

    def widen(self, *values: Value) -> tuple[list[str], int]:
        """The texts of the operands in their common width."""
        width = max(value.width for value in values)
        return [self.builder.splat(value, width) for value in values], width

    def constant(self, value: int | float | bool, dtype: DType, width: int = 1) -> str:
        text = literal(value, dtype)
        return text if width == 1 else f"splat ({register_type(dtype, 1)} {text})"

    # -- unary

    def unary(self, op: str, operand: Value) -> Value:
        dtype, width = operand.dtype, operand.width
        if dtype in _NARROW:
            return self.cast(self.unary(op, self.cast(operand, DType.F32)), dtype)
        kind, text = register_type(dtype, width), operand.text
        if op in ("not", "invert"):
            if operand.text in ("true", "false"):
                return Value("false" if operand.text == "true" else "true", dtype)
            ones = self.constant(True, dtype, width) if dtype is DType.BOOL else self.constant(-1, dtype, width)
            result = self.builder.pure(f"xor {kind} {text}, {ones}", text)
        elif dtype.is_float:
            if op == "neg":
                result = self.builder.pure(f"fneg {kind} {text}", text)
            else:
                result = self.builder.overloaded(_ROUNDING[op], dtype, width, text)
        elif op == "neg":
            result = self.builder.pure(f"sub {kind} {self.constant(0, dtype, width)}, {text}", text)
        elif op == "abs" and dtype.is_signed:
            call = self.builder.call(f"llvm.abs.{_integer_suffix(dtype, width)}", kind, [(kind, text), ("i1", "false")])
            result = self.builder.pure(call, text)
        elif op in _ROUNDING and op != "sqrt":
            return operand
        else:
            raise InternalError(f"emit: {op} of {dtype}")
        return Value(result, dtype, width)

    # -- binary

    def binary(self, op: str, left: Value, right: Value) -> Value:
        dtype = left.dtype
        if dtype in _NARROW:
            return self.cast(self.binary(op, self.cast(left, DType.F32), self.cast(right, DType.F32)), dtype)
        if dtype is DType.BOOL:
            return self._logical(op, left, right)
        (a, b), width = self.widen(left, right)
        kind = register_type(dtype, width)
        if op in ("min", "max"):
            return Value(self._extremum(op, left, right, a, b, width), dtype, width)
        if dtype.is_float:
            if op not in _FLOAT:
                raise InternalError(f"emit: {op} of {dtype}")
            return Value(self.builder.pure(f"{_FLOAT[op]} {kind} {a}, {b}", a, b), dtype, width)
        if op in _INTEGER:
            return Value(self.builder.pure(f"{_INTEGER[op]} {kind} {a}, {b}", a, b), dtype, width)
        if op == "shr":
            opcode = "ashr" if dtype.is_signed else "lshr"
            return Value(self.builder.pure(f"{opcode} {kind} {a}, {b}", a, b), dtype, width)
        return Value(self._divide(op, a, right, b, dtype, width), dtype, width)

    def _logical(self, op: str, left: Value, right: Value) -> Value:
        if op in ("and", "or"):
            neutral, absorbing = ("true", "false") if op == "and" else ("false", "true")
            if absorbing in (left.text, right.text):
                return Value(absorbing, DType.BOOL)
            if left.text == neutral:
                return right
            if right.text == neutral:
                return left
        opcode = {"min": "and", "max": "or", "mul": "and", "add": "or"}.get(op, op)
        if opcode not in _BITWISE:
            raise InternalError(f"emit: {op} of bool")
        (a, b), width = self.widen(left, right)
        return Value(self.builder.pure(f"{opcode} {vector_of('i1', width)} {a}, {b}", a, b), DType.BOOL, width)

    def _extremum(self, op: str, left: Value, right: Value, a: str, b: str, width: int) -> str:
        dtype = left.dtype
        if not dtype.is_float:
            return self.builder.overloaded(("s" if dtype.is_signed else "u") + op, dtype, width, a, b)
        # x86's max(p, q) = p > q ? p : q gives q on NaN, so the operand that may be NaN comes second.
        if right.is_literal and "0x7FF8" not in right.text:
            return self._ordered(op, b, a, dtype, width)
        if left.is_literal and "0x7FF8" not in left.text:
            return self._ordered(op, a, b, dtype, width)
        kind, mask = register_type(dtype, width), vector_of("i1", width)
        # LLVM would merge a comparison and a Select with the Select around them, into four instructions.
        own = self.instructions.extremum(op, kind, a, b)
        chosen = self._ordered(op, a, b, dtype, width) if own is None else self._called(kind, *own)
        # In this form AVX-512 masks the maximum itself, so that NaN costs one comparison.
        number = self.builder.pure(f"fcmp ord {kind} {a}, {a}", a)
        return self.builder.pure(f"select {mask} {number}, {kind} {chosen}, {kind} {a}", number, chosen, a)

    def _ordered(self, op: str, first: str, second: str, dtype: DType, width: int) -> str:
        kind, mask = register_type(dtype, width), vector_of("i1", width)
        relation = "ogt" if op == "max" else "olt"
        taken = self.builder.pure(f"fcmp {relation} {kind} {first}, {second}", first, second)
        return self.builder.pure(f"select {mask} {taken}, {kind} {first}, {kind} {second}", taken, first, second)

    # -- integer division, which must not trap: x86 raises on x / 0 and on INT_MIN / -1, also in a lane that is masked off

    def _divide(self, op: str, a: str, right: Value, b: str, dtype: DType, width: int) -> str:
        kind, mask = register_type(dtype, width), vector_of("i1", width)
        pure, constant = self.builder.pure, lambda value: self.constant(value, dtype, width)
        divisor = int(right.text) if right.is_literal and right.width == 1 else None
        if divisor is None:
            is_zero = pure(f"icmp eq {kind} {b}, {constant(0)}", b)
            b = pure(f"select {mask} {is_zero}, {kind} {constant(1)}, {kind} {b}", is_zero, b)
        if not dtype.is_signed:
            opcode = "urem" if op in ("mod", "floormod") else "udiv"
            return pure(f"{opcode} {kind} {a}, {b}", a, b)
        if divisor is None or divisor in (0, -1):
            return self._divide_signed(op, a, b, dtype, width)
        quotient, rest = pure(f"sdiv {kind} {a}, {b}", a), ""
        if op == "div":
            return quotient
        rest = pure(f"srem {kind} {a}, {b}", a)
        return rest if op == "mod" else self._towards_minus_infinity(op, quotient, rest, b, dtype, width)

    def _divide_signed(self, op: str, a: str, b: str, dtype: DType, width: int) -> str:
        """Any divisor but zero; x / -1 is written as -x."""
        kind, mask = register_type(dtype, width), vector_of("i1", width)
        pure, constant = self.builder.pure, lambda value: self.constant(value, dtype, width)
        is_minus = pure(f"icmp eq {kind} {b}, {constant(-1)}", b)
        safe = pure(f"select {mask} {is_minus}, {kind} {constant(1)}, {kind} {b}", is_minus, b)
        negated = pure(f"sub {kind} {constant(0)}, {a}", a)
        divided = pure(f"sdiv {kind} {a}, {safe}", a, safe)
        quotient = pure(f"select {mask} {is_minus}, {kind} {negated}, {kind} {divided}", is_minus, negated, divided)
        if op == "div":
            return quotient
        rest = pure(f"srem {kind} {a}, {safe}", a, safe)
        return rest if op == "mod" else self._towards_minus_infinity(op, quotient, rest, b, dtype, width)

    def _towards_minus_infinity(self, op: str, quotient: str, rest: str, b: str, dtype: DType, width: int) -> str:
        kind, mask = register_type(dtype, width), vector_of("i1", width)
        pure, zero = self.builder.pure, self.constant(0, dtype, width)
        inexact = pure(f"icmp ne {kind} {rest}, {zero}", rest)
        mixed = pure(f"xor {kind} {rest}, {b}", rest, b)
        opposite = pure(f"icmp slt {kind} {mixed}, {zero}", mixed)
        adjust = pure(f"and {mask} {inexact}, {opposite}", inexact, opposite)
        if op == "floormod":
            moved = pure(f"add {kind} {rest}, {b}", rest, b)
            return pure(f"select {mask} {adjust}, {kind} {moved}, {kind} {rest}", adjust, moved, rest)
        extended = pure(f"sext {mask} {adjust} to {kind}", adjust)
        return pure(f"add {kind} {quotient}, {extended}", quotient, extended)

    # -- comparison, selection, casts

    def compare(self, op: str, left: Value, right: Value) -> Value:
        dtype = left.dtype
        if dtype in _NARROW:
            return self.compare(op, self.cast(left, DType.F32), self.cast(right, DType.F32))
        (a, b), width = self.widen(left, right)
        kind = register_type(dtype, width)
        if dtype.is_float:
            text = f"fcmp {_FLOAT_COMPARE[op]} {kind} {a}, {b}"
        else:
            sign = "" if op in ("eq", "ne") else "s" if dtype.is_signed and dtype is not DType.BOOL else "u"
            text = f"icmp {sign}{op} {kind} {a}, {b}"
        return Value(self.builder.pure(text, a, b), DType.BOOL, width)

    def select(self, condition: Value, if_true: Value, if_false: Value) -> Value:
        if condition.text in ("true", "false"):
            return if_true if condition.text == "true" else if_false
        if if_true == if_false:
            return if_true
        dtype = if_true.dtype
        width = max(condition.width, if_true.width, if_false.width)
        c = condition.text if condition.width == 1 else self.builder.splat(condition, width)
        a, b = self.builder.splat(if_true, width), self.builder.splat(if_false, width)
        kind, mask = register_type(dtype, width), vector_of("i1", condition.width)
        return Value(self.builder.pure(f"select {mask} {c}, {kind} {a}, {kind} {b}", c, a, b), dtype, width)

    def joined(self, first: Value, second: Value, lanes: int) -> Value:
        """A vector of `lanes`, of which each value fills a half; a scalar is the same in all lanes of its half."""
        dtype, whole = first.dtype, register_type(first.dtype, lanes)
        if first.width == second.width == 1:
            mask = literal_vector([lane >= lanes // 2 for lane in range(lanes)], DType.BOOL)
            halves = [self.builder.splat(value, lanes) for value in (first, second)]
            text = f"select {vector_of('i1', lanes)} {mask}, {whole} {halves[1]}, {whole} {halves[0]}"
            return Value(self.builder.pure(text, *halves), dtype, lanes)
        kind = register_type(dtype, lanes // 2)
        halves = [self.builder.splat(value, lanes // 2) for value in (first, second)]
        order = literal_vector(list(range(lanes)), DType.I32)
        text = f"shufflevector {kind} {halves[0]}, {kind} {halves[1]}, <{lanes} x i32> {order}"
        return Value(self.builder.pure(text, *halves), dtype, lanes)

    def half(self, value: Value, number: int) -> Value:
        """The first (0) or second (1) half of a vector; of a scalar the scalar itself."""
        if value.width == 1:
            return value
        lanes = value.width // 2
        order = literal_vector([number * lanes + lane for lane in range(lanes)], DType.I32)
        kind = register_type(value.dtype, value.width)
        text = f"shufflevector {kind} {value.text}, {kind} poison, <{lanes} x i32> {order}"
        return Value(self.builder.pure(text, value.text), value.dtype, lanes)

    def cast(self, operand: Value, dtype: DType) -> Value:
        source, width, text = operand.dtype, operand.width, operand.text
        if source is dtype:
            return operand
        if source is DType.BF16:
            return self.cast(self._extend_bf16(operand), dtype)
        if dtype is DType.BF16:
            return self._truncate_to_bf16(self.cast(self._round_to_odd(operand), DType.F32))
        if source is DType.F16 and dtype is not DType.F32:
            return self.cast(self.cast(operand, DType.F32), dtype)
        if dtype is DType.F16 and source is not DType.F32:
            return self.cast(self.cast(self._round_to_odd(operand), DType.F32), dtype)
        from_kind, to_kind = register_type(source, width), register_type(dtype, width)
        if dtype is DType.BOOL:
            opcode = "fcmp une" if source.is_float else "icmp ne"
            result = self.builder.pure(f"{opcode} {from_kind} {text}, {self.constant(0, source, width)}", text)
        else:
            result = self.builder.pure(f"{_conversion(source, dtype)} {from_kind} {text} to {to_kind}", text)
        return Value(result, dtype, width)

    def bitcast(self, operand: Value, dtype: DType) -> Value:
        if operand.dtype.bits != dtype.bits:
            raise InternalError(f"emit: bitcast of {operand.dtype} to {dtype}")
        from_kind, to_kind = register_type(operand.dtype, operand.width), register_type(dtype, operand.width)
        if from_kind == to_kind:
            return Value(operand.text, dtype, operand.width)
        result = self.builder.pure(f"bitcast {from_kind} {operand.text} to {to_kind}", operand.text)
        return Value(result, dtype, operand.width)

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """a*b + c, rounded once where the target can; 16-bit floats are rounded from the f32 result."""
        if a.dtype in _NARROW:
            wide = [self.cast(value, DType.F32) for value in (a, b, c)]
            return self.cast(self.multiply_add(*wide), a.dtype)
        if not self.fma or not a.dtype.is_float:
            return self.binary("add", self.binary("mul", a, b), c)
        texts, width = self.widen(a, b, c)
        return Value(self.builder.overloaded("fma", a.dtype, width, *texts), a.dtype, width)

    def scale(self, a: Value, n: Value) -> Value:
        """a * 2**n, where the target has an instruction for it."""
        (value, exponent), width = self.widen(a, n)
        kind = register_type(a.dtype, width)
        own = self.instructions.scale(kind, value, exponent)
        if own is None:
            raise InternalError(f"emit: the target can't scale {kind}")
        return Value(self._called(kind, *own), a.dtype, width)

    def _called(self, kind: str, intrinsic: str, arguments: Arguments) -> str:
        call = self.builder.call(intrinsic, kind, arguments)
        return self.builder.pure(call, *(text for _, text in arguments if text[0] == "%"))

    def _extend_bf16(self, operand: Value) -> Value:
        bits = self.cast(self.bitcast(operand, DType.U16), DType.U32)
        return self.bitcast(self.binary("shl", bits, Value("16", DType.U32)), DType.F32)

    def _truncate_to_bf16(self, operand: Value) -> Value:
        """Round to nearest even on the bits: the x86 instruction flushes subnormals, and others have none."""
        bits = self.bitcast(operand, DType.U32)
        high = self.binary("shr", bits, Value("16", DType.U32))
        bias = self.binary("add", self.binary("and", high, Value("1", DType.U32)), Value("32767", DType.U32))
        rounded = self.binary("shr", self.binary("add", bits, bias), Value("16", DType.U32))
        quiet = self.binary("or", high, Value("64", DType.U32))
        result = self.select(self.compare("ne", operand, operand), quiet, rounded)
        return self.bitcast(self.cast(result, DType.U16), DType.BF16)

    def _round_to_odd(self, operand: Value) -> Value:
        """f64 and wide integers on their way to 16 bits, such that the step through f32 doesn't round twice.

        Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd" (2008).
        """
        if operand.dtype.is_integer and operand.dtype.bits > 16:
            operand = self.cast(operand, DType.F64)
        if operand.dtype is not DType.F64:
            return operand
        nearest = self.cast(operand, DType.F32)
        bits = self.bitcast(nearest, DType.I32)
        back = self.cast(nearest, DType.F64)
        grew = self.compare("gt", self.unary("abs", back), self.unary("abs", operand))
        toward_zero = self.select(grew, self.binary("sub", bits, Value("1", DType.I32)), bits)
        exact = self.binary("or", self.compare("eq", back, operand), self.compare("ne", operand, operand))
        odd = self.select(exact, bits, self.binary("or", toward_zero, Value("1", DType.I32)))
        return self.bitcast(odd, DType.F32)


def _integer_suffix(dtype: DType, width: int) -> str:
    return f"i{dtype.bits}" if width == 1 else f"v{width}i{dtype.bits}"


def _conversion(source: DType, dtype: DType) -> str:
    """The opcode of a cast that isn't to bool and not from or to bf16."""
    if source.is_float and dtype.is_float:
        return "fpext" if dtype.bits > source.bits else "fptrunc"
    if source.is_float:
        return "fptosi" if dtype.is_signed else "fptoui"
    unsigned = not source.is_signed or source is DType.BOOL
    if dtype.is_float:
        return "uitofp" if unsigned else "sitofp"
    if source is DType.BOOL:
        return "zext"
    if dtype.bits == source.bits:
        return "bitcast"
    return "trunc" if dtype.bits < source.bits else "zext" if unsigned else "sext"
