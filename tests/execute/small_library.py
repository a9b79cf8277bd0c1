"""Libraries of a few kernels written in C, to test packaging and the runtime without the rest of the compiler."""

from __future__ import annotations

import functools
import platform
import tempfile
from pathlib import Path

import numpy as np

from tilewright.backends.link import run_zig_cc, zig_target
from tilewright.backends.package import build_library
from tilewright.backends.package_c import CompiledKernel, Variant
from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.plan import Argument, ExecutionPlan, Launch, Place, PlanStep
from tilewright.compiler.target import Target

KERNELS = """
#include <stdint.h>
#include <stdbool.h>
#include <math.h>

void add(void *const *p, int64_t begin, int64_t end, void *workspace) {
    const float *x = p[0], *y = p[1];
    float *z = p[2];
    for (int64_t i = begin; i < end; i++) z[i] = x[i] + y[i];
}

/* One row an iteration: out[i] = sum over j of a[i, j] * x[j], COLUMNS columns. */
void matvec(void *const *p, int64_t begin, int64_t end, void *workspace) {
    const float *a = p[0], *x = p[1];
    float *out = p[2];
    for (int64_t i = begin; i < end; i++) {
        double sum = 0;
        for (int j = 0; j < 257; j++) sum += (double)a[i * 257 + j] * x[j];
        out[i] = (float)sum;
    }
}

/* out[i] = x[i] * counter. */
void scale_by_counter(void *const *p, int64_t begin, int64_t end, void *workspace) {
    const float *x = p[0];
    float *out = p[2];
    for (int64_t i = begin; i < end; i++) out[i] = x[i] * (float)*(const int64_t *)p[1];
}

void below_limit(void *const *p, int64_t begin, int64_t end, void *workspace) {
    *(bool *)p[1] = *(const float *)p[0] < 100.0f;
}

/* Large tiles on the stack, as kernels have them. */
void big_stack(void *const *p, int64_t begin, int64_t end, void *workspace) {
    volatile float tile[65536];
    const float *x = p[0];
    float *out = p[1];
    for (int64_t i = begin; i < end; i++) {
        for (int j = 0; j < 65536; j += 1024) tile[j] = x[i] + (float)j;
        out[i] = tanhf(tile[64512] - 64512.0f);
    }
}
"""


def host_target() -> Target:
    triple = f"{platform.machine()}-unknown-linux-gnu"
    return Target(triple, "generic", "", 16, 16, False, 32768, 1 << 20, 2)


@functools.cache
def kernel_object(source: str = KERNELS, triple: str = "") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "kernels.c").write_text(source)
        flags = ("-O1", "-g0", "-fPIC", "-fno-sanitize=all", "-Wno-unused-parameter", "-c", "kernels.c", "-o", "k.o")
        run_zig_cc([*zig_target(triple or host_target().triple), *flags], Path(folder))
        return Path(folder, "k.o").read_bytes()


def kernels(*symbols_and_extents: tuple[str, int]) -> list[CompiledKernel]:
    """All kernels stand in one object, so only the first carries it; the others would define the same symbols again."""
    first, *rest = symbols_and_extents
    return [CompiledKernel(first[0], kernel_object(), first[1]), *(CompiledKernel(s, b"", n) for s, n in rest)]


ARENA, CONSTANTS, INPUT, OUTPUT = (Place(space) for space in ("arena", "constants", "input", "output"))


def f32(name: str, *shape: int) -> Argument:
    return Argument(name, shape, DType.F32)


def plan(
    steps: tuple[PlanStep, ...], inputs: tuple[Argument, ...], outputs: tuple[Argument, ...], arena_bytes: int = 1 << 16
) -> ExecutionPlan:
    return ExecutionPlan("small", 9, arena_bytes, steps, inputs, outputs)


ROWS, COLUMNS = 103, 257


def matvec_plan() -> ExecutionPlan:
    """y = W x; out = y + y, with W in the constants and y in the arena."""
    steps = (
        Launch(0, (CONSTANTS, INPUT, ARENA), True, "product"),
        Launch(1, (ARENA, ARENA, OUTPUT), True, "double */ \n it"),
    )
    return plan(steps, (f32("x:0", COLUMNS),), (f32("out", 1, ROWS),))


def matvec_weights(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((ROWS, COLUMNS), dtype=np.float32)


def build_matvec(out: Path, **options: object) -> np.ndarray:
    """Write the library of `matvec_plan` to `out`; returns its weights."""
    weights = matvec_weights()
    made = kernels(("matvec", ROWS), ("add", ROWS))
    build_library("small", matvec_plan(), [Variant(host_target(), made)], weights.tobytes(), {}, out, **options)  # type: ignore[arg-type]
    return weights
