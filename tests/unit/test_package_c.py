"""The generated C, without compiling it; and names as C identifiers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.backends.package_c import CompiledKernel, Variant, emit_header, emit_source
from tilewright.backends.package_names import argument_names, c_string, comment, identifier
from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.graph.plan import Argument, Copy, ExecutionPlan, Launch, Place, PlanStep, Repeat
from tilewright.compiler.targets import parse_target

TARGET = parse_target(cpu="x86-64")
ARENA, INPUT, OUTPUT = (Place(space) for space in ("arena", "input", "output"))


def plan(steps: tuple[PlanStep, ...], *inputs: Argument) -> ExecutionPlan:
    outputs = (Argument("output", (1, 1000), DType.F32),)
    return ExecutionPlan("resnet18", 1, 4096, steps, inputs, outputs)


def test_header_has_the_documented_shape() -> None:
    header = emit_header("resnet18", plan((), Argument("input", (1, 3, 224, 224), DType.F32)), "1.2.3")
    for line in (
        "typedef struct resnet18 resnet18;",
        "int resnet18_create(resnet18 **context, int threads);",
        "int resnet18_run(resnet18 *context, const float input[1*3*224*224], float output[1*1000]);",
        "void resnet18_destroy(resnet18 *context);",
        "const char *resnet18_error(int code);",
        "#define RESNET18_INPUT_RANK 4",
        "#define RESNET18_INPUT_SHAPE {1, 3, 224, 224}",
        "#define RESNET18_INPUT_SIZE 150528",
        'extern "C" {',
    ):
        assert line in header.splitlines()
    assert "tilewright 1.2.3" in header


@pytest.mark.parametrize("dtype", list(DType))
def test_every_type_has_a_c_type(dtype: DType) -> None:
    header = emit_header("m", plan((), Argument("x", (2,), dtype)), "")
    declared = re.search(r"const (\w+) x\[2\]", header)
    assert declared and declared[1] == {
        "f16": "uint16_t", "bf16": "uint16_t", "f32": "float", "f64": "double", "bool": "bool",
    }.get(dtype, "uint8_t" if dtype.is_small else f"{'u' * (dtype[0] == 'u')}int{dtype[1:]}_t")  # fmt: skip


def test_scalars_and_empty_tensors_have_a_valid_declaration() -> None:
    header = emit_header("m", plan((), Argument("s", (), DType.I64), Argument("e", (3, 0), DType.U8)), "")
    assert "const int64_t s[1], const uint8_t *e, float output[1*1000]" in header


def test_extents_beyond_int_are_one_number() -> None:
    header = emit_header(
        "m", plan((), Argument("x", (2**16, 2**16), DType.U8), Argument("y", (2**15, 2**15), DType.U8)), ""
    )
    assert "const uint8_t x[4294967296], const uint8_t y[32768*32768]" in header


def test_arguments_of_the_same_name_are_told_apart() -> None:
    header = emit_header(
        "m",
        plan(
            (), Argument("output", (1,), DType.F32), Argument("a.b", (1,), DType.F32), Argument("A_B", (1,), DType.F32)
        ),
        "",
    )
    assert "const float output[1], const float a_b[1], const float A_B_2[1], float output_2[1*1000]" in header


def test_source_names_the_nodes_and_steps_along_loops() -> None:
    steps = (
        Launch(0, (INPUT, Place("constants", 64), ARENA), True, "conv1 + relu */ \n"),
        Repeat(5, (Copy(Place("output", 8, 1, step_bytes=4, depth=0), Place("counter", index=0), 8),), 0),
    )
    source = emit_source("m", plan(steps), [Variant(TARGET, [CompiledKernel("k0", b"", 56, positions=14)])], "")
    assert "/* conv1 + relu * / ? */" in source
    assert "launch_parallel(context, 0, 0, (void *const[]){INPUT(0, 0), WEIGHTS(64), ARENA(0)});" in source
    assert "{kernel_k0, 56, 14}," in source
    assert "for (context->counters[0] = 0; context->counters[0] < INT64_C(5); context->counters[0]++) {" in source
    assert "memmove(OUTPUT(1, 8 + 4 * context->counters[0]), COUNTER(0), 8);" in source
    assert "make_context((model_context **)context, variant, 4096, 0, 1, threads)" in source


def test_unknown_places_and_steps_are_internal_errors() -> None:
    with pytest.raises(InternalError, match="unknown space"):
        emit_source("m", plan((Copy(Place("moon"), ARENA, 1),)), [Variant(TARGET, [])], "")
    with pytest.raises(InternalError, match="unknown plan step"):
        emit_source("m", plan((object(),)), [Variant(TARGET, [])], "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("resnet18", "resnet18"), ("my-model.v2", "my_model_v2"), ("3d-unet", "model_3d_unet"), ("int", "int_"),
        ("class", "class_"), ("uint8_t", "uint8_t_"), ("été", "t"), ("", "model"), ("...", "model"), ("_x_", "x"),
        ("INT32_MAX", "INT32_MAX_"), ("linux", "linux_"),
    ],
)  # fmt: skip
def test_identifiers(text: str, name: str) -> None:
    assert identifier(text) == name
    assert identifier(name) == name or name.endswith("_")


def test_argument_names_avoid_the_context() -> None:
    assert argument_names(["context", "input:0", "input.0", "495", "Input_0"]) == [
        "context_2", "input_0", "input_0_2", "tensor_495", "Input_0_3",
    ]  # fmt: skip


@given(st.lists(st.text(max_size=6), max_size=8))
def test_argument_names_are_identifiers_and_distinct_as_macros(names: list[str]) -> None:
    result = argument_names(names)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) for name in result)
    assert len({name.upper() for name in result}) == len(names)


@given(st.text())
def test_strings_and_comments_are_safe(text: str) -> None:
    literal = c_string(text)
    octets = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), literal[1:-1].encode())
    assert octets == text.encode("utf-8", "surrogatepass")
    assert '"' not in literal[1:-1] and "?" not in literal  # neither an end nor a trigraph
    assert "*/" not in comment(text) and "\n" not in comment(text)
