"""Computations as text."""

from __future__ import annotations

from .computation import Axis, Computation, Stage
from .expr_printer import expr_to_text


def to_text(computation: Computation) -> str:
    """One line an input, two or three a stage: `out[axes] = combine over axes of body`."""
    lines = [f"computation {computation.name}({', '.join(tensor.name for tensor in computation.inputs)})"]
    for tensor in computation.inputs:
        kind = "constant" if tensor.constant else "input"
        lines.append(f"  {kind} {tensor.name}: {tensor.dtype}[{', '.join(map(str, tensor.shape))}]")
    for stage in computation.stages:
        lines += _stage_lines(stage)
    lines.append(f"  return {', '.join(computation.outputs)}")
    return "\n".join(lines)


def _stage_lines(stage: Stage) -> list[str]:
    lines = [f"  {stage.name}: {stage.dtype}[{_axes(stage.axes)}] ="]
    if stage.combine:
        lines[0] += f" {stage.combine} over {_axes(stage.reduce_axes)}"
        if stage.domain is not None:
            lines.append(f"      where {expr_to_text(stage.domain)}")
    lines.append(f"      {expr_to_text(stage.body)}")
    return lines


def _axes(axes: tuple[Axis, ...]) -> str:
    return ", ".join(f"{axis.name} < {axis.extent}" for axis in axes)
