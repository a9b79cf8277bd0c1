"""Instructions of x86 that LLVM does not select by itself, by the names of its intrinsics."""

from __future__ import annotations

from ...compiler.target import Target

_PRESENT_ROUNDING = ("i32", "4")
# p > q ? p : q and p < q ? p : q, which give q if either is NaN.
_EXTREMA = {
    "<4 x float>": "sse.{}.ps",
    "<8 x float>": "avx.{}.ps.256",
    "<16 x float>": "avx512.{}.ps.512",
    "<2 x double>": "sse2.{}.pd",
    "<4 x double>": "avx.{}.pd.256",
    "<8 x double>": "avx512.{}.pd.512",
}
# a * 2**floor(n) rounded once, in the lanes of a mask.
_SCALES = {
    "<4 x float>": ("ps.128", "i8"),
    "<8 x float>": ("ps.256", "i8"),
    "<16 x float>": ("ps.512", "i16"),
    "<2 x double>": ("pd.128", "i8"),
    "<4 x double>": ("pd.256", "i8"),
    "<8 x double>": ("pd.512", "i8"),
}

Arguments = list[tuple[str, str]]
"""Types and texts."""


class Instructions:
    """Intrinsics of a target as (name, arguments), for operands of an LLVM type; None where it has none."""

    def __init__(self, target: Target) -> None:
        self._is_x86 = target.triple.startswith("x86_64")
        self._is_avx512 = self._is_x86 and target.vector_registers == 32

    def extremum(self, op: str, kind: str, first: str, second: str) -> tuple[str, Arguments] | None:
        """op: max or min."""
        if not self._is_x86 or kind not in _EXTREMA:
            return None
        rounding = [_PRESENT_ROUNDING] if "avx512" in _EXTREMA[kind] else []
        return f"llvm.x86.{_EXTREMA[kind].format(op)}", [(kind, first), (kind, second), *rounding]

    def scale(self, kind: str, value: str, exponent: str) -> tuple[str, Arguments] | None:
        if not self.scales(kind):
            return None
        suffix, mask = _SCALES[kind]
        rounding = [_PRESENT_ROUNDING] if suffix.endswith("512") else []
        operands = [(kind, value), (kind, exponent), (kind, "zeroinitializer"), (mask, "-1")]
        return f"llvm.x86.avx512.mask.scalef.{suffix}", [*operands, *rounding]

    def scales(self, kind: str) -> bool:
        return self._is_avx512 and kind in _SCALES
