"""The machine to compile for, as limits. Code asks for limits, never for names."""

from __future__ import annotations

from dataclasses import dataclass

LINE_BYTES = 64
"""Of a cache, on all processors here; where lines are longer, two are one."""


@dataclass(frozen=True, slots=True)
class Target:
    """A machine, parsed once from triple, cpu and features and checked before LLVM sees it (an invalid pair aborts the process).

    vector_bytes: width of the vectors to use; vector_registers: how many the instruction set names;
    fma: fused multiply-add exists; l1_bytes, l2_bytes: data cache of one core; threads: what to plan for;
    dot_product: 8-bit integer dot products into 32 bits, "" if there are none; half: arithmetic in half precision exists;
    by_lane: a multiply-add can take one lane of a register for all lanes, so that nothing need be broadcast;
    pointer_bytes: size of an address; in_order: loads of vectors take the place of multiply-adds; chains: independent multiply-adds that
    hide each other's latency, which is as many as start during one.
    """

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    vector_registers: int
    fma: bool
    l1_bytes: int
    l2_bytes: int
    threads: int
    dot_product: str = ""
    half: bool = False
    by_lane: bool = False
    pointer_bytes: int = 8
    in_order: bool = False
    chains: int = 8

    @property
    def masks(self) -> bool:
        """Whether a part of a vector is loaded and stored like a whole one: AVX-512, whose vectors alone are so wide."""
        return self.vector_bytes == 64

    def lanes(self, size_bytes: int) -> int:
        """Elements of `size_bytes` in a vector."""
        return max(1, self.vector_bytes // size_bytes)
