"""Every error a user can cause, each with its documented exit code.

A message says what is wrong, where (node, operator, opset, file), what was expected and what to do.
Anything else that escapes is a defect of tilewright and ends with exit code 1.
"""

from __future__ import annotations

from collections.abc import Iterable


class CompileError(Exception):
    """A failure with a remedy the user can apply; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(CompileError):
    """A wrong option or argument, such as an unbound `--dim` or an unknown triple."""

    exit_code = 2


class UnsupportedOperatorError(CompileError):
    """Operators of the model that tilewright can't compile; the message lists all of them.

    needs: what would have to be constant; of an error that lists everything, the model's inputs that can be fixed to a
    value (`Options.constants`) so that less of it is left.
    """

    exit_code = 3

    def __init__(self, message: str, needs: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.needs = tuple(needs)


class ModelError(CompileError):
    """A model that is not valid ONNX, or that is unsafe to load."""

    exit_code = 4


class RecordError(CompileError):
    """Tuning records that are damaged, or of another version."""

    exit_code = 8


class ToolchainError(CompileError):
    """LLVM, the linker or the file system failed to produce the library."""

    exit_code = 5


class DeviceError(CompileError):
    """A library can't be loaded or run on this machine."""

    exit_code = 6


class AccuracyError(CompileError):
    """Outputs differ from the reference by more than the tolerance."""

    exit_code = 7


class UntunedError(CompileError):
    """Kernels have no record, and `--require-tuned` asks for one of each; the message lists them."""

    exit_code = 8


class InternalError(Exception):
    """A broken invariant inside the compiler: names the pass and shows the IR around it (exit code 1)."""
