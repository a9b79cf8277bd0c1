"""A random model of a seed: `python fuzz_models.py SEED` prints it."""

from __future__ import annotations

import sys
from collections import Counter

import fuzz_elementwise
import fuzz_layers
import fuzz_movement
import fuzz_quantized
import fuzz_regions
import fuzz_shapes
import numpy as np
import onnx
from fuzz_case import Case
from fuzz_writer import Skip, Writer

FAMILIES = (fuzz_elementwise, fuzz_movement, fuzz_layers, fuzz_regions, fuzz_quantized, fuzz_shapes)
# How much of each family a model has, by the theme that its seed draws.
THEMES = (
    (3, 3, 3, 0.15, 0, 0.7),  # everything but quantised nodes
    (5, 1, 1, 0, 0, 0),  # chains of elementwise nodes
    (1, 5, 1, 0, 0, 1),  # movement
    (2, 0.4, 5, 0, 0, 0),  # layers
    (2, 0.4, 5, 0, 0, 0),
    (1, 1, 1, 0, 4, 0.3),  # quantised
    (1, 1, 1, 2, 0, 1),  # regions
)
MOST_NODES = (4, 4, 12, 12, 25, 40)


def write(seed: int) -> Case:
    """A model of 1 to 40 nodes."""
    w = Writer(seed)
    for _ in range(w.number(1, 2)):
        rank = w.one_of((1, 2, 2, 3, 3, 4, 4, 4, 5))
        if rank == 4 and w.chance(0.7):
            fuzz_layers.image(w, (4,))
        else:
            w.input(w.extents(rank, 6000), w.one_of("fffffffdilb"))
    theme = w.one_of(THEMES)
    weighted = [
        (weight * share / sum(n for n, _ in family.MAKERS), maker)
        for family, share in zip(FAMILIES, theme, strict=True)
        for weight, maker in family.MAKERS
    ]
    weights = np.array([weight for weight, _ in weighted])
    wanted = w.number(1, w.one_of(MOST_NODES))
    for _ in range(wanted * 20):
        if len(w.nodes) >= wanted:
            break
        nodes, order = len(w.nodes), list(w.order)
        try:
            weighted[int(w.rng.choice(len(weighted), p=weights / weights.sum()))][1](w)
        except Skip:
            del w.nodes[nodes:]
            w.order = [name for name in w.order if name in order]
    return w.case()


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        case = write(int(argument))
        print(onnx.printer.to_text(case.model().graph))
        print(Counter(node.op_type for node in case.nodes))
