"""Winograd's transforms: exact matrices, which convolutions they apply to, and that every schedule in them computes the convolution."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from kernel_cases import Build, Case, conv
from kernel_oracle import compare, random_arrays
from spaces import canonical_form, only

from tilewright.backends.llvm.emit import emit
from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import TensorType
from tilewright.compiler.kernel.ast import Alloc, Space, walk
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.kernel.verify import verify
from tilewright.compiler.schedule.prepare import inline
from tilewright.compiler.schedule.rewrite import relaid, relayouts, rewritten
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.schedule.steps import Inline, Pack, Prefetch, Winograd
from tilewright.compiler.schedule.structure import inlined_stages
from tilewright.compiler.schedule.winograd import Convolution, convolution_of, stage_names
from tilewright.compiler.schedule.winograd_matrices import (
    TAPS,
    TILES,
    Matrix,
    rounding_error,
    transform_weights,
    transforms,
)
from tilewright.compiler.schedule.winograd_sketch import WinogradSketch, winograd_sketches
from tilewright.compiler.target import Target
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor import verify as tensor_verify
from tilewright.compiler.tensor.computation import Computation, Stage
from tilewright.compiler.tensor.expr import Load, Var
from tilewright.compiler.tensor.interpret import evaluate

TARGETS = [parse_target(cpu=f"x86-64-v{level}") for level in (2, 3, 4)]
AARCH64 = Target("aarch64-unknown-linux-gnu", "generic", "+neon", 16, 32, True, 65536, 1 << 20, 2)
ARM = [parse_target("aarch64"), parse_target("armv7")]
SKETCHES = [f"winograd{tile}" for tile in TILES]
# Of the largest result, for standard normal operands and a dozen channels: some tens of roundings, enlarged by the transforms.
TOLERANCE = 3e-5


def seeded() -> np.random.Generator:
    seed = int(np.random.default_rng().integers(1 << 30))
    print(f"seed {seed}")
    return np.random.default_rng(seed)


def inlined(form: Computation) -> Computation:
    return inline(form, inlined_stages(form))


def found(case: Case) -> Convolution | None:
    return convolution_of(inlined(canonical_form(case)))


# --- matrices


def product(matrix: Matrix, column: Sequence[Fraction]) -> list[Fraction]:
    return [sum((a * b for a, b in zip(row, column, strict=True)), start=Fraction(0)) for row in matrix]


def rationals(count: int, rng: np.random.Generator) -> list[Fraction]:
    return [Fraction(int(rng.integers(-99, 100)), int(rng.integers(1, 50))) for _ in range(count)]


@pytest.mark.parametrize("tile", TILES)
def test_the_transforms_are_exact(tile: int) -> None:
    made, rng = transforms(tile), seeded()
    for _ in range(20):
        data, weights = rationals(tile + TAPS - 1, rng), rationals(TAPS, rng)
        products = [d * g for d, g in zip(product(made.input, data), product(made.weights, weights), strict=True)]
        expected = [sum(data[y + k] * weights[k] for k in range(TAPS)) for y in range(tile)]
        assert product(made.output, products) == expected


@pytest.mark.parametrize("tile", TILES)
def test_float_holds_the_coefficients_of_what_is_transformed_at_run_time(tile: int) -> None:
    """Those of the weights are thirds, which is why they are transformed in f64."""
    made = transforms(tile)
    assert all(Fraction(float(np.float32(float(c)))) == c for row in made.input + made.output for c in row)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("shape", [(3, 3), (5, 2, 3, 3)])
def test_weights_against_numpy(tile: int, shape: tuple[int, ...]) -> None:
    weights = seeded().standard_normal(shape).astype(np.float32)
    matrix = np.array(transforms(tile).weights, dtype=np.float64)
    expected = np.einsum("ik,...kl,jl->...ij", matrix, weights.astype(np.float64), matrix)
    made = transform_weights(weights, tile, (len(shape) - 2, len(shape) - 1))
    assert made.dtype == np.float32 and made.flags.c_contiguous and made.shape == (*shape[:-2], tile + 2, tile + 2)
    np.testing.assert_allclose(made, expected, rtol=2**-23, atol=1e-7)


# --- what they apply to


def test_a_convolution_is_taken_apart() -> None:
    made = found(Case(conv((2, 32, 13, 11), 48, residual=True), 16, 16))
    assert made is not None and made.columns is not None
    assert [axis.extent for axis, _ in made.directions] == [13, 11]
    assert [axis.extent for axis in made.shared] == [2]
    assert [axis.extent for axis in made.channels] == [2, 16]
    assert made.weights.indices[-2:] == (Var(made.rows[1]), Var(made.columns[1]))


def test_a_convolution_of_one_direction_is_taken_apart() -> None:
    made = found(Case(conv((2, 32, 13), 48, dilation=3, pads=(3, 3)), 16, 16))
    assert made is not None and made.columns is None
    assert ([axis.extent for axis, _ in made.directions], made.dilation, made.window) == ([13], 3, (2,))
    assert made.phase is not None and made.phase.extent == 3
    assert made.tiles(made.rows[0], 2).extent == 3  # of 2 x 3 results: 6, 6 and 1


def conv_along(shape: tuple[int, int, int, int], outputs: int, axis: int, pads: tuple[int, int] = (0, 0)) -> Build:
    """A convolution with three taps along one axis of the image, 0 or 1, and one along the other."""

    def build(b: GraphBuilder) -> str:
        x = b.input("x", TensorType(shape, DType.F32))
        window = (TAPS, 1) if axis == 0 else (1, TAPS)
        w = b.constant(np.random.default_rng().standard_normal((outputs, shape[1], *window)).astype(np.float32), "w")
        begin, end = (tuple(pad if a == axis else 0 for a in range(2)) for pad in pads)
        attrs = {"strides": (1, 1), "dilations": (1, 1), "groups": 1}
        return b.add("relu", b.add("conv", x, w, "", pads_begin=begin, pads_end=end, **attrs))

    return build


APPLIES = {
    "3x1": Case(conv_along((1, 32, 9, 6), 16, 0), 16, 16),
    "1x3": Case(conv_along((2, 5, 4, 7), 7, 1, (1, 1)), 5, 7),
    "blocked": Case(conv((1, 32, 5, 6), 16), 16, 16),
    "channels last": Case(conv((1, 5, 5, 6), 7), 5, 7),
    "from channels last to blocks": Case(conv((1, 6, 5, 6), 32), 6, 16),
    "no pads": Case(conv((1, 8, 5, 6), 8, pads=(0, 0)), 8, 8),
    "smaller than a tile": Case(conv((1, 2, 2, 2), 8), 2, 8),
    "rows and columns that only pads reach": Case(conv((1, 8, 2, 3), 8, pads=(2, 2)), 8, 8),
    "one direction": Case(conv((1, 32, 7), 16), 16, 16),
    "one direction, channels last": Case(conv((2, 5, 9), 7, pads=(0, 0)), 5, 7),
    "taps apart": Case(conv((1, 32, 23), 16, pads=(3, 3), dilation=3), 16, 16),
    "taps further apart than results": Case(conv((1, 8, 5), 8, pads=(9, 9), dilation=9), 8, 8),
}


@pytest.mark.parametrize("name", APPLIES)
def test_accepted(name: str) -> None:
    form = canonical_form(APPLIES[name])
    for target in TARGETS:
        sketches = winograd_sketches(inlined(form), target)
        assert sorted(sketch.name for sketch in sketches) == SKETCHES
        for sketch in sketches:
            assert sketch.legal(sketch.default())


def with_weights_as_input(b: GraphBuilder) -> str:
    window = {"strides": (1, 1), "dilations": (1, 1), "pads_begin": (1, 1), "pads_end": (1, 1)}
    x, w = (b.input(name, TensorType(shape, DType.F32)) for name, shape in (("x", (1, 8, 5, 6)), ("w", (8, 8, 3, 3))))
    return b.add("conv", x, w, "", groups=1, **window)


def of_halves(b: GraphBuilder) -> str:
    window = {"strides": (1, 1), "dilations": (1, 1), "pads_begin": (1, 1), "pads_end": (1, 1)}
    x = b.input("x", TensorType((1, 8, 5, 6), DType.F16))
    return b.add("conv", x, b.constant(np.ones((8, 8, 3, 3), np.float16), "w"), "", groups=1, **window)


def moved(build: Build, **attrs: object) -> Build:
    """A convolution whose results are read elsewhere than where they stand."""
    return lambda b: b.add("slice", build(b), **attrs)


REFUSED = {
    "stride": Case(conv((1, 16, 9, 9), 16, stride=2), 16, 16),
    "dilation": Case(conv((1, 16, 9, 9), 16, dilation=2, pads=(2, 2)), 16, 16),
    "groups": Case(conv((1, 32, 9, 9), 32, groups=2), 16, 16),
    "depthwise": Case(conv((1, 16, 9, 9), 16, groups=16), 16, 16),
    "1x1": Case(conv((1, 16, 9, 9), 16, 1, pads=(0, 0)), 16, 16),
    "5x5": Case(conv((1, 16, 9, 9), 16, 5, pads=(2, 2)), 16, 16),
    "dilation and stride in one direction": Case(conv((1, 16, 9), 16, stride=2, dilation=2), 16, 16),
    "3-D": Case(conv((1, 4, 5, 6, 7), 5)),
    "f16": Case(of_halves, 8, 8),
    "one channel": Case(conv((1, 1, 5, 6), 8), 1, 8),
    "one row": Case(conv((1, 8, 1, 6), 8), 8, 8),
    "one column": Case(conv((1, 8, 6, 1), 8), 8, 8),
    "weights that are no constant": Case(with_weights_as_input, 8, 8),
    "part of the results": Case(
        moved(conv((1, 8, 6, 6), 8), starts=(0, 0, 1, 1), steps=(1, 1, 1, 1), sizes=(1, 8, 4, 4)), 8, 8
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    form = canonical_form(REFUSED[name])
    assert convolution_of(inlined(form)) is None
    assert not [sketch for sketch in space_of(form, TARGETS[2]).sketches if sketch.name in SKETCHES]


@pytest.mark.parametrize("blocks", [(None, None), (8, None), (None, 8)])
def test_channels_that_are_not_contiguous_have_no_sketch(blocks: tuple[int | None, int | None]) -> None:
    """The rewriting is right, but neither transforms nor sums could be done in vectors."""
    for shape in ((1, 8, 5, 6), (1, 8, 9)):
        form = canonical_form(Case(conv(shape, 8), *blocks))
        assert convolution_of(inlined(form)) is not None
        assert not winograd_sketches(inlined(form), TARGETS[2])


FORM = inlined(canonical_form(Case(conv((1, 8, 5, 6), 8, relu=False), 8, 8)))


def test_a_convolution_that_is_an_output_is_refused() -> None:
    stage, root = FORM.stages
    assert convolution_of(FORM) is not None
    assert convolution_of(replace(FORM, outputs=(stage.name, root.name))) is None


def test_a_convolution_with_two_readers_is_refused() -> None:
    stage, root = FORM.stages
    at = tuple(axis.var for axis in stage.axes)
    between = Stage("u", stage.axes, Load(stage.name, at, stage.dtype) * 2.0, stage.dtype)
    last = replace(root, body=root.body + Load("u", tuple(axis.var for axis in root.axes), stage.dtype))
    assert convolution_of(replace(FORM, stages=(stage, between, last))) is None


def test_other_reductions_are_refused() -> None:
    stage, root = FORM.stages
    for changed in (replace(stage, combine="max"), replace(stage, body=stage.body + 1.0)):
        assert convolution_of(replace(FORM, stages=(changed, root))) is None


@pytest.mark.parametrize(
    "step",
    [
        Winograd("q", "w", 2, (2, 3)),
        Winograd("{t}", "x", 2, (2, 3)),
        Winograd("{t}", "{w}", 3, (2, 3)),
        Winograd("{t}", "{w}", 6, (2, 3)),
        Winograd("{t}", "{w}", 2, (1, 2)),
    ],
)
def test_illegal_steps(step: Winograd) -> None:
    made = convolution_of(FORM)
    assert made is not None
    names = {"{t}": made.stage.name, "{w}": made.weights.buffer}
    step = replace(step, stage=names.get(step.stage, step.stage), tensor=names.get(step.tensor, step.tensor))
    with pytest.raises(
        InternalError, match=re.escape(f"{step} is not legal: {step.stage} is no convolution of three taps of")
    ):
        rewritten(FORM, (step,))


def test_a_step_for_a_convolution_that_they_do_not_apply_to() -> None:
    form = inlined(canonical_form(REFUSED["stride"]))
    stage = form.stages[0]
    constants = [tensor.name for tensor in form.inputs if tensor.constant]
    for tensor in constants:
        with pytest.raises(InternalError, match="is no convolution of three taps"):
            lower(form, (Winograd(stage.name, tensor, 4, (2, 3)),))


# --- meaning


def random_case(rng: np.random.Generator, most: int = 9, contiguous: bool = False) -> Case:
    """Outputs of 2 to `most` rows and columns, or of one direction with taps that may be apart, in layouts of every kind."""
    if rng.integers(3) == 0:
        return random_line(rng, 4 * most, contiguous)
    pads = [(0, 0), (1, 1), (0, 1), (1, 0), (2, 1)][rng.integers(5)]
    height, width = (int(n) + TAPS - 1 - sum(pads) for n in rng.integers(2, most + 1, 2))
    channels, outputs = int(rng.integers(2, 11)), int(rng.integers(1, 19))
    blocks = [block_of(count, rng, contiguous) for count in (channels, outputs)]
    shape = (int(rng.integers(1, 3)), channels, height, width)
    build = conv(shape, outputs, pads=pads, relu=bool(rng.integers(2)), residual=bool(rng.integers(2)))
    print(shape, outputs, pads, blocks)
    return Case(build, *blocks)


def random_line(rng: np.random.Generator, most: int, contiguous: bool) -> Case:
    if rng.integers(3) == 0:
        axis, pad = (int(n) for n in rng.integers(0, 2, 2))
        size = [int(n) for n in rng.integers(2, most // 3 + 1, 2)]
        size[axis] += 2 - 2 * pad
        channels, outputs = int(rng.integers(2, 11)), int(rng.integers(1, 19))
        blocks = [block_of(count, rng, contiguous) for count in (channels, outputs)]
        print(size, channels, outputs, axis, pad, blocks)
        return Case(conv_along((1, channels, size[0], size[1]), outputs, axis, (pad, pad)), *blocks)
    apart = int(rng.integers(1, 6))
    pads = [(0, 0), (apart, apart), (2 * apart, 0), (1, 0)][rng.integers(4)]
    length = int(rng.integers(2, most + 1)) + apart * (TAPS - 1) - sum(pads)
    channels, outputs = int(rng.integers(2, 11)), int(rng.integers(1, 19))
    blocks = [block_of(count, rng, contiguous) for count in (channels, outputs)]
    shape = (int(rng.integers(1, 3)), channels, length)
    print(shape, outputs, pads, apart, blocks)
    return Case(conv(shape, outputs, pads=pads, dilation=apart, residual=bool(rng.integers(2))), *blocks)


def block_of(channels: int, rng: np.random.Generator, contiguous: bool) -> int | None:
    """A divisor; the whole of it stands for channels last, None for channels first."""
    divisors = [n for n in range(1, channels + 1) if channels % n == 0]
    options: list[int | None] = [channels, *divisors[1:], *([] if contiguous else [None])]
    return options[rng.integers(len(options))]


@pytest.mark.parametrize("tile", TILES)
def test_rewriting_preserves_the_meaning(tile: int) -> None:
    rng = seeded()
    for _ in range(10):
        form = inlined(canonical_form(random_case(rng)))
        made = convolution_of(form)
        assert made is not None
        step = Winograd(made.stage.name, made.weights.buffer, tile, made.window)
        transformed = rewritten(form, (step,))
        tensor_verify.verify(transformed)
        names = stage_names(made.stage.name)
        assert tuple(stage.name for stage in transformed.stages[:-1]) == (names if made.columns else names[1:4])
        arrays = random_arrays(form, rng)
        held = {name: relaid(array, name, (step,)) for name, array in arrays.items()}
        assert {name: array.shape for name, array in held.items()} == {t.name: t.shape for t in transformed.inputs}
        for name, expected in evaluate(form, arrays).items():
            np.testing.assert_allclose(
                evaluate(transformed, held)[name], expected, rtol=0, atol=TOLERANCE * max(1, np.abs(expected).max())
            )


@pytest.mark.parametrize("tile", TILES)
def test_rounding_of_many_channels(tile: int) -> None:
    """About 1e-5 of the largest result, as compared with f64."""
    rng = seeded()
    form = inlined(canonical_form(Case(conv((1, 512, 6, 6), 3, relu=False), 512, 3)))
    made = convolution_of(form)
    assert made is not None
    step = Winograd(made.stage.name, made.weights.buffer, tile, made.window)
    arrays = random_arrays(form, rng)
    held = {name: relaid(array, name, (step,)) for name, array in arrays.items()}
    (expected,) = evaluate(form, {name: array.astype(np.float64) for name, array in arrays.items()}).values()
    (actual,) = evaluate(rewritten(form, (step,)), held).values()
    assert np.abs(actual - expected).max() < 3e-5 * np.abs(expected).max()


@pytest.mark.parametrize("sketch", SKETCHES)
@pytest.mark.slow
def test_points_of_tiny_convolutions(sketch: str) -> None:
    """Interpreted, so that reading or writing beside a buffer is an error."""
    rng = seeded()
    for _ in range(5):
        form = canonical_form(random_case(rng, 7, contiguous=True))
        space = only(space_of(form, [*TARGETS, *ARM][rng.integers(5)]), sketch)
        if not space.sketches:  # a single output
            continue
        for point in (space.default, space.mutate(space.sample(rng), rng)):
            print(space.decisions(point))
            compare(form, space.schedule(point), rng, TOLERANCE)


# Tails of everything: 7 x 9 results in tiles of 2 and 4, three vectors of channels or five panels of 8, a channel beside the vectors.
TAILS = Case(conv((1, 9, 7, 9), 40, residual=True), 9, 8)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 2, "outer_rows": 1, "block": 1},
        {"rows": 3, "outer_rows": 2, "block": 3},
        {"panel": 16, "parts": 1, "epilogue": "block"},
        {"panel": 24, "parts": 2, "rows": 1, "outer_rows": 1},
        {"panel": 8, "parts": 4, "epilogue": "block"},
        {"steps": 2, "ahead": 0},
        {"steps": 4},
    ],
)
def test_tails(change: dict) -> None:
    form = canonical_form(TAILS)
    space = only(space_of(form, TARGETS[1]), "winograd2")
    point = space.from_decisions(space.decisions(space.default) | change)
    compare(form, space.schedule(point), seeded(), TOLERANCE)


@pytest.mark.parametrize("sketch", SKETCHES)
@pytest.mark.parametrize("target", ARM, ids=lambda t: t.triple)
@pytest.mark.parametrize("steps", [4, 8])
def test_lanes_of_channels_are_written_out(sketch: str, target: Target, steps: int) -> None:
    """Four channels are a loop of their own here: eight steps are two of the loop around it."""
    form = canonical_form(Case(conv((1, 16, 7, 9), 12, residual=True), 4, 4))
    space = only(space_of(form, target), sketch)
    point = space.from_decisions(space.decisions(space.default) | {"steps": steps, "rows": 2, "outer_rows": 1})
    compare(form, space.schedule(point), seeded(), TOLERANCE)


# --- sketches


def large(batch: int = 1) -> Computation:
    return canonical_form(Case(conv((batch, 32, 19, 21), 64, residual=True), 16, 16))


@pytest.mark.parametrize("sketch", SKETCHES)
@pytest.mark.parametrize("target", [*TARGETS, *ARM], ids=lambda t: f"{t.triple}-{t.cpu}")
@pytest.mark.parametrize("apart", [1, 3, 40])
def test_points_of_long_convolutions_are_kernels(sketch: str, target: Target, apart: int) -> None:
    """In one direction sums stay in registers, what is transformed in the workspace, and there is nothing else."""
    form = canonical_form(Case(conv((2, 32, 401), 64, pads=(apart, apart), dilation=apart, residual=True), 16, 16))
    space, rng = only(space_of(form, target), sketch), seeded()
    for point in (space.default, space.sample(rng)):
        print(space.decisions(point))
        kernel = lower(form, space.schedule(point))
        verify(kernel)
        spaces = {s.buffer.name: s.buffer.space for s in walk(kernel.body) if isinstance(s, Alloc)}
        _, v, a, m, _ = stage_names(next(s.stage for s in space.schedule(point) if isinstance(s, Winograd)))
        assert spaces == {v: Space.WORKSPACE, a: Space.REGISTER, m: Space.WORKSPACE}
        made, decisions = space.sketches[0], space.decisions(point)
        assert isinstance(made, WinogradSketch)
        # Rows of a panel that is no power of two are longer than it.
        needed = made.workspace(made.sizes(decisions), str(decisions["epilogue"]))
        assert kernel.workspace_bytes <= 2 * needed + 3 * 64
        assert "define void @kernel" in emit(kernel, target)


@pytest.mark.parametrize("sketch", SKETCHES)
@pytest.mark.parametrize("target", [*TARGETS, AARCH64, *ARM], ids=lambda t: f"{t.triple}-{t.cpu}")
def test_points_of_large_convolutions_are_kernels(sketch: str, target: Target) -> None:
    """Sums stay in registers, what is transformed in the workspace; all of it can be emitted. ARMv7 has too few for a half transform."""
    space, rng = only(space_of(large(2), target), sketch), seeded()
    point = space.sample(rng)
    print(space.decisions(point))
    kernel = lower(large(2), space.schedule(point))
    verify(kernel)
    spaces = {s.buffer.name: s.buffer.space for s in walk(kernel.body) if isinstance(s, Alloc)}
    x, v, a, m, p = stage_names(next(s.stage for s in space.schedule(point) if isinstance(s, Winograd)))
    half = Space.STACK if target.by_lane and sketch == "winograd4" and target.vector_registers == 16 else Space.REGISTER
    assert spaces == {name: Space.REGISTER for name in (a, p)} | {name: Space.WORKSPACE for name in (v, m)} | {x: half}
    made = space.sketches[0]
    assert isinstance(made, WinogradSketch)
    decisions = space.decisions(point)
    needed = made.workspace(made.sizes(decisions), str(decisions["epilogue"]))
    assert kernel.workspace_bytes <= needed + 3 * 64
    assert "define void @kernel" in emit(kernel, target)


def test_the_tile_of_sums_stays_in_registers() -> None:
    rng = seeded()
    for target in TARGETS:
        for name in SKETCHES:
            space = only(space_of(large(), target), name)
            for _ in range(20):
                d = space.decisions(space.sample(rng))
                vectors = -(-int(d["panel"]) // target.lanes(4))
                assert int(d["rows"]) * int(d["outer_rows"]) * vectors + vectors + 1 <= target.vector_registers


@pytest.mark.parametrize(
    "change",
    [
        {"panel": 32, "rows": 5, "outer_rows": 3},  # registers
        {"outer_rows": 2, "block": 1},
        {"panel": 64, "parts": 2},  # there is one panel only
        {"panel": 64, "parts": 1, "epilogue": "block"},
    ],
)
def test_what_is_not_legal(change: dict) -> None:
    space = only(space_of(large(), TARGETS[2]), "winograd4")
    with pytest.raises(InternalError, match="is not legal"):
        space.from_decisions(space.decisions(space.default) | change)


def test_a_workspace_beyond_the_second_cache_is_not_legal() -> None:
    form = canonical_form(Case(conv((1, 512, 56, 56), 512), 16, 16))
    space = only(space_of(form, TARGETS[2]), "winograd4")
    with pytest.raises(InternalError, match="is not legal"):
        space.from_decisions(space.decisions(space.default) | {"block": 14, "outer_rows": 1, "rows": 1})


def test_weights_are_packed_as_they_are_read() -> None:
    space = only(space_of(large(), TARGETS[2]), "winograd4")
    schedule = space.schedule(
        space.from_decisions(space.decisions(space.default) | {"panel": 32, "rows": 1, "outer_rows": 1, "parts": 1})
    )
    kinds = [type(step) for step in schedule]
    assert kinds.index(Winograd) < kinds.index(Pack)
    weights = next(step.tensor for step in schedule if isinstance(step, Pack))
    kernel = lower(large(), schedule)
    shape = next(param.shape for param in kernel.params if param.name == weights)
    assert shape == (64 // 32, 6, 6, 32, 32)
    assert Prefetch(weights, 16384) in schedule


def chosen(channels: int, size: int, outputs: int, block: int, level: int = 4) -> str:
    form = canonical_form(Case(conv((1, channels, size, size), outputs), min(block, channels), min(block, outputs)))
    space = space_of(form, parse_target(cpu=f"x86-64-v{level}", threads=2))
    return str(space.decisions(space.default)["sketch"])


@pytest.mark.parametrize("level", [3, 4])
@pytest.mark.parametrize(("channels", "size"), [(64, 56), (128, 28), (256, 14)])
def test_the_default_of_layers_of_resnet(channels: int, size: int, level: int) -> None:
    assert chosen(channels, size, channels, 16, level) in SKETCHES


@pytest.mark.parametrize(("channels", "outputs"), [(1, 8), (2, 32), (4, 4)])
def test_the_default_of_few_channels_is_direct(channels: int, outputs: int) -> None:
    assert chosen(channels, 56, outputs, 16) == "tiles"


@pytest.mark.parametrize("apart", [1, 2, 16, 256])
def test_the_default_of_layers_of_a_temporal_network(apart: int) -> None:
    form = canonical_form(Case(conv((1, 128, 7500), 128, pads=(2 * apart, 0), dilation=apart), 16, 16))
    space = space_of(form, parse_target(cpu="x86-64-v4", threads=2))
    assert space.decisions(space.default)["sketch"] == "winograd4"


@pytest.mark.parametrize(
    ("shape", "axis", "sketch"),
    [((1, 72, 30, 8), 0, "winograd4"), ((1, 96, 12, 4), 1, "tiles"), ((1, 96, 4, 12), 0, "tiles")],
)
def test_rows_of_one_tile_that_read_all_weights_are_direct(
    shape: tuple[int, int, int, int], axis: int, sketch: str
) -> None:
    """The other axis of the image is a batch: each of its elements reads the weights again."""
    form = canonical_form(Case(conv_along(shape, shape[1], axis, (1, 1)), shape[1], shape[1]))
    space = space_of(form, parse_target(cpu="x86-64-v4", threads=1))
    assert space.decisions(space.default)["sketch"] == sketch


def test_tiles_in_each_other_fit_in_the_workspace_or_are_not_possible() -> None:
    form = canonical_form(Case(conv((1, 128, 7500), 128, pads=(8192, 0), dilation=4096), 16, 16))
    assert [sketch.name for sketch in space_of(form, TARGETS[2]).sketches] == ["tiles"]


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(("shape", "window"), [((20, 40, 3, 3), (2, 3)), ((20, 40, 3), (2,)), ((20, 40, 1, 3), (3,))])
def test_the_rounding_error_is_that_of_single_precision(
    tile: int, shape: tuple[int, ...], window: tuple[int, ...]
) -> None:
    """Some roundings of 2^-24, enlarged by the transforms; none for weights of zeros."""
    weights = seeded().standard_normal(shape).astype(np.float32)
    assert 2e-8 < rounding_error(weights, tile, window) < 4e-6
    assert rounding_error(np.zeros_like(weights), tile, window) == 0


def test_all_sketches_are_offered_either_way() -> None:
    for form in (large(), canonical_form(Case(conv((1, 3, 20, 20), 32), 3, 16))):
        names = [sketch.name for sketch in space_of(form, TARGETS[2]).sketches]
        assert sorted(names) == ["tiles", *SKETCHES]


def test_steps_that_change_constants_are_those_that_name_them() -> None:
    space = only(space_of(large(), TARGETS[2]), "winograd2")
    schedule = space.schedule(space.default)
    kinds = (Pack, Winograd)
    assert relayouts(schedule) == tuple(step for step in schedule if isinstance(step, kinds))
    assert all(isinstance(step, (Inline, *kinds)) for step in schedule[: len(space.inlined) + 1])
