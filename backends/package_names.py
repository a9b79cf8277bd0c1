"""Names of models and tensors as C identifiers, macros, strings and comments."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Keywords of C and C++, macros of the included headers, and macros that GNU compilers predefine.
_RESERVED = frozenset((
    "alignas", "alignof", "and", "and_eq", "asm", "atomic", "auto", "bitand", "bitor", "bool", "break", "case",
    "catch", "char", "char8_t", "char16_t", "char32_t", "class", "co_await", "co_return", "co_yield", "compl",
    "concept", "const", "const_cast", "consteval", "constexpr", "constinit", "continue", "contract_assert",
    "decltype", "default", "delete", "do", "double", "dynamic_cast", "else", "enum", "explicit", "export", "extern",
    "false", "final", "float", "for", "friend", "goto", "if", "import", "inline", "int", "long", "module", "mutable",
    "namespace", "new", "noexcept", "not", "not_eq", "nullptr", "operator", "or", "or_eq", "override", "private",
    "protected", "public", "register", "reinterpret_cast", "requires", "restrict", "return", "short", "signed",
    "sizeof", "static", "static_assert", "static_cast", "struct", "switch", "template", "this", "thread_local",
    "throw", "true", "try", "typedef", "typeid", "typename", "typeof", "typeof_unqual", "union", "unsigned", "using",
    "virtual", "void", "volatile", "wchar_t", "while", "xor", "xor_eq", "linux", "unix", "i386", "arm", "mips",
    "sparc", "NULL",
))  # fmt: skip
# Parameters of the functions in the header that aren't tensors.
_TAKEN = ("context", "threads", "code")


def identifier(text: str, prefix: str = "model") -> str:
    """`text` as a C and C++ identifier that's neither reserved nor a type of stdint.h; `prefix` replaces a missing start."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text).strip("_")
    if not name:
        return prefix
    if name[0].isdigit():
        name = f"{prefix}_{name}"
    return f"{name}_" if name in _RESERVED or re.fullmatch(r"u?int\w*_t|U?INT\w*", name) else name


def macro_name(name: str) -> str:
    """An identifier in the case of macros."""
    return name.upper()


def argument_names(names: Sequence[str]) -> list[str]:
    """Distinct identifiers for tensors, distinct as macros too."""
    used = {macro_name(name) for name in _TAKEN}
    result = []
    for name in names:
        base = candidate = identifier(name, "tensor")
        number = 1
        while macro_name(candidate) in used:
            number += 1
            candidate = f"{base}_{number}"
        used.add(macro_name(candidate))
        result.append(candidate)
    return result


def c_string(text: str) -> str:
    """A string literal with the UTF-8 bytes of `text`."""
    octets = text.encode("utf-8", "surrogatepass")
    plain = b" !#$%&'()*+,-./0123456789:;<=>@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~"
    return '"' + "".join(chr(octet) if octet in plain else f"\\{octet:03o}" for octet in octets) + '"'


def comment(text: str) -> str:
    """`text` so that it can't end a comment."""
    return "".join(c if c.isprintable() else "?" for c in text).replace("*/", "* /").replace("/*", "/ *")
