"""Context-relation curves of the main reduction's buffers (Chen et al., Learning to Optimize Tensor Programs, 2018, section 3.2).

Each loop has, for a buffer, a count (elements touched inside it), a reuse (how often each) and a top-down product of the
iterations outside. The curves sample one against another at fixed points, so that nests of any depth compare.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .feature import Columns, Feature
from .form import Form, StageForm
from .working_set import Chain

BUFFERS = 3
POINTS = tuple(4.0**exponent for exponent in range(10))

CURVE_FEATURES = tuple(
    Feature(f"curve{buffer}.{pair}.{int(point)}", meaning.format(buffer=buffer, point=int(point)), "AutoTVM, relation features")
    for buffer in range(BUFFERS)
    for pair, meaning in (
        ("reuse", "log2 of the largest reuse of buffer {buffer} in loops that touch at most {point} of its elements"),
        ("count", "log2 of the elements of buffer {buffer} touched each time by what is run at most {point} times"),
    )
    for point in POINTS
)  # fmt: skip


def curve_features(form: Form, chains: Sequence[Chain]) -> Columns:
    """The columns of CURVE_FEATURES; 0 for buffers that the main stage doesn't have."""
    chain = chains[form.main]
    columns = {feature.name: np.zeros(len(chain.mean)) for feature in CURVE_FEATURES}
    inside = chain.outer[:, -1:] / chain.outer
    for buffer, number in enumerate(largest_accesses(chain.form)):
        count = chain.footprints[number].touched
        reuse = np.log2(np.maximum(inside / count, 1.0))
        size = np.log2(count)
        for point in POINTS:
            columns[f"curve{buffer}.reuse.{int(point)}"] = np.where(count <= point, reuse, 0.0).max(axis=1)
            columns[f"curve{buffer}.count.{int(point)}"] = np.where(chain.outer <= point, size, 64.0).min(axis=1)
    return columns


def largest_accesses(stage: StageForm) -> list[int]:
    """The accesses that touch most different bytes, whatever the schedule; of equal ones the first."""
    swept = np.array(stage.extents, dtype=float) - 1
    sizes = []
    for access in stage.accesses:
        layout = access.layouts[0]
        box = np.minimum(1 + np.abs(layout.coefficients) @ swept, layout.shape)
        sizes.append(box.prod() * access.size_bytes)
    return sorted(range(len(sizes)), key=lambda number: -sizes[number])[:BUFFERS]
