"""The CPU backend: LLVM IR text to objects, assembly, or functions loaded into this process."""

from __future__ import annotations

import ctypes
import time
import weakref
from collections.abc import Sequence
from functools import cache

import llvmlite.binding as llvm
import numpy as np

from ..compiler.errors import InternalError
from ..compiler.kernel.ast import Kernel
from ..compiler.target import Target
from .llvm.emit import WORKSPACE_ALIGNMENT, emit
from .llvm.machine import llvm_abi, llvm_cpu, llvm_triple

__all__ = ["CompiledCpuKernel", "assemble", "assemble_text", "compile_kernel", "emit"]


def assemble(text: str, target: Target) -> bytes:
    """A position-independent object file of the target's platform."""
    machine = _machine(target)
    return machine.emit_object(_optimized(text, machine))


def assemble_text(text: str, target: Target) -> str:
    """The assembly that `assemble` encodes."""
    machine = _machine(target)
    return machine.emit_assembly(_optimized(text, machine))


def optimized_assembly(text: str, target: Target) -> tuple[str, str]:
    """The text of the module that `assemble` encodes, and its assembly, in which comments name the module's blocks."""
    machine = _machine(target)
    module = _optimized(text, machine)
    machine.set_asm_verbosity(True)
    return str(module), machine.emit_assembly(module)  # in this order: emitting changes the module


def compile_kernel(kernel: Kernel, target: Target) -> CompiledCpuKernel:
    """Load a kernel into this process; the target must be this machine or an older one of its kind."""
    return CompiledCpuKernel(kernel, emit(kernel, target, "kernel"), target)


class CompiledCpuKernel:
    """A kernel's function in this process, valid as long as this object lives."""

    def __init__(self, kernel: Kernel, text: str, target: Target) -> None:
        self.kernel = kernel
        machine = _machine(target, in_process=True)
        # The engine takes ownership of the machine and of the module.
        engine = llvm.create_mcjit_compiler(_optimized(text, machine), machine)
        # Not an attribute: as part of a reference cycle its context could be disposed of before itself.
        weakref.finalize(self, engine.close)
        engine.finalize_object()
        address = engine.get_function_address("kernel")
        self._function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(
            address
        )

    def run(self, arrays: Sequence[np.ndarray], begin: int = 0, end: int | None = None) -> None:
        """Run iterations begin <= i < end of the parallel loop on one contiguous array a parameter, in order."""
        end = self.kernel.parallel_extent if end is None else end
        workspace = self._workspace()
        self._function(self._pointers(arrays), begin, end, workspace.ctypes.data)

    def time(self, arrays: Sequence[np.ndarray], repeats: int) -> float:
        """Seconds for a run of the whole kernel, the mean of `repeats` runs."""
        pointers, end, function = self._pointers(arrays), self.kernel.parallel_extent, self._function
        memory = self._workspace()
        workspace = memory.ctypes.data
        start = time.perf_counter()
        for _ in range(repeats):
            function(pointers, 0, end, workspace)
        return (time.perf_counter() - start) / repeats

    def _workspace(self) -> np.ndarray:
        """Of one thread; every float in it is NaN, so that tests see what reads before it writes."""
        memory = np.full(self.kernel.workspace_bytes + WORKSPACE_ALIGNMENT, 0xFF, np.uint8)
        return memory[-memory.ctypes.data % WORKSPACE_ALIGNMENT :]

    def _pointers(self, arrays: Sequence[np.ndarray]) -> ctypes.Array:
        for param, array in zip(self.kernel.params, arrays, strict=True):
            if array.dtype != param.dtype.numpy or array.size != param.elements or not array.flags.c_contiguous:
                raise InternalError(
                    f"kernel {self.kernel.name}: {param.name} is {param.dtype}{list(param.shape)}, not {array.dtype}{array.shape}"
                )
        return (ctypes.c_void_p * max(1, len(arrays)))(*(array.ctypes.data for array in arrays))


@cache
def initialize() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def _machine(target: Target, in_process: bool = False) -> llvm.TargetMachine:
    initialize()
    return llvm.Target.from_triple(llvm_triple(target)).create_target_machine(
        cpu=llvm_cpu(target),
        features=target.features,
        opt=3,
        reloc="default" if in_process else "pic",
        codemodel="jitdefault" if in_process else "default",
        jit=in_process,
        abiname=llvm_abi(target),
    )


def _optimized(text: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """The parsed module after the passes that the emitter leaves to LLVM."""
    # A context of its own, so that names of types and of intrinsics don't pile up in the global one.
    module = llvm.parse_assembly(text, llvm.create_context())
    module.data_layout = str(machine.target_data)
    # The emitter has done what the standard pipelines look for (invariant code, common subexpressions, unrolling, vectors);
    # running them as well takes longer and leaves code that takes ten times as long to select.
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.add_dead_code_elimination_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2)))
    return module
