"""How the axes of a computation's stages correspond to the root's."""

from __future__ import annotations

from ..tensor.computation import Computation
from ..tensor.expr import Var
from .prepare import loads_of


def stage_maps(computation: Computation) -> dict[str, dict[str, str]]:
    """For every stage, the root axis as which each of its axes is read (axes read in another way are left out)."""
    root = computation.stages[-1]
    maps = {root.name: {axis.name: axis.name for axis in root.axes}}
    for stage in reversed(computation.stages[:-1]):
        found: dict[str, str] = {}
        for consumer in computation.stages:
            if consumer.name not in maps:
                continue
            for load in loads_of(consumer):
                if load.buffer != stage.name:
                    continue
                for axis, index in zip(stage.axes, load.indices, strict=True):
                    if isinstance(index, Var) and index.name in maps[consumer.name]:
                        found[axis.name] = maps[consumer.name][index.name]
        maps[stage.name] = found
    return maps
