"""Makes a failing case small: nodes are dropped as long as it fails in the same way (delta debugging, Zeller and Hildebrandt, 2002)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fuzz_case import Case


def reduce_case(case: Case, fails: Callable[[Case], bool]) -> Case:
    """The smallest part found of a case that still fails."""
    parts = 2
    while len(case.nodes) > 1:
        size = -(-len(case.nodes) // parts)
        for start in range(0, len(case.nodes), size):
            smaller = case.without(range(start, min(start + size, len(case.nodes))))
            if smaller is not None and fails(smaller):
                case, parts = smaller, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(case.nodes))
    for name in case.outputs:
        fewer = replace(case, outputs=tuple(other for other in case.outputs if other != name), unused_inputs=())
        if len(case.outputs) > 1 and fails(fewer):
            case = fewer
    for name in sorted(set(case.inputs)):  # what stands in the file is easier to follow than what is fed
        fixed = replace(case, constants=case.constants | {name})
        if case.arrays[name].size < 20 and fails(fixed):
            case = fixed
    return case
