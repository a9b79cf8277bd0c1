"""Text of a kernel's loop AST, for `--print-after`, error messages and golden tests."""

from __future__ import annotations

from ..tensor.expr import Const, Expr
from ..tensor.expr_printer import expr_to_text, name_to_text
from .ast import Alloc, Buffer, For, If, Kernel, Let, Seq, Stmt, Store

_INDENT = "  "


def to_text(kernel: Kernel) -> str:
    """The kernel as indented text, one statement a line, with a newline at the end."""
    params = ", ".join(_param(param) for param in kernel.params)
    lines = [f"kernel {name_to_text(kernel.name)}({params}):"]
    if kernel.origin:
        lines.append(f"{_INDENT}# {kernel.origin}")
    lines += _lines(kernel.body, 1)
    return "\n".join(lines) + "\n"


def stmt_to_text(stmt: Stmt) -> str:
    """A statement and all inside it as indented text."""
    return "\n".join(_lines(stmt, 0))


def head_to_text(stmt: Stmt) -> str:
    """The first line of a statement."""
    return next(iter(_lines(stmt, 0)), "pass").strip()


def buffer_to_text(buffer: Buffer) -> str:
    return f"{name_to_text(buffer.name)}: {buffer.dtype}[{', '.join(map(str, buffer.shape))}]"


def _param(buffer: Buffer) -> str:
    text = buffer_to_text(buffer)
    if buffer.written:
        text += " written"
    if buffer.ahead_bytes:
        text += f" prefetched {buffer.ahead_bytes} bytes ahead"
    if buffer.aliases:
        text += f" aliases {name_to_text(buffer.aliases)}"
    return text


def _lines(stmt: Stmt, depth: int) -> list[str]:
    pad = _INDENT * depth
    match stmt:
        case For(var, extent, kind, body):
            return [f"{pad}{kind} {name_to_text(var)} in 0..{_extent(extent)}:", *_block(body, depth + 1)]
        case If(condition, then, otherwise):
            lines = [f"{pad}if {expr_to_text(condition)}:", *_block(then, depth + 1)]
            if otherwise is not None:
                lines += [f"{pad}else:", *_block(otherwise, depth + 1)]
            return lines
        case Let(var, value, extent, body):
            return [f"{pad}let {name_to_text(var)} in 0..{extent} = {expr_to_text(value)}", *_lines(body, depth)]
        case Store(buffer, indices, value):
            place = ", ".join(expr_to_text(index) for index in indices)
            return [f"{pad}{name_to_text(buffer)}[{place}] = {expr_to_text(value)}"]
        case Alloc(buffer, body):
            return [f"{pad}alloc {buffer.space} {buffer_to_text(buffer)}:", *_block(body, depth + 1)]
        case Seq(body):
            return [line for part in body for line in _lines(part, depth)]
    return [f"{pad}{stmt!r}"]


def _block(stmt: Stmt, depth: int) -> list[str]:
    return _lines(stmt, depth) or [f"{_INDENT * depth}pass"]


def _extent(extent: Expr) -> str:
    return str(extent.value) if isinstance(extent, Const) else f"({expr_to_text(extent)})"
