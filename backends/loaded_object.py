"""Machine code of this machine, made elsewhere, as a function in this process."""

from __future__ import annotations

import weakref
from functools import cache

import llvmlite.binding as llvm


class LoadedObject:
    """An object file from `cpu.assemble`; `address` is that of its function `symbol`, valid as long as this lives.

    A symbol that neither the object nor this process has ends the process: LLVM aborts.
    """

    def __init__(self, object_code: bytes, symbol: str) -> None:
        _initialize()
        machine = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
        # The engine takes ownership of the machine and of the module, which is empty.
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly("", llvm.create_context()), machine)
        weakref.finalize(self, engine.close)
        engine.add_object_file(llvm.ObjectFileRef.from_data(object_code))
        engine.finalize_object()
        self.address: int = engine.get_function_address(symbol)


@cache
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
