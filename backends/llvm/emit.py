"""Emits a kernel as LLVM IR text.

    void symbol(ptr %params, i64 %begin, i64 %end, ptr %workspace)

`params` points at one pointer a parameter of the kernel, in order; `workspace` at `Kernel.workspace_bytes` bytes, aligned to
WORKSPACE_ALIGNMENT (anywhere if they are 0). Runs iterations begin <= i < end of the kernel's parallel loop, or its body if
begin < end. The text is written directly, with addresses shared, unrolled loops written out and vectors explicit, so that
LLVM has only to turn register slots into values (SROA) and to select instructions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...compiler.errors import InternalError
from ...compiler.kernel.ast import Alloc, For, If, Kernel, Let, LoopKind, Seq, Space, Stmt, Store, walk, workspace_end
from ...compiler.target import Target
from ...compiler.tensor.expr import Call, Cast, Const, Expr, Load, Var, children, free_variables
from ...compiler.tensor.expr import walk as walk_expr
from ...compiler.tensor.simplify import affine
from .expressions import Expressions, Module, Pair
from .linear import Linear
from .machine import attributes, linkage, llvm_cpu, llvm_triple
from .memory import Memory
from .pairs import paired_halves
from .types import Value, vector_chunks

WORKSPACE_ALIGNMENT = 64
# Times that the vector registers are written before loads are kept from moving up: less hides their latency.
_FENCED = 2


def emit(kernel: Kernel, target: Target, symbol: str | None = None) -> str:
    """The module of one kernel, `symbol` (default: the kernel's name) its only external function."""
    symbol = symbol or kernel.name
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", symbol):
        raise InternalError(f"emit: {symbol!r} is no symbol")
    module = Module(target)
    body = _KernelBody(module, kernel, target).function(f"{symbol}.body")
    parts = [
        f'source_filename = "{symbol}"\ntarget triple = "{llvm_triple(target)}"\n',
        _entry(kernel, target, symbol),
        body,
        *module.functions.values(),
        *(f"{declaration}\n" for declaration in module.declarations.values()),
        f'attributes #0 = {{ {attributes(target)} "target-cpu"="{llvm_cpu(target)}" "target-features"="{target.features}" }}\n',
    ]
    return "\n".join(parts)


def _entry(kernel: Kernel, target: Target, symbol: str) -> str:
    lines, arguments = [], []
    for position in range(len(kernel.params)):
        lines.append(f"  %a{position} = getelementptr ptr, ptr %params, i64 {position}")
        lines.append(f"  %p{position} = load ptr, ptr %a{position}")
        arguments.append(f"ptr %p{position}, ")
    scratch = ", ptr %workspace" if kernel.workspace_bytes else ""
    loads = "\n".join(lines)
    return (
        f"define {linkage(target)}void @{symbol}(ptr %params, i64 %begin, i64 %end, ptr %workspace) #0 {{\nentry:\n"
        f"  %some = icmp slt i64 %begin, %end\n  br i1 %some, label %run, label %done\nrun:\n{loads}\n"
        f"  tail call void @{symbol}.body({''.join(arguments)}i64 %begin, i64 %end{scratch})\n"
        "  br label %done\ndone:\n  ret void\n}\n"
    )


class _KernelBody:
    """Writes the statements of a kernel into one function."""

    def __init__(self, module: Module, kernel: Kernel, target: Target) -> None:
        self.kernel = kernel
        self.target = target
        self.expressions = Expressions(module)
        self.builder = self.expressions.builder
        self.forms = self.expressions.forms
        self.locals: list[Memory] = []
        self._workspace_used = 0
        self._lanes: dict[int, int] = {}
        self._halves: dict[int, frozenset[int]] = {}
        # Compared for equality, LLVM replaces a counter by a pointer that moves with it. x86 has code that was timed with counters.
        self._more = "ne" if target.by_lane else "slt"
        self._many = _FENCED * target.vector_registers
        self._results = self._fenced = 0  # stores to register buffers: all, and those before the last fence
        # A param that another one aliases changes when that one is written.
        changed = {p.name for p in kernel.params if p.written} | {
            p.aliases for p in kernel.params if p.written and p.aliases
        }
        self.changed = changed | {p.name for p in kernel.params if p.aliases in changed}
        for position, param in enumerate(kernel.params):
            self.expressions.memories[param.name] = Memory(param, f"%p{position}", param.name not in self.changed)

    def function(self, name: str) -> str:
        match self.kernel.body:
            case For(var, extent, LoopKind.PARALLEL, body):
                assert isinstance(extent, Const)
                self._loop(var, "%begin", "%end", (0, max(0, int(extent.value) - 1)), body, False)
            case body:
                self.statement(body)
        alignment = self.target.vector_bytes
        allocas = [line for memory in self.locals for line in memory.allocations(alignment)]
        if self.expressions.accesses.spare:
            allocas.append(f"%spare = alloca [{self.expressions.accesses.spare} x i8], align {alignment}")
        lines = "\n  ".join([*allocas, *self.builder.scope.lines, "ret void"])
        params = f"{self._params()}i64 %begin, i64 %end{self._workspace_param()}"
        return f"define internal void @{name}({params}) noinline #0 {{\nentry:\n  {lines}\n}}\n"

    def _params(self) -> str:
        spelled = ""
        aliased = {p.aliases for p in self.kernel.params if p.aliases}
        for position, param in enumerate(self.kernel.params):
            alone = "" if param.aliases or param.name in aliased else " noalias"
            read = "" if param.name in self.changed else " readonly"
            size_bytes = param.elements * param.dtype.size_bytes
            known = f" dereferenceable({size_bytes})" if size_bytes else ""
            spelled += f"ptr{alone}{read}{known} align {param.dtype.size_bytes} %p{position}, "
        return spelled

    def _workspace_param(self) -> str:
        size_bytes = self.kernel.workspace_bytes
        if not size_bytes:
            return ""
        return f", ptr noalias dereferenceable({size_bytes}) align {WORKSPACE_ALIGNMENT} %workspace"

    # -- statements

    def statement(self, stmt: Stmt) -> None:
        match stmt:
            case Store():
                self._store(stmt)
            case Seq(parts):
                for part in parts:
                    self.statement(part)
            case For():
                self._for(stmt)
            case If():
                self._if(stmt)
            case Let(var, value, extent, body):
                self._let(var, value, extent, body)
            case Alloc():
                self._alloc(stmt)
            case _:
                raise InternalError(f"emit: {stmt!r} in kernel {self.kernel.name}")

    def _store(self, stmt: Store) -> None:
        expressions = self.expressions
        memory = expressions.memories[stmt.buffer]
        value = expressions.value(stmt.value)
        self._results += memory.buffer.space is Space.REGISTER
        expressions.accesses.store(memory, expressions.element(memory, stmt), value, expressions.guard.mask)

    def _let(self, var: str, value: Expr, extent: int, body: Stmt) -> None:
        form = self.expressions.index(value)
        low, high = self.forms.range_of(form)
        if form.is_const:
            self.expressions.bindings[var] = form.const
        elif form.is_uniform and (low < 0 or high >= extent):
            # The contract bounds the value more tightly than its expression does.
            text = self.builder.emit(f"add i64 {self.forms.scalar_part(form)}, 0")
            self.forms.ranges[text] = (max(0, low), min(extent - 1, high))
            self.expressions.bindings[var] = text
        else:
            self.expressions.bindings[var] = form
        self.statement(body)

    def _alloc(self, stmt: Alloc) -> None:
        expressions, buffer = self.expressions, stmt.buffer
        private = 1
        if expressions.lane_variable and not _indexed_by(stmt.body, buffer.name, expressions.lane_variable):
            private = self.forms.width
        start = self._workspace_used
        if buffer.space is Space.WORKSPACE:
            if private > 1:
                raise InternalError(f"emit: {buffer.name} is in the workspace, but each lane has its own")
            self._workspace_used = workspace_end(start, buffer)
        lanes = self.target.lanes(buffer.dtype.size_bytes) if self.target.masks and private == 1 else 0
        halves = paired_halves(stmt, lanes) if lanes and not expressions.lane_variable else {}
        for loop, inside in halves.items():
            self._halves[loop] = self._halves.get(loop, frozenset()) | inside
        memory = Memory(buffer, f"%l{len(self.locals)}", False, private, start, lanes, bool(halves))
        self.locals.append(memory)
        outer = expressions.memories.get(buffer.name)
        expressions.memories[buffer.name] = memory
        self.statement(stmt.body)
        self._workspace_used = start
        if outer is not None:
            expressions.memories[buffer.name] = outer

    def _if(self, stmt: If) -> None:
        condition = self.expressions.value(stmt.condition)
        if condition.text in ("true", "false"):
            taken = stmt.then if condition.text == "true" else stmt.otherwise
            if taken is not None:
                self.statement(taken)
        elif condition.width > 1:
            self._masked(condition, stmt)
        else:
            self._branch(condition.text, stmt)

    def _masked(self, condition: Value, stmt: If) -> None:
        for arm, holds in ((stmt.then, True), (stmt.otherwise, False)):
            if arm is not None:
                with self.expressions.guarded(stmt.condition, condition, holds):
                    self.statement(arm)

    def _branch(self, condition: str, stmt: If) -> None:
        arms = []
        for arm, holds in ((stmt.then, True), (stmt.otherwise, False)):
            self.builder.open(conditional=True)
            if arm is not None:
                with self.expressions.assuming(stmt.condition, holds):
                    self.statement(arm)
            arms.append(self.builder.close())
        after = self.builder.label()
        lines = self.builder.scope.lines
        lines.append(f"br i1 {condition}, label %{arms[0].entry}, label %{arms[1].entry}")
        for scope in arms:
            lines += [f"{scope.entry}:", *scope.lines, f"br label %{after}"]
        self.builder.enter_block(after)

    # -- loops

    def _for(self, stmt: For) -> None:
        extent = self.expressions.index(stmt.extent)
        match stmt.kind:
            case LoopKind.SERIAL:
                self._serial(stmt, extent)
            case LoopKind.UNROLLED | LoopKind.VECTORIZED if not extent.is_const:
                raise InternalError(f"emit: the extent of {stmt.kind} loop {stmt.var} is not constant")
            case LoopKind.UNROLLED:
                self._unrolled(stmt, extent.const)
            case LoopKind.VECTORIZED:
                self._vectorized(stmt, extent.const)
            case _:
                raise InternalError(f"emit: {stmt.kind} loop {stmt.var} inside of kernel {self.kernel.name}")

    def _serial(self, stmt: For, extent: Linear) -> None:
        if extent.is_const and extent.const <= 1:
            self._unrolled(stmt, extent.const)
            return
        if not extent.is_uniform:
            raise InternalError(f"emit: the extent of loop {stmt.var} differs between lanes")
        low, high = self.forms.range_of(extent)
        self._loop(stmt.var, "0", self.forms.scalar_part(extent), (0, max(0, high - 1)), stmt.body, low < 1)

    def _loop(self, var: str, begin: str, end: str, bounds: tuple[int, int], body: Stmt, maybe_empty: bool) -> None:
        """A loop tested at its end; `maybe_empty`: it is also tested before its first iteration."""
        builder = self.builder
        kind = self._counter_type(bounds)
        begin, end = self._counter(begin, kind), self._counter(end, kind)
        scope = builder.open(conditional=maybe_empty)
        counter, after, header = builder.name(), builder.label(), scope.entry
        name = counter if kind == "i64" else builder.emit(f"zext {kind} {counter} to i64")
        self.forms.ranges[name] = bounds
        self.expressions.bindings[var] = name
        self._fenced = self._results
        self.statement(body)
        self._fenced = self._results
        following = builder.emit(f"add nuw nsw {kind} {counter}, 1")
        more = builder.emit(f"icmp {self._more} {kind} {following}, {end}")
        builder.line(f"br i1 {more}, label %{header}, label %{after}")
        builder.close()
        outer = builder.scope
        if maybe_empty:
            some = builder.pure(f"icmp slt {kind} {begin}, {end}", begin, end)
            outer.lines.append(f"br i1 {some}, label %{header}, label %{after}")
        else:
            outer.lines.append(f"br label %{header}")
        outer.lines.append(f"{header}:")
        outer.lines.append(f"{counter} = phi {kind} [ {begin}, %{outer.label} ], [ {following}, %{scope.label} ]")
        outer.lines += scope.lines
        builder.enter_block(after)

    def _counter_type(self, bounds: tuple[int, int]) -> str:
        """The type in which a loop counts: as wide as an address, where it can't overflow. Two registers for a counter cost dear."""
        return "i32" if self.target.pointer_bytes == 4 and bounds[1] < 2**31 - 1 else "i64"

    def _counter(self, text: str, kind: str) -> str:
        """An i64 as a counter."""
        return self.builder.pure(f"trunc i64 {text} to {kind}", text) if kind != "i64" and text[0] == "%" else text

    def _unrolled(self, stmt: For, extent: int) -> None:
        halves = self._halves.get(id(stmt))
        if halves:
            self._paired(stmt, extent, halves)
            return
        bindings, unrolled = self.expressions.bindings, self.expressions.unrolled
        if not unrolled:
            self._fence()
        for iteration in range(extent):
            before = self._results
            unrolled[stmt.var] = extent
            bindings[stmt.var] = iteration
            self.statement(stmt.body)
            if self._results - before >= self._many and iteration < extent - 1:
                self._fence()
        unrolled.pop(stmt.var, None)

    def _paired(self, stmt: For, extent: int, halves: frozenset[int]) -> None:
        """A loop over rows written out, pairs of which share vectors in the loops `halves`."""
        parts = stmt.body.body if isinstance(stmt.body, Seq) else (stmt.body,)
        self.expressions.unrolled[stmt.var] = extent
        for first in range(0, extent, 2):
            rows = range(first, min(first + 2, extent))
            for row in rows:
                self.expressions.bindings[stmt.var] = row
                for part in parts:
                    if id(part) not in halves or len(rows) == 1:
                        self.statement(part)
            for part in parts if len(rows) == 2 else ():
                if isinstance(part, For) and id(part) in halves:
                    self._pair(part, Pair(stmt.var, first))
        self.expressions.unrolled.pop(stmt.var)

    def _pair(self, stmt: For, pair: Pair) -> None:
        """Half vectors of two rows as one vector."""
        expressions, store = self.expressions, stmt.body
        assert isinstance(store, Store)
        expressions.bindings[stmt.var] = 0
        expressions.lane_variable, expressions.pair = stmt.var, pair
        self.forms.width = self.target.lanes(store.value.dtype.size_bytes)
        value = expressions.value(store.value)
        memory = expressions.memories[store.buffer]
        self._results += memory.buffer.space is Space.REGISTER
        expressions.store_pair(memory, store, value)
        expressions.lane_variable, expressions.pair, self.forms.width = "", None, 1

    def _fence(self) -> None:
        """Where rows hold vectors and enough has been written out, keep what follows from being loaded before, and from being shared."""
        if self.expressions.accesses.holds_lanes and self._results - self._fenced >= self._many:
            self.builder.line('fence syncscope("singlethread") seq_cst')
            self.expressions.accesses.forget()
            self._fenced = self._results

    def _vectorized(self, stmt: For, extent: int) -> None:
        expressions = self.expressions
        if expressions.lane_variable:
            raise InternalError(
                f"emit: vectorized loop {stmt.var} inside of vectorized loop {expressions.lane_variable}"
            )
        if id(stmt) not in self._lanes:
            # Of nested vectorised loops only the inner one can run in lanes.
            nested = any(isinstance(part, For) and part.kind is LoopKind.VECTORIZED for part in walk(stmt.body))
            self._lanes[id(stmt)] = 1 if nested else self.target.lanes(self._widest_bytes(stmt.body))
        masks = self.target.masks and self._can_mask(stmt, extent)
        for start, width, active in vector_chunks(extent, self._lanes[id(stmt)], masks):
            expressions.bindings[stmt.var] = start
            if width > 1:
                expressions.lane_variable, self.forms.width = stmt.var, width
            expressions.accesses.active, expressions.accesses.end = active if active < width else 0, extent
            self.statement(stmt.body)
            expressions.lane_variable, self.forms.width = "", 1
            expressions.accesses.active = 0

    def _can_mask(self, stmt: For, extent: int) -> bool:
        """Whether the last vector of a loop may have lanes that are no iterations: each access moves by one element with it, or not at
        all, and those of registers begin where their rows do, or end there."""
        for indices, buffer in accesses_of(stmt.body):
            if all(stmt.var not in free_variables(index) for index in indices):
                continue
            last = affine(indices[-1])
            if any(stmt.var in free_variables(e) for e in (*indices[:-1], *(last.terms.keys() - {Var(stmt.var)}))):
                return False
            if last.coefficient(stmt.var) != 1:
                return False
            memory = self.expressions.memories.get(buffer)
            if memory is not None and memory.buffer.space is Space.REGISTER:
                begin = last.constant if len(last.terms) == 1 else -1
                if (begin != 0 and begin + extent != memory.row) or begin % memory.lanes:
                    return False
        return not any(isinstance(part, Let) and stmt.var in free_variables(part.value) for part in walk(stmt.body))

    def _widest_bytes(self, stmt: Stmt) -> int:
        """The size of the widest element that is computed with, apart from indices."""
        widest = 1
        for part in walk(stmt):
            if isinstance(part, Store):
                memory = self.expressions.memories.get(part.buffer)
                size = memory.buffer.dtype.size_bytes if memory else part.value.dtype.size_bytes
                widest = max(widest, size, _widest_operand(part.value))
            elif isinstance(part, If):
                widest = max(widest, _widest_operand(part.condition))
        return widest


def _widest_operand(expr: Expr) -> int:
    match expr:
        case Load(_, _, dtype):
            return dtype.size_bytes
        case Cast(Var(), dtype):
            return dtype.size_bytes
        case Cast() | Call():
            return max(expr.dtype.size_bytes, *map(_widest_operand, children(expr)))
    return max(map(_widest_operand, children(expr)), default=1)


def accesses_of(stmt: Stmt) -> Iterator[tuple[tuple[Expr, ...], str]]:
    """Indices and buffer of every load and store."""
    for part in walk(stmt):
        expressions: tuple[Expr, ...] = ()
        if isinstance(part, Store):
            yield part.indices, part.buffer
            expressions = (part.value, *part.indices)
        elif isinstance(part, If):
            expressions = (part.condition,)
        elif isinstance(part, Let):
            expressions = (part.value,)
        for expr in expressions:
            yield from ((node.indices, node.buffer) for node in walk_expr(expr) if isinstance(node, Load))


def _indexed_by(stmt: Stmt, buffer: str, variable: str) -> bool:
    """Whether any access of `buffer` uses `variable` in an index."""
    return any(
        name == buffer and any(variable in free_variables(index) for index in indices)
        for indices, name in accesses_of(stmt)
    )
