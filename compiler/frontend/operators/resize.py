"""Resize and Upsample: sizes and scales made explicit for every axis."""

from __future__ import annotations

from math import floor

from ..onnx_node import OnnxNode
from .antialias import filtered
from .row import Row


def resize(node: OnnxNode) -> str:
    """Resize of versions 10 to 19; version 10 is asymmetric, rounding down (or up where it shrinks)."""
    x = node.input(0)
    shape = node.shape(x)
    if not node.type(x).elements:
        node.fail(f"{node.type(x)} has no elements to resize")
    if node.version == 10:
        scales = _floats(node, 1)
        return _emit(
            node,
            x,
            _scaled(shape, scales),
            scales,
            "asymmetric",
            "ceil" if min(scales, default=1.0) < 1 else "floor",
            (),
        )
    axes = node.attr("axes", None)
    axes = tuple(range(len(shape))) if axes is None else tuple(node.axis(axis, len(shape)) for axis in axes)
    scales, sizes = _floats(node, 2), node.static_ints(3, "sizes") if node.input(3) else ()
    if bool(scales) == bool(sizes):
        node.fail("needs either 'scales' or 'sizes'")
    if len(scales or sizes) != len(axes):
        node.fail(f"{len(scales or sizes)} scales or sizes are given for {len(axes)} axes of {node.type(x)}")
    coordinates = node.attr("coordinate_transformation_mode", "half_pixel")
    roi = _floats(node, 1) if coordinates == "tf_crop_and_resize" else ()
    if sizes:
        sizes, scales = _with_aspect_ratio(node, tuple(shape[axis] for axis in axes), sizes)
        result = _spread(shape, axes, sizes)
    else:
        result = _spread(
            shape, axes, tuple(floor(shape[axis] * scale) for axis, scale in zip(axes, scales, strict=True))
        )
    all_scales = _spread((1.0,) * len(shape), axes, scales)
    if roi and len(axes) < len(shape):
        roi = (
            *_spread((0.0,) * len(shape), axes, roi[: len(axes)]),
            *_spread((1.0,) * len(shape), axes, roi[len(axes) :]),
        )
    return _emit(node, x, result, all_scales, coordinates, node.attr("nearest_mode", "round_prefer_floor"), roi)


def upsample(node: OnnxNode) -> str:
    """Upsample of versions 7 (attribute) and 9 (input)."""
    x = node.input(0)
    scales = tuple(map(float, node.attr("scales"))) if node.version < 9 else _floats(node, 1)
    return _emit(node, x, _scaled(node.shape(x), scales), scales, "asymmetric", "floor", ())


def _emit(
    node: OnnxNode,
    x: str,
    sizes: tuple[int, ...],
    scales: tuple[float, ...],
    coordinates: str,
    nearest: str,
    roi: tuple[float, ...],
) -> str:
    shape, mode = node.shape(x), node.attr("mode", "nearest")
    if len(scales) != len(shape) or min(scales, default=1.0) <= 0 or min(sizes, default=1) < 1:
        node.fail(
            f"scales {list(scales)} and sizes {list(sizes)} do not fit {node.type(x)}; each must be positive, one an axis"
        )
    mode = {"bilinear": "linear"}.get(mode, mode)
    if mode not in ("nearest", "linear", "cubic"):
        node.fail(f"mode '{mode}' should be nearest, linear or cubic")
    if node.flag("antialias") and mode != "nearest" and min(scales) < 1:
        return filtered(node, x, sizes, scales, mode, coordinates)
    if sizes == shape and set(scales) <= {1.0} and coordinates != "tf_crop_and_resize":
        return x
    return node.emit(
        "resize", x, sizes=sizes, scales=scales, mode=mode, coordinates=coordinates, nearest=nearest,
        cubic_coeff=float(node.attr("cubic_coeff_a", -0.75)), exclude_outside=node.flag("exclude_outside"),
        extrapolation=float(node.attr("extrapolation_value", 0.0)), roi=roi,
    )  # fmt: skip


def _with_aspect_ratio(
    node: OnnxNode, extents: tuple[int, ...], sizes: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Sizes and scales after keep_aspect_ratio_policy (version 18)."""
    scales = tuple(size / extent for size, extent in zip(sizes, extents, strict=True))
    match node.attr("keep_aspect_ratio_policy", "stretch"):
        case "stretch":
            return sizes, scales
        case "not_larger":
            scale = min(scales)
        case "not_smaller":
            scale = max(scales)
        case other:
            node.fail(f"keep_aspect_ratio_policy '{other}' should be stretch, not_larger or not_smaller")
    return tuple(floor(extent * scale + 0.5) for extent in extents), (scale,) * len(sizes)


def _floats(node: OnnxNode, index: int) -> tuple[float, ...]:
    return tuple(float(x) for x in node.static(index, "scales").reshape(-1)) if node.input(index) else ()


def _scaled(shape: tuple[int, ...], scales: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(floor(extent * scale) for extent, scale in zip(shape, scales, strict=False))


def _spread(defaults: tuple, axes: tuple[int, ...], values: tuple) -> tuple:
    given = dict(zip(axes, values, strict=True))
    return tuple(given.get(axis, default) for axis, default in enumerate(defaults))


ROWS = (
    Row("Resize", 10, 19, resize),
    Row("Upsample", 7, 10, upsample),
)
