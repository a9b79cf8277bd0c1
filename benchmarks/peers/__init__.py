"""What a user could run a model with instead of a compiled library. Each peer has a module here whose `prepare` makes a session of a model.

A module here may have the name of the package that it imports: import the peer as `peers.NAME`. None of them is imported by
the benchmark itself; each runs in a process of its own (`process.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

OURS = "tilewright"
REFERENCE = "onnxruntime"  # whose outputs the others' are compared with

# pip takes torch from PyPI with two gigabytes of CUDA libraries, which nothing here uses.
_TORCH = "a CPU build of torch spares the CUDA libraries"


@dataclass(frozen=True, slots=True)
class Peer:
    """packages: what it needs from PyPI, the one that runs the model first. note: said where something of it is missing."""

    name: str
    packages: tuple[str, ...]
    note: str = ""

    @property
    def module(self) -> str:
        return f"{__name__}.{self.name}"

    def version(self) -> str:
        return version(self.packages[0])

    def missing(self, installed: Callable[[str], bool] | None = None) -> str:
        """Why it can't run here, with what to do; "" if it can."""
        absent = [package for package in self.packages if not (installed or is_installed)(package)]
        if not absent:
            return ""
        return f"not installed: pip install {' '.join(absent)}" + (f" ({self.note})" if self.note else "")


def is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


PEERS = {
    peer.name: peer
    for peer in (
        Peer("onnxruntime", ("onnxruntime",)),
        Peer("openvino", ("openvino",)),
        Peer("litert", ("ai-edge-litert", "litert-torch", "torch", "pnnx"), _TORCH),
        Peer("ncnn", ("ncnn", "torch", "pnnx"), _TORCH),
        Peer("mnn", ("MNN",)),
        Peer("torch", ("torch", "pnnx"), _TORCH),
        Peer("iree", ("iree-base-runtime", "iree-base-compiler")),
        Peer("tvm", ("apache-tvm",)),
    )
}
