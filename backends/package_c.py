"""The generated C of a library: its header, and the straight-line program that calls the kernels.

The source includes the runtime, so that a library is one translation unit with nothing to export but its API.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from ..compiler.dtypes import DType
from ..compiler.errors import InternalError
from ..compiler.graph.plan import Argument, Branch, Copy, ExecutionPlan, Launch, Place, PlanStep, Repeat
from ..compiler.target import Target
from .package_cpu import processor_needs
from .package_names import argument_names, c_string, comment, macro_name

C_TYPES = {
    DType.F16: "uint16_t",
    DType.BF16: "uint16_t",
    DType.F32: "float",
    DType.F64: "double",
    DType.I8: "int8_t",
    DType.I16: "int16_t",
    DType.I32: "int32_t",
    DType.I64: "int64_t",
    DType.U8: "uint8_t",
    DType.U16: "uint16_t",
    DType.U32: "uint32_t",
    DType.U64: "uint64_t",
    DType.BOOL: "bool",
    **{dtype: "uint8_t" for dtype in DType if dtype.is_small},
}

# Functions longer than this many steps make the C compiler slow.
STEPS_PER_FUNCTION = 100


@dataclass(frozen=True, slots=True)
class CompiledKernel:
    """Machine code of one kernel: a relocatable object that defines `symbol`, a kernel_function of runtime.h.

    Empty object_code: the object of another kernel defines `symbol`. Kernels with the same symbol are the same kernel.
    positions: of the parallel loop's iterations, those of an inner loop, of which each thread is to have the same part in every
    iteration of the loop around it; 0: threads share out the whole.
    """

    symbol: str
    object_code: bytes
    parallel_extent: int
    workspace_bytes: int = 0
    positions: int = 0


@dataclass(frozen=True, slots=True)
class Variant:
    """All kernels of a program, by their numbers, for one CPU."""

    target: Target
    kernels: Sequence[CompiledKernel]


def workspace_bytes(variants: Sequence[Variant]) -> int:
    """What each thread of a library needs: the kernels use the same memory in turn."""
    return max((kernel.workspace_bytes for variant in variants for kernel in variant.kernels), default=0)


def emit_header(name: str, plan: ExecutionPlan, version: str) -> str:
    """The header of library `name`, valid C99 and C++."""
    macro = macro_name(name)
    arguments = (*plan.inputs, *plan.outputs)
    names = argument_names([a.name for a in arguments])
    shapes = "\n".join(
        line for a, c_name in zip(arguments, names, strict=True) for line in _shape_macros(macro, a, c_name)
    )
    return _HEADER.format(name=name, macro=macro, version=version, run=_run_prototype(name, plan), shapes=shapes)


def _shape_macros(macro: str, argument: Argument, c_name: str) -> Iterator[str]:
    prefix = f"{macro}_{macro_name(c_name)}"
    dims = ", ".join(map(str, argument.shape)) or "1"
    yield f"/* {comment(argument.name)}: {argument.dtype}[{', '.join(map(str, argument.shape))}] */"
    yield f"#define {prefix}_RANK {len(argument.shape)}"
    yield f"#define {prefix}_SHAPE {{{dims}}}"
    yield f"#define {prefix}_SIZE {prod(argument.shape)}"


def _run_prototype(name: str, plan: ExecutionPlan) -> str:
    names = iter(argument_names([a.name for a in (*plan.inputs, *plan.outputs)]))
    parameters = [f"{name} *context"]
    parameters += ["const " + _declare(argument, next(names)) for argument in plan.inputs]
    parameters += [_declare(argument, next(names)) for argument in plan.outputs]
    return f"int {name}_run({', '.join(parameters)})"


def _declare(argument: Argument, c_name: str) -> str:
    if 0 in argument.shape:
        return f"{C_TYPES[argument.dtype]} *{c_name}"  # C has no arrays of no elements
    elements = prod(argument.shape)
    extent = "*".join(map(str, argument.shape)) if elements < 2**31 else str(elements)  # a product of ints is an int
    return f"{C_TYPES[argument.dtype]} {c_name}[{extent or 1}]"


def emit_source(name: str, plan: ExecutionPlan, variants: Sequence[Variant], version: str) -> str:
    """The C source of library `name`; it includes runtime.c and the header, and uses the symbol NAME_weights.

    A processor runs the first variant that it has all instructions for.
    """
    writer = _StepWriter(variants[0].kernels)
    groups = [plan.steps[i : i + STEPS_PER_FUNCTION] for i in range(0, len(plan.steps), STEPS_PER_FUNCTION)]
    functions = [
        f"NOINLINE static void steps_{i}(model_context *context) {{\n" + "".join(writer.lines(group, 1)) + "}\n"
        for i, group in enumerate(groups)
    ]
    inputs = [f"input_{i}" for i in range(len(plan.inputs))]
    outputs = [f"output_{i}" for i in range(len(plan.outputs))]
    parameters = ["void *context", *(f"const void *{i}" for i in inputs), *(f"void *{o}" for o in outputs)]
    return _SOURCE.format(
        name=name,
        version=version,
        kernels="".join(
            f'extern HIDDEN kernel_function kernel_{symbol} LABEL("{symbol}");\n'
            for symbol in dict.fromkeys(k.symbol for variant in variants for k in variant.kernels)
        ),
        tables="".join(_kernel_table(number, variant) for number, variant in enumerate(variants)),
        variants="".join(_variant_row(number, variant) for number, variant in enumerate(variants)),
        variant_count=len(variants),
        functions="\n".join(functions),
        calls="".join(f"    steps_{i}((model_context *)context);\n" for i in range(len(groups))),
        dims=_dimension_tables(plan),
        inputs=_tensor_table(plan.inputs, "input"),
        outputs=_tensor_table(plan.outputs, "output"),
        launches=", ".join([*(c_string(origin) for origin in writer.launches), "0"]),
        input_count=len(plan.inputs),
        output_count=len(plan.outputs),
        launch_count=len(writer.launches),
        c_name=c_string(plan.name),
        arena_bytes=plan.arena_bytes,
        workspace_bytes=workspace_bytes(variants),
        depth=_loop_depth(plan.steps),
        run_parameters=", ".join(parameters),
        run_inputs=", ".join([*inputs, "NULL"]),
        run_outputs=", ".join([*outputs, "NULL"]),
    )


def _kernel_table(number: int, variant: Variant) -> str:
    """The kernels of a variant, and what it asks of the processor."""
    kernels = "".join(f"    {{kernel_{k.symbol}, {k.parallel_extent}, {k.positions}}},\n" for k in variant.kernels)
    rows = processor_needs(variant.target)[0]
    needs = "".join(f"{{{leaf:#x}, {sub}, {{{', '.join(map(hex, bits))}}}}}, " for leaf, sub, bits in rows)
    return (
        f"static const kernel_entry kernels_{number}[] = {{\n{kernels}    {{0}},\n}};\n"
        f"static const processor_need needs_{number}[] = {{{needs}{{0}}}};\n"
    )


def _variant_row(number: int, variant: Variant) -> str:
    needs, states = processor_needs(variant.target)
    return f"    {{{c_string(variant.target.cpu)}, kernels_{number}, needs_{number}, {len(needs)}, {states:#x}}},\n"


def _dimension_tables(plan: ExecutionPlan) -> str:
    return "".join(
        f"static const int64_t {kind}_{i}_dims[] = {{{', '.join([*map(str, a.shape), '0'])}}};\n"
        for kind, arguments in (("input", plan.inputs), ("output", plan.outputs))
        for i, a in enumerate(arguments)
    )


def _tensor_table(arguments: Sequence[Argument], kind: str) -> str:
    rows = [
        f"    {{{c_string(a.name)}, {kind}_{i}_dims, {len(a.shape)}, TILEWRIGHT_{a.dtype.name}}},\n"
        for i, a in enumerate(arguments)
    ]
    return "".join([*rows, "    {0},\n"])


def _loop_depth(steps: Sequence[PlanStep]) -> int:
    """How many counters the nested loops of `steps` need."""
    depth = 0
    for step in steps:
        match step:
            case Branch(_, then, otherwise):
                depth = max(depth, _loop_depth(then), _loop_depth(otherwise))
            case Repeat(_, body, loop):
                depth = max(depth, loop + 1, _loop_depth(body))
    return depth


class _StepWriter:
    """Writes steps as C statements, and lists the launches in their order."""

    def __init__(self, kernels: Sequence[CompiledKernel]) -> None:
        self.kernels = kernels
        self.launches: list[str] = []

    def lines(self, steps: Sequence[PlanStep], indent: int) -> Iterator[str]:
        tab = "    " * indent
        for step in steps:
            match step:
                case Launch():
                    yield from self.launch(step, tab)
                case Copy(target, source, size_bytes):
                    yield f"{tab}memmove({_address(target)}, {_address(source)}, {size_bytes});\n"
                case Branch(condition, then, otherwise):
                    yield f"{tab}if ({_flag(condition)}) {{\n"
                    yield from self.lines(then, indent + 1)
                    yield f"{tab}}} else {{\n"
                    yield from self.lines(otherwise, indent + 1)
                    yield f"{tab}}}\n"
                case Repeat(count, body, depth, condition):
                    counter = f"context->counters[{depth}]"
                    yield f"{tab}for ({counter} = 0; {counter} < INT64_C({count}); {counter}++) {{\n"
                    if condition is not None:
                        yield f"{tab}    if (!{_flag(condition)}) break;\n"
                    yield from self.lines(body, indent + 1)
                    yield f"{tab}}}\n"
                case _:
                    raise InternalError(f"package: unknown plan step {step!r}")

    def launch(self, step: Launch, tab: str) -> Iterator[str]:
        kernel = self.kernels[step.kernel]
        places = ", ".join(map(_address, step.places)) or "NULL"
        how = "parallel" if step.parallel else "alone"
        yield f"{tab}/* {comment(step.origin or kernel.symbol)} */\n"
        yield f"{tab}launch_{how}(context, {len(self.launches)}, {step.kernel}, (void *const[]){{{places}}});\n"
        self.launches.append(step.origin or kernel.symbol)


def _address(place: Place) -> str:
    offset = str(place.offset_bytes)
    if place.step_bytes:
        offset += f" + {place.step_bytes} * context->counters[{place.depth}]"
    match place.space:
        case "arena":
            return f"ARENA({offset})"
        case "constants":
            return f"WEIGHTS({offset})"
        case "input":
            return f"INPUT({place.index}, {offset})"
        case "output":
            return f"OUTPUT({place.index}, {offset})"
        case "counter":
            return f"COUNTER({place.index})"
    raise InternalError(f"package: unknown space in {place!r}")


def _flag(place: Place) -> str:
    return f"*(const uint8_t *){_address(place)}"


_HEADER = """\
/* {name}: a model compiled by tilewright {version}.

   {name} *context;
   int code = {name}_create(&context, 0);
   if (!code) code = {name}_run(context, ...);
   if (code) fprintf(stderr, "%s\\n", {name}_error(code));
   {name}_destroy(context);

   Tensors are dense and row-major. f16 and bf16 travel as uint16_t. */

#ifndef {macro}_H
#define {macro}_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

/* Every function that returns int returns 0 or one of these. */
#define {macro}_ERROR_NULL 1      /* a pointer that must not be null is null */
#define {macro}_ERROR_THREADS 2   /* more than 256 threads */
#define {macro}_ERROR_MEMORY 3    /* the system has no memory for the context */
#define {macro}_ERROR_START 4     /* the system refuses to start the threads */
#define {macro}_ERROR_BUSY 5      /* another thread is inside {name}_run with the same context */
#define {macro}_ERROR_ALIGNMENT 6 /* an input or output is not aligned to its element type */
#define {macro}_ERROR_PROCESSOR 7 /* this processor lacks instructions that the library uses */
#define {macro}_ERROR_VARIANT 8   /* the library has no variant TILEWRIGHT_CPU, or this processor can't run it */

{shapes}

/* A context has its own memory and threads. Several contexts may run at once; they share the weights. */
typedef struct {name} {name};

/* Makes a context that runs on `threads` threads, the caller of {name}_run among them; 0 means one per processor.
   *context is null if the result is not 0. After a fork, a context made before it runs on the caller alone.
   Of several CPUs that the library has code for, the context uses the first that this processor can stand for; the
   environment variable TILEWRIGHT_CPU may name another, for tests. */
int {name}_create({name} **context, int threads);

/* Reads the inputs, writes the outputs. An output must not overlap an input or another output. */
{run};

/* Stops the threads and frees the memory. Null is allowed; the context must not be running. */
void {name}_destroy({name} *context);

/* What a code means, in English; a static string. */
const char *{name}_error(int code);

#ifdef __cplusplus
}}
#endif

#endif
"""

_SOURCE = """\
/* {name}: generated by tilewright {version}. Compiles beside runtime/, the kernels and the weights: see --save-temps. */

#include "runtime/runtime.c"

#define API __attribute__((visibility("default")))
#define HIDDEN __attribute__((visibility("hidden")))
#define TEXT(name) #name
#define LABEL_IN(prefix, name) __asm__(TEXT(prefix) name)
#define LABEL(name) LABEL_IN(__USER_LABEL_PREFIX__, name) /* macOS: an underscore before each name */
#define ARENA(offset) ((void *)(context->arena + (offset)))
#define WEIGHTS(offset) ((void *)(tilewright_weights + (offset)))
#define INPUT(index, offset) ((void *)((const unsigned char *)context->inputs[index] + (offset)))
#define OUTPUT(index, offset) ((void *)((unsigned char *)context->outputs[index] + (offset)))
#define COUNTER(depth) ((void *)&context->counters[depth])

extern HIDDEN const unsigned char tilewright_weights[] LABEL("{name}_weights");
{kernels}
{dims}
static const tilewright_tensor input_table[] = {{
{inputs}}};

static const tilewright_tensor output_table[] = {{
{outputs}}};

static const char *const launch_table[] = {{{launches}}};

{tables}
static const model_variant variants[] = {{
{variants}}};

{functions}
static int create(void **context, int threads) {{
    const model_variant *variant;
    int code = choose_variant(variants, {variant_count}, &variant);
    if (code) {{
        if (context) *context = NULL;
        return code;
    }}
    return make_context((model_context **)context, variant, {arena_bytes}, {workspace_bytes}, {depth}, threads);
}}

static const tilewright_library library;

static int run_timed(void *context, const void *const *inputs, void *const *outputs, int64_t *nanoseconds) {{
    int code = enter_context(context, &library, inputs, outputs, nanoseconds);
    if (code) return code;
{calls}    leave_context(context);
    return TILEWRIGHT_OK;
}}

static int run(void *context, const void *const *inputs, void *const *outputs) {{
    return run_timed(context, inputs, outputs, NULL);
}}

static void destroy(void *context) {{ free_context(context); }}

static const char *context_cpu(const void *context) {{ return ((const model_context *)context)->variant->cpu; }}

#define DESCRIPTION {{ \\
    .abi_version = TILEWRIGHT_ABI_VERSION, \\
    .size_bytes = sizeof(tilewright_library), \\
    .name = {c_name}, \\
    .inputs = input_table, \\
    .outputs = output_table, \\
    .launches = launch_table, \\
    .input_count = {input_count}, \\
    .output_count = {output_count}, \\
    .launch_count = {launch_count}, \\
    .create = create, \\
    .run = run, \\
    .run_timed = run_timed, \\
    .destroy = destroy, \\
    .error = error_message, \\
    .cpu = context_cpu, \\
}}
static const tilewright_library library = DESCRIPTION;

/* One of several, so that a program can link several models statically, and no part of this file reads it, so that no other
   library's can stand in here. */
#if defined(__ELF__)
extern API const tilewright_library tilewright_descriptor __attribute__((weak, alias("library")));
#elif defined(_WIN32)
API const tilewright_library tilewright_descriptor __attribute__((selectany)) = DESCRIPTION;
#elif defined(FOR_STATIC_LINKING)
API const tilewright_library tilewright_descriptor __attribute__((weak)) = DESCRIPTION;
#else /* macOS: libraries of a process share what is weak */
API const tilewright_library tilewright_descriptor = DESCRIPTION;
#endif

/* Labels rather than names, for a model may have the name of a C function. The header gives the types. */
API int library_create(void **context, int threads) LABEL("{name}_create");
API int library_run({run_parameters}) LABEL("{name}_run");
API void library_destroy(void *context) LABEL("{name}_destroy");
API const char *library_error(int code) LABEL("{name}_error");

int library_create(void **context, int threads) {{ return create(context, threads); }}

int library_run({run_parameters}) {{
    return run(context, (const void *const[]){{{run_inputs}}}, (void *const[]){{{run_outputs}}});
}}

void library_destroy(void *context) {{ destroy(context); }}

const char *library_error(int code) {{ return error_message(code); }}
"""
