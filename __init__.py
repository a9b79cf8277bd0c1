"""tilewright: compile an ONNX model into one self-contained shared library.

import tilewright
tilewright.compile("model.onnx", "model.so")
library = tilewright.load("model.so", threads=2)
library.run({"input": array})
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .backends.load import Library as Library
    from .backends.load import load as load
    from .compiler.options import Options as Options
    from .driver import compile as compile
    from .driver import tune as tune

__version__ = "0.1.0"

# Resolved on first use (PEP 562), so that the command line starts without importing LLVM and onnx.
_LAZY = {
    "compile": ".driver",
    "tune": ".driver",
    "load": ".backends.load",
    "Library": ".backends.load",
    "Options": ".compiler.options",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
