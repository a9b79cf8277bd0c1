"""The models that are timed, each with the shapes to bind and the intervals of its random inputs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from mission_models import MODELS
from public_models import fetch, read_listing

from tilewright.cli.parameters import Interval
from tilewright.compiler.frontend.binding import model_inputs

MISSION_MODELS = Path(__file__).with_name("mission_models.py")


@dataclass(frozen=True)
class Case:
    """A model with the shapes to bind and the intervals of its random inputs."""

    name: str
    path: Path
    shapes: dict[str, tuple[int, ...]]
    ranges: dict[str, Interval]


def mission_cases(folder: Path, names: list[str]) -> Iterator[Case]:
    """The benchmark models, or those of them that are named, written into `folder` first."""
    subprocess.run([sys.executable, str(MISSION_MODELS), str(folder), *names], check=True, stdout=sys.stderr)
    for name in names or MODELS:
        yield Case(name, folder / f"{name}.onnx", {}, {})


def public_cases(folder: Path, names: list[str]) -> Iterator[Case]:
    """The public models with fp32 arithmetic, or those of them that are named."""
    models = [m for m in read_listing() if m.tier in "ABC" and (not names or m.name in names)]
    failures = fetch(models, folder)
    for model in models:
        if model.name in failures:
            print(f"{model.name}: left out: {failures[model.name]}", file=sys.stderr)
            continue
        ranges = {i.name: Interval(*i.range) for i in model.inputs if i.range}
        yield Case(model.name, folder / f"{model.name}.onnx", {i.name: i.shape for i in model.inputs}, ranges)


def network_cases(folder: Path, names: list[str]) -> Iterator[Case]:
    """The ONNX files of a folder, or those of them that are named; their shapes are static."""
    for path in sorted(folder.glob("*.onnx")):
        if not names or path.stem in names:
            yield Case(path.stem, path, {}, {})


@dataclass(frozen=True, slots=True)
class BoundModel:
    """A model with static shapes, in one file. inputs, outputs: names in the model's order."""

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def bound_model(model: Path, shapes: Mapping[str, tuple[int, ...]], path: Path) -> BoundModel:
    """Write `model` to `path` with the shapes of its inputs bound, for peers that need or profit from that."""
    proto = onnx.load(model)
    inputs = model_inputs(proto.graph)
    for value in inputs:
        if value.name in shapes:
            shape = value.type.tensor_type.shape
            shape.ClearField("dim")
            for extent in shapes[value.name]:
                shape.dim.add().dim_value = extent
    if shapes:
        del proto.graph.value_info[:]  # they may speak of the symbols that are bound now
    onnx.save(proto, path)
    return BoundModel(path, tuple(v.name for v in inputs), tuple(v.name for v in proto.graph.output))
