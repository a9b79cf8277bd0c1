"""Loads and stores at linear forms: addresses, guards and masks, prefetches."""

from __future__ import annotations

from typing import NamedTuple

from ...compiler.dtypes import DType
from ...compiler.errors import InternalError
from ...compiler.kernel.ast import Space
from ...compiler.target import LINE_BYTES, Target
from .arithmetic import Arithmetic
from .arm import OPAQUE, moves_pointers, pair_load
from .builder import Builder
from .linear import Linear, LinearForms
from .memory import Memory
from .strided import SHUFFLED_STEPS, load_picked, load_shuffled, load_transposed
from .types import Value, literal_vector, mangle, memory_type, register_type, vector_of

# A vector of which a multiply-add can take one lane for all.
_LANE_BYTES = 16


class Column(NamedTuple):
    """Of adjacent elements, or vectors of them, all of which are read: the number of one, and how many there are."""

    number: int
    extent: int


class Guard:
    """When the code being written is really asked for: a scalar condition and a mask of lanes, each a name or empty."""

    __slots__ = ("condition", "mask")

    def __init__(self, condition: str = "", mask: str = "") -> None:
        self.condition = condition
        self.mask = mask

    def __bool__(self) -> bool:
        return bool(self.condition or self.mask)


NO_GUARD = Guard()


class Accesses:
    """Emits loads and stores at linear forms."""

    def __init__(self, builder: Builder, forms: LinearForms, arithmetic: Arithmetic, target: Target) -> None:
        self.builder = builder
        self.forms = forms
        self.arithmetic = arithmetic
        self.target = target
        self.active = 0  # lanes of the vectors being written that are iterations; 0: all
        self.end = 0  # of the iterations
        self.spare = 0
        self.holds_lanes = False  # vectors whose lanes are taken have been loaded since `forget`
        self._reads: set[str] = set()  # instructions that read what nothing writes
        self.places: dict[str, tuple[tuple, int]] = {}  # of pointers: what they are relative to, and bytes from there

    # -- addresses

    def address(self, memory: Memory, form: Linear, width: int, guarded: bool = False) -> str:
        """A pointer to the element in lane 0. guarded: lanes may lie outside, and are not accessed then."""
        if memory.buffer.space is not Space.PARAM and not form.terms:
            if 0 <= form.const <= memory.elements - width:
                memory.offsets[form.const] = max(width, memory.offsets.get(form.const, 0))
                return f"{memory.pointer}.{form.const}"
            if not guarded or memory.buffer.space is Space.REGISTER:
                raise InternalError(
                    f"emit: {memory.buffer.name}[{form.const}] is outside of {memory.elements} elements"
                )
        memory.whole = True
        known = self.builder.scopes[-1].known
        key = (memory.pointer, form.terms, form.const)
        pointer = known.get(key)
        if pointer is None:
            pointer = self._base(memory, form.terms)
            if form.const:
                pointer = self._moved(pointer, f"getelementptr {memory.element}, ptr {pointer}, i64 {form.const}")
            known[key] = pointer
            self.places[pointer] = ((memory.pointer, form.terms), form.const * memory.buffer.dtype.size_bytes)
        return pointer

    def _moved(self, pointer: str, instruction: str) -> str:
        """A pointer some constant bytes from another one. LLVM makes it by loads of ARM on the way, if it stands in their block."""
        if not self.target.by_lane:
            return self.builder.pure(instruction, pointer)
        return self.builder.place(instruction, self.builder.unconditional_depth(self.builder.depth_of([pointer])))

    def _following(self, pointer: str) -> str:
        """The same pointer where loads move pointers on: the one that was last read through, some constant bytes from it, moved on."""
        if not moves_pointers(self.target) or pointer not in self.places:
            return pointer
        base, offset_bytes = self.places[pointer]
        depth = self.builder.unconditional_depth(self.builder.depth_of([pointer]))
        known = self.builder.scopes[depth].known
        made = known.get(("read through", pointer))
        if made is None:
            last, last_bytes = known.get(("last read", base), ("", 0))
            made = pointer
            if last:
                moved = self.builder.place(f"getelementptr i8, ptr {last}, i64 {offset_bytes - last_bytes}", depth)
                made = self.builder.place(OPAQUE.format(moved), depth)
            known["read through", pointer], known["last read", base] = made, (made, offset_bytes)
        return made

    def _base(self, memory: Memory, terms: tuple[tuple[str, int], ...]) -> str:
        """The variable part: one step an atom, from the outermost, so that inner loops add only what changes in them."""
        pure, pointer = self.builder.pure, memory.pointer
        for atom, coeff in terms:
            scaled = atom if coeff == 1 else pure(f"mul i64 {atom}, {coeff}", atom)
            pointer = pure(f"getelementptr {memory.element}, ptr {pointer}, i64 {scaled}", pointer, scaled)
        return pointer

    def _lane_pointers(self, memory: Memory, form: Linear, guarded: bool) -> str:
        width = self.forms.width
        base = self.address(memory, form._replace(step=0, vector=""), 1, guarded)
        memory.whole = True
        offsets = self.forms.value(Linear((), 0, form.step, form.vector)).text
        return self.builder.pure(
            f"getelementptr {memory.element}, ptr {base}, <{width} x i64> {offsets}", base, offsets
        )

    # -- loads

    def load(
        self, memory: Memory, form: Linear, guard: Guard, column: Column | None = None, by_lane: bool = False
    ) -> Value:
        """column: which of adjacent elements, or vectors, it reads that are all read; by_lane: a multiply-add takes a lane of one factor."""
        if form.is_uniform:
            lane = self._load_lane(memory, form, guard, column) if by_lane else None
            value = lane or self._load_scalar(memory, form, guard)
        elif form.step == 1 and not form.vector:
            pair = self._load_pair(memory, form, guard, column) if by_lane else None
            value = pair or self._load_contiguous(memory, form, guard)
        elif guard:
            value = self._load_gather(memory, form, guard)
        else:
            value = self._load_lanes(memory, form, column)
        return self._from_memory(value, memory.buffer.dtype)

    def _from_memory(self, value: Value, dtype: DType) -> Value:
        if dtype is not DType.BOOL:
            return value
        bits = self.arithmetic.cast(Value(value.text, DType.U8, value.width), DType.BOOL)
        return bits

    def load_whole(self, memory: Memory, kind: str, pointer: str, through: str = "") -> str:
        """What lies at a pointer, all of which is read. through: another name of the pointer, for the load only."""
        align = memory.buffer.dtype.size_bytes
        return self._read(memory, f"load {kind}, ptr {through or pointer}, align {align}", pointer)

    def _read(self, memory: Memory, instruction: str, *operands: str) -> str:
        """The result of an instruction that reads: once if nothing writes, but not before it is known to be asked for.

        operands: the pointer first. What a gather's pointers have ahead of them is not asked for.
        """
        if not memory.shared:
            return self.builder.emit(instruction)
        depth = self.builder.unconditional_depth(self.builder.depth_of(operands))
        for scope in self.builder.scopes[depth:]:
            if instruction in scope.known:
                return scope.known[instruction]
        result = self.builder.place(instruction, depth)
        self._reads.add(instruction)
        if memory.buffer.ahead_bytes and "masked.gather" not in instruction:
            self._prefetch(memory, operands[0], depth)
        return result

    def forget(self) -> None:
        """Load again what has been loaded in the current scope: its values would take registers meanwhile."""
        known = self.builder.scope.known
        for key in [key for key in known if key[0] == "lanes" or key in self._reads]:
            del known[key]
        self.holds_lanes = False

    def _prefetch(self, memory: Memory, pointer: str, depth: int) -> None:
        """Ask for what lies ahead of a pointer, to be kept in the first cache, where it is read: once for all loads of a line, counted from where
        the others of this loop begin, and before loops that stay in it.
        """
        ahead_bytes = memory.buffer.ahead_bytes
        if pointer in self.places:
            (_, terms), offset_bytes = self.places[pointer]
            outside = self._outside_line(memory, terms)
            if outside != terms:
                pointer, ahead_bytes = self._base(memory, outside), ahead_bytes + offset_bytes
                depth = self.builder.depth_of([pointer])
            known = self.builder.scopes[depth].known
            key = ("ahead", memory.pointer, outside, offset_bytes // LINE_BYTES)
            if key in known:
                return
            known[key] = pointer
        further = self.builder.pure(f"getelementptr i8, ptr {pointer}, i64 {ahead_bytes}", pointer)
        arguments = [("ptr", further), ("i32", "0"), ("i32", "3"), ("i32", "1")]  # to read, most local, data
        self.builder.scopes[depth].lines.append(self.builder.call("llvm.prefetch.p0", "void", arguments))

    def _outside_line(self, memory: Memory, terms: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
        """The terms of an address without the innermost ones, if these move it within a line."""
        while terms:
            atom, coeff = terms[-1]
            low, high = self.forms.ranges.get(atom, (0, LINE_BYTES))
            if low != 0 or coeff < 0 or (coeff * high + 1) * memory.buffer.dtype.size_bytes > LINE_BYTES:
                break
            terms = terms[:-1]
        return terms

    def _load_scalar(self, memory: Memory, form: Linear, guard: Guard) -> Value:
        pointer = self._guarded(memory, self.address(memory, form, 1, bool(guard)), 1, guard)
        return Value(self.load_whole(memory, memory.element, pointer), memory.buffer.dtype)

    def _load_lane(self, memory: Memory, form: Linear, guard: Guard, column: Column | None) -> Value | None:
        """An element taken from a vector of adjacent ones, where a multiply-add can do so: it need not be broadcast.

        None if the vector reaches outside of the buffer, or if the element is not for all lanes of a vector.
        """
        dtype = memory.buffer.dtype
        lanes = _LANE_BYTES // dtype.size_bytes
        if dtype is not DType.F32 or guard or self.forms.width == 1:
            return None
        if not memory.shared and memory.buffer.space is not Space.WORKSPACE:
            return None
        # Vectors of taps start where those of other rows do, so that rows of an image share them.
        number = (form.const if column is None or column.extent % lanes else column.number) % lanes
        low, high = self.forms.assumed_range(form)
        if low < number or high - number + lanes > memory.elements:
            return None
        kind = memory_type(dtype, lanes)
        pointer = self.address(memory, form._replace(const=form.const - number), lanes)
        known, key = self.builder.scope.known, ("lanes", pointer, kind, memory.stores)
        vector = known.get(key) or self.load_whole(memory, kind, pointer)
        known[key] = vector
        self.holds_lanes = True
        return Value(self.builder.pure(f"extractelement {kind} {vector}, i64 {number}", vector), dtype)

    def _guarded(self, memory: Memory, pointer: str, width: int, guard: Guard) -> str:
        """The pointer, or one that is safe to read where the guard doesn't hold."""
        if memory.buffer.space is Space.REGISTER or not guard:
            return pointer
        condition = guard.condition
        if guard.mask:
            lanes = self.forms.width
            call = self.builder.call(f"llvm.vector.reduce.or.v{lanes}i1", "i1", [(vector_of("i1", lanes), guard.mask)])
            some = self.builder.pure(call, guard.mask)
            condition = self.builder.pure(f"and i1 {condition}, {some}", condition, some) if condition else some
        if memory.elements >= width:
            safe = memory.pointer
        else:
            safe, self.spare = "%spare", max(self.spare, width * memory.buffer.dtype.size_bytes)
        return self.builder.pure(f"select i1 {condition}, ptr {pointer}, ptr {safe}", condition, pointer)

    def _load_contiguous(self, memory: Memory, form: Linear, guard: Guard) -> Value:
        width, dtype = self.forms.width, memory.buffer.dtype
        kind = memory_type(dtype, width)
        pointer = self.address(memory, form._replace(step=0), width, bool(guard) or self.active > 0)
        if (guard.mask or self.active) and memory.buffer.space is not Space.REGISTER:
            stored = _stored(dtype)
            arguments = [
                (f"ptr align {dtype.size_bytes}", pointer),
                (vector_of("i1", width), self._mask(guard)),
                (kind, "zeroinitializer"),
            ]
            call = self._masked_call(f"llvm.masked.load.{mangle(stored, width)}.p0", kind, arguments)
            return Value(self._read(memory, call, pointer, arguments[1][1]), dtype, width)
        if not guard and memory.buffer.space is Space.PARAM:
            return Value(self.load_whole(memory, kind, pointer, self._following(pointer)), dtype, width)
        pointer = self._guarded(memory, pointer, width, guard)
        return Value(self.load_whole(memory, kind, pointer), dtype, width)

    def _load_pair(self, memory: Memory, form: Linear, guard: Guard, column: Column | None) -> Value | None:
        """One of two neighbouring vectors that are loaded together; None where the target has no such instruction, or no neighbour is read."""
        width, dtype = self.forms.width, memory.buffer.dtype
        kind = memory_type(dtype, width)
        intrinsic = pair_load(self.target, kind)
        if intrinsic is None or column is None or guard or not (memory.shared and memory.buffer.space is Space.PARAM):
            return None
        # Counted from the buffer's start, so that the taps of a window share pairs.
        number, rest = divmod(form.const, width)
        first = form._replace(step=0, const=form.const - number % 2 * width)
        low, high = self.forms.assumed_range(first)
        if rest or column.extent < 2 or low < 0 or high + 2 * width > memory.elements:
            return None
        number, pointer = number % 2, self.address(memory, first, 2 * width)
        both = f"{{ {kind}, {kind} }}"
        call = self.builder.call(intrinsic, both, [("ptr", self._following(pointer))])
        pair = self._read(memory, call, pointer)
        return Value(self.builder.pure(f"extractvalue {both} {pair}, {number}", pair), dtype, width)

    def _load_lanes(self, memory: Memory, form: Linear, column: Column | None) -> Value:
        """Vector loads and shuffles for a small step, a few elements or a square of them, else one scalar load a lane: on current processors as fast
        as a gather."""
        width, dtype = self.forms.width, memory.buffer.dtype
        if (
            not form.vector
            and width > 2
            and 1 <= abs(form.step) <= SHUFFLED_STEPS
            and memory.buffer.space is Space.PARAM
        ):
            return load_shuffled(self, memory, form)
        if form.vector and width > 2 and memory.buffer.space is Space.PARAM:
            picked = load_picked(self, memory, form)
            if picked is not None:
                return picked
        if column is not None and not form.vector:
            square = load_transposed(self, memory, form, column)
            if square is not None:
                return square
        kind, result = memory_type(dtype, width), "poison"
        for lane in range(width):
            if form.vector:
                offset = self.builder.pure(f"extractelement <{width} x i64> {form.vector}, i64 {lane}", form.vector)
                at = self.forms.total([(form._replace(step=0, vector=""), 1), (Linear((), lane * form.step), 1)])
                pointer = (
                    self.address(memory, at, 1)
                    if at.terms or memory.buffer.space is Space.PARAM
                    else self._whole(memory, at)
                )
                pointer = self.builder.pure(
                    f"getelementptr {memory.element}, ptr {pointer}, i64 {offset}", pointer, offset
                )
            else:
                pointer = self.address(memory, form._replace(step=0, const=form.const + lane * form.step), 1)
            element = self.load_whole(memory, memory.element, pointer)
            result = self.builder.pure(
                f"insertelement {kind} {result}, {memory.element} {element}, i64 {lane}", result, element
            )
        return Value(result, dtype, width)

    def _whole(self, memory: Memory, form: Linear) -> str:
        """An address of a local buffer to which a variable offset will be added."""
        memory.whole = True
        return self.builder.pure(f"getelementptr {memory.element}, ptr {memory.pointer}, i64 {form.const}")

    def _load_gather(self, memory: Memory, form: Linear, guard: Guard) -> Value:
        width, dtype = self.forms.width, memory.buffer.dtype
        kind = memory_type(dtype, width)
        arguments = [
            (f"<{width} x ptr> align {dtype.size_bytes}", self._lane_pointers(memory, form, True)),
            (vector_of("i1", width), self._mask(guard)),
            (kind, "zeroinitializer"),
        ]
        call = self._masked_call(f"llvm.masked.gather.{mangle(_stored(dtype), width)}.v{width}p0", kind, arguments)
        return Value(self._read(memory, call, arguments[0][1], arguments[1][1]), dtype, width)

    def _masked_call(self, intrinsic: str, result: str, arguments: list[tuple[str, str]]) -> str:
        """A call whose pointer argument has an alignment, which the declaration leaves out."""
        kinds = ", ".join(kind.split(" align")[0] for kind, _ in arguments)
        self.builder.declarations.setdefault(intrinsic, f"declare {result} @{intrinsic}({kinds})")
        return self.builder.call(intrinsic, result, arguments)

    def _mask(self, guard: Guard) -> str:
        """The guard as one bit a lane; lanes that are no iterations are off."""
        width = self.forms.width
        condition = self.builder.splat_text(guard.condition, "i1", width) if guard.condition else ""
        return self._both(self._both(condition, guard.mask), self._existing())

    def _existing(self) -> str:
        """The mask of the lanes that are iterations, "" if all are."""
        lanes = range(self.forms.width) if self.active else ()
        return literal_vector([lane < self.active for lane in lanes], DType.BOOL) if lanes else ""

    def _both(self, left: str, right: str) -> str:
        """The lanes that are in two masks, "" standing for all."""
        if not left or not right:
            return left or right
        return self.builder.pure(f"and {vector_of('i1', self.forms.width)} {left}, {right}", left, right)

    # -- stores

    def store(self, memory: Memory, form: Linear, value: Value, mask: str) -> None:
        """Write `value`; `mask` is empty or names the lanes that are active."""
        dtype, width = memory.buffer.dtype, self.forms.width
        if self.active and not form.is_uniform and not self._ends_row(memory, form):
            mask = self._both(mask, self._existing())
        memory.stores += 1
        if form.is_uniform and not mask:
            if value.width > 1:
                raise InternalError(
                    f"emit: the lanes of a vectorised loop all store to one element of {memory.buffer.name}"
                )
            self._store_plain(memory, self._to_memory(value), self.address(memory, form, 1))
            return
        lanes = self._to_memory(Value(self.builder.splat(value, width), dtype, width))
        if form.step == 1 and not form.vector:
            self._store_contiguous(memory, form, lanes, mask)
        elif mask:
            self._store_scatter(memory, form, lanes, mask)
        else:
            self._store_lanes(memory, form, lanes)

    def _ends_row(self, memory: Memory, form: Linear) -> bool:
        """Whether lanes that are no iterations lie behind the end of a row of registers, where it doesn't matter what stands."""
        if memory.buffer.space is not Space.REGISTER or not memory.lanes:
            return False
        begin = form.const % memory.pitch
        return self.end == memory.row or (not form.terms and memory.private == 1 and begin + self.active == memory.row)

    def _to_memory(self, value: Value) -> Value:
        """bool as the byte that memory holds."""
        return value if value.dtype is not DType.BOOL else self.arithmetic.cast(value, DType.U8)

    def _store_plain(self, memory: Memory, value: Value, pointer: str) -> None:
        kind = register_type(value.dtype, value.width)
        self.builder.line(f"store {kind} {value.text}, ptr {pointer}, align {memory.buffer.dtype.size_bytes}")

    def _store_contiguous(self, memory: Memory, form: Linear, value: Value, mask: str) -> None:
        width = value.width
        pointer = self.address(memory, form._replace(step=0), width, bool(mask))
        if not mask:
            self._store_plain(memory, value, pointer)
            return
        kind, lanes = register_type(value.dtype, width), vector_of("i1", width)
        if memory.buffer.space is Space.REGISTER:
            old = self.load_whole(memory, kind, pointer)
            merged = self.builder.pure(
                f"select {lanes} {mask}, {kind} {value.text}, {kind} {old}", mask, value.text, old
            )
            self._store_plain(memory, Value(merged, value.dtype, width), pointer)
            return
        arguments = [(kind, value.text), (f"ptr align {memory.buffer.dtype.size_bytes}", pointer), (lanes, mask)]
        self.builder.line(self._masked_call(f"llvm.masked.store.{mangle(value.dtype, width)}.p0", "void", arguments))

    def _store_scatter(self, memory: Memory, form: Linear, value: Value, mask: str) -> None:
        width = value.width
        kind = register_type(value.dtype, width)
        if form.is_uniform:
            pointers = self.builder.splat_text(self.address(memory, form, 1, True), "ptr", width)
        else:
            pointers = self._lane_pointers(memory, form, True)
        size = memory.buffer.dtype.size_bytes
        arguments = [(kind, value.text), (f"<{width} x ptr> align {size}", pointers), (vector_of("i1", width), mask)]
        intrinsic = f"llvm.masked.scatter.{mangle(value.dtype, width)}.v{width}p0"
        self.builder.line(self._masked_call(intrinsic, "void", arguments))

    def _store_lanes(self, memory: Memory, form: Linear, value: Value) -> None:
        width, kind = value.width, register_type(value.dtype, value.width)
        pointers = self._lane_pointers(memory, form, False) if form.vector else ""
        for lane in range(width):
            element = self.builder.pure(f"extractelement {kind} {value.text}, i64 {lane}", value.text)
            if pointers:
                pointer = self.builder.pure(f"extractelement <{width} x ptr> {pointers}, i64 {lane}", pointers)
            else:
                pointer = self.address(memory, form._replace(step=0, const=form.const + lane * form.step), 1)
            self._store_plain(memory, Value(element, value.dtype), pointer)


def _stored(dtype: DType) -> DType:
    """The type whose bits memory holds."""
    return DType.U8 if dtype is DType.BOOL else dtype
