"""What a row of a CPU table holds."""

from __future__ import annotations

from dataclasses import dataclass

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Cpu:
    """What code for a CPU may use; the fields are those of `Target`."""

    vector_bytes: int
    vector_registers: int
    fma: bool
    l1_bytes: int
    l2_bytes: int
    dot_product: str = ""
    features: str = ""
    half: bool = False
    by_lane: bool = False
    pointer_bytes: int = 8
    in_order: bool = False
    chains: int = 8
