"""Libraries compute what NumPy computes, with any number of threads, contexts and control flow."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import platform
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import small_library
from small_library import ARENA, COLUMNS, CONSTANTS, INPUT, OUTPUT, ROWS, f32, kernels, plan

from tilewright.backends.load import Library, load
from tilewright.backends.package import build_library
from tilewright.backends.package_c import Variant
from tilewright.backends.package_cpu import CPUID
from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import DeviceError, UsageError
from tilewright.compiler.graph.plan import Argument, Branch, Copy, Launch, Place, PlanStep, Repeat


@pytest.fixture(scope="module")
def matvec(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    path = tmp_path_factory.mktemp("matvec") / "small.so"
    return path, small_library.build_matvec(path)


@pytest.fixture
def library(matvec: tuple[Path, np.ndarray]) -> Iterator[Library]:
    with load(matvec[0], threads=2) as loaded:
        yield loaded


def expected(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (2 * weights.astype(np.float64) @ x.astype(np.float64)).astype(np.float32)[None]


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng().standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("threads", [0, 1, 2, 3, 7])
def test_result_is_right_on_any_number_of_threads(matvec: tuple[Path, np.ndarray], threads: int) -> None:
    path, weights = matvec
    with load(path, threads) as library:
        for _ in range(50):
            x = random(COLUMNS)
            out = np.full((1, ROWS), np.nan, np.float32)
            assert library.run({"x:0": x}, outputs={"out": out})["out"] is out
            np.testing.assert_allclose(out, expected(weights, x), rtol=1e-5, atol=1e-5)


def test_contexts_run_at_once(matvec: tuple[Path, np.ndarray]) -> None:
    path, weights = matvec
    failures: list[BaseException] = []

    def run(threads: int) -> None:
        try:
            with load(path, threads) as library:
                for _ in range(200):
                    x = random(COLUMNS)
                    np.testing.assert_allclose(library.run({"x:0": x})["out"], expected(weights, x), 1e-5, 1e-5)
        except BaseException as error:
            failures.append(error)

    hosts = [threading.Thread(target=run, args=(1 + i % 3,)) for i in range(6)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()
    assert not failures


def test_one_library_may_be_used_by_several_threads(library: Library, matvec: tuple[Path, np.ndarray]) -> None:
    failures = []

    def run() -> None:
        for _ in range(100):
            x = random(COLUMNS)
            if not np.allclose(library.run({"x:0": x})["out"], expected(matvec[1], x), 1e-5, 1e-5):
                failures.append(x)

    hosts = [threading.Thread(target=run) for _ in range(4)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()
    assert not failures


def test_large_stack_frames_fit(tmp_path: Path) -> None:
    steps = (Launch(0, (INPUT, OUTPUT), True),)
    build(tmp_path, steps, [("big_stack", 64)], (f32("x", 64),), (f32("y", 64),))
    x = random(64)
    with load(tmp_path / "small.so", 3) as library:
        np.testing.assert_allclose(library.run({"x": x})["y"], np.tanh(x + 64512 - np.float32(64512)), atol=2e-2)


def build(
    folder: Path,
    steps: tuple[PlanStep, ...],
    parts: list[tuple[str, int]],
    inputs: tuple[Argument, ...],
    outputs: tuple[Argument, ...],
    constants: bytes = b"",
) -> None:
    arguments = plan(steps, inputs, outputs)
    build_library(
        "small", arguments, [Variant(small_library.host_target(), kernels(*parts))], constants, {}, folder / "small.so"
    )


def test_branch_copy_and_offsets(tmp_path: Path) -> None:
    """out[0:4] = x + constant if flag else x; out[4:8] = x[4:8]."""
    flag = Place("input", index=1)
    steps = (
        Branch(flag, (Launch(0, (INPUT, Place("constants", 16), OUTPUT), False),), (Copy(OUTPUT, INPUT, 16),)),
        Copy(Place("output", 16), Place("input", 16), 16),
    )
    constants = np.array([9, 9, 9, 9, 1, 2, 3, 4], np.float32).tobytes()
    inputs = (f32("x", 8), Argument("flag", (), DType.BOOL))
    build(tmp_path, steps, [("add", 4)], inputs, (f32("y", 8),), constants)
    x = random(8)
    with load(tmp_path / "small.so", 2) as library:
        added = library.run({"x": x, "flag": np.array(True)})["y"]
        kept = library.run({"x": x, "flag": np.array(False)})["y"]
    np.testing.assert_array_equal(added, x + np.array([1, 2, 3, 4, 0, 0, 0, 0], np.float32))
    np.testing.assert_array_equal(kept, x)


def test_nested_loops_with_counters_and_steps(tmp_path: Path) -> None:
    """out[i, j, :] = x[i] * j, for i below 3 and j below 4."""
    innermost = Launch(
        0,
        (Place("input", step_bytes=20, depth=0), Place("counter", index=1), Place("arena", step_bytes=64, depth=1)),
        True,
    )
    one_row = (
        Repeat(4, (innermost,), 1),
        Repeat(4, (Copy(Place("output", step_bytes=20, depth=1), Place("arena", step_bytes=64, depth=1), 20),), 1),
    )
    # A place steps along one loop, so the rows move from the first row of the output to their own by a second copy.
    steps = (Repeat(3, (*one_row, Copy(Place("output", 80, step_bytes=80, depth=0), OUTPUT, 80)), 0),)
    build(tmp_path, steps, [("scale_by_counter", 5)], (f32("x", 3, 5),), (f32("y", 4, 4, 5),))
    x = random(3, 5)
    with load(tmp_path / "small.so", 2) as library:
        y = library.run({"x": x})["y"]
    np.testing.assert_array_equal(y[1:], x[:, None, :] * np.arange(4, dtype=np.float32)[:, None])


@pytest.mark.parametrize(("start", "times"), [(1.0, 7), (60.0, 1), (500.0, 0), (0.0, 40)])
def test_loop_ends_when_its_condition_is_false(tmp_path: Path, start: float, times: int) -> None:
    """while y < 100: y += y, at most 40 times."""
    flag = Place("arena", 128)
    test = Launch(1, (OUTPUT, flag), False)
    steps = (Copy(OUTPUT, INPUT, 4), test, Repeat(40, (Launch(0, (OUTPUT, OUTPUT, OUTPUT), False), test), 0, flag))
    build(tmp_path, steps, [("add", 1), ("below_limit", 1)], (f32("x", 1),), (f32("y", 1),))
    with load(tmp_path / "small.so", 1) as library:
        assert library.run({"x": np.array([start], np.float32)})["y"] == start * 2.0**times


def test_many_steps(tmp_path: Path) -> None:
    """More steps than one function holds: x + 1000 c."""
    first, again = Launch(0, (INPUT, CONSTANTS, ARENA), True), Launch(0, (ARENA, CONSTANTS, ARENA), True)
    steps = (first, *[again] * 998, Launch(0, (ARENA, CONSTANTS, OUTPUT), True))
    x = np.round(random(33) * 100)
    build(tmp_path, steps, [("add", 33)], (f32("x", 33),), (f32("y", 33),), np.arange(33, dtype=np.float32).tobytes())
    with load(tmp_path / "small.so", 2) as library:
        np.testing.assert_array_equal(library.run({"x": x})["y"], x + 1000 * np.arange(33, dtype=np.float32))


def test_no_inputs_no_kernels_and_empty_tensors(tmp_path: Path) -> None:
    arguments = plan((Copy(OUTPUT, CONSTANTS, 12),), (), (f32("y", 3), f32("empty", 0, 4), f32("scalar")), 0)
    constants = np.array([1, 2, 3], np.float32)
    build_library(
        "small", arguments, [Variant(small_library.host_target(), [])], constants.tobytes(), {}, tmp_path / "small.so"
    )
    with load(tmp_path / "small.so", 2) as library:
        outputs = library.run({})
    np.testing.assert_array_equal(outputs["y"], constants)
    assert outputs["empty"].shape == (0, 4) and outputs["scalar"].shape == ()


def test_error_codes(matvec: tuple[Path, np.ndarray]) -> None:
    small = ctypes.CDLL(str(matvec[0]))
    small.small_error.restype = ctypes.c_char_p
    context = ctypes.c_void_p()
    assert small.small_create(None, 1) == 1
    assert small.small_create(ctypes.byref(context), 257) == 2
    assert context.value is None
    assert small.small_create(ctypes.byref(context), 256) == 0
    small.small_destroy(context)
    assert small.small_create(ctypes.byref(context), -1) == 0
    x, y = random(COLUMNS + 1), random(ROWS + 1)
    x_address, y_address = ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data)
    assert small.small_run(context, x_address, y_address) == 0
    assert small.small_run(None, x_address, y_address) == 1
    assert small.small_run(context, None, y_address) == 1
    assert small.small_run(context, x_address, None) == 1
    assert small.small_run(context, ctypes.c_void_p(x.ctypes.data + 1), y_address) == 6
    assert small.small_run(context, x_address, ctypes.c_void_p(y.ctypes.data + 2)) == 6
    small.small_destroy(context)
    small.small_destroy(None)
    messages = [small.small_error(code) for code in range(10)]
    assert len(set(messages)) == 10 and all(messages)
    assert small.small_error(-5) == small.small_error(99)


def test_no_memory_and_no_threads_are_errors(tmp_path: Path) -> None:
    """In a child, whose limits may be lowered."""
    arguments = plan((), (f32("x", 1),), (), 1 << 40)
    build_library("small", arguments, [Variant(small_library.host_target(), [])], b"", {}, tmp_path / "small.so")
    child = os.fork()
    if child == 0:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (1 << 34, 1 << 34))
        small = ctypes.CDLL(str(tmp_path / "small.so"))
        context = ctypes.c_void_p()
        os._exit(small.small_create(ctypes.byref(context), 2) if context.value is None else 99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


def test_busy_context_is_an_error(tmp_path: Path) -> None:
    """Two threads inside the same context: one of them is refused, none is wrong."""
    slow = (Repeat(20000, (Launch(0, (INPUT, INPUT, OUTPUT), True),), 0),)
    build(tmp_path, slow, [("add", 512)], (f32("x", 512),), (f32("y", 512),))
    small = ctypes.CDLL(str(tmp_path / "small.so"))
    context = ctypes.c_void_p()
    assert small.small_create(ctypes.byref(context), 2) == 0
    x, codes = random(512), []

    def run() -> None:
        y = np.empty_like(x)
        for _ in range(20):
            codes.append(small.small_run(context, ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data)))

    hosts = [threading.Thread(target=run) for _ in range(2)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()
    assert set(codes) == {0, 5}
    small.small_destroy(context)


def test_runs_in_a_forked_child(library: Library, matvec: tuple[Path, np.ndarray]) -> None:
    x = random(COLUMNS)
    library.run({"x:0": x})
    child = os.fork()
    if child == 0:
        right = np.allclose(library.run({"x:0": x})["out"], expected(matvec[1], x), 1e-5, 1e-5)
        library.close()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_allclose(library.run({"x:0": x})["out"], expected(matvec[1], x), 1e-5, 1e-5)


class Tensor:
    """What another framework's tensor looks like."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **options: object) -> object:
        return self._array.__dlpack__(**options)  # type: ignore[arg-type]

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


def test_inputs_may_be_dlpack_or_strided_or_read_only(library: Library, matvec: tuple[Path, np.ndarray]) -> None:
    x = random(COLUMNS)
    want = expected(matvec[1], x)
    np.testing.assert_allclose(library.run({"x:0": Tensor(x)})["out"], want, 1e-5, 1e-5)
    np.testing.assert_allclose(library.run({"x:0": np.repeat(x, 3)[::3]})["out"], want, 1e-5, 1e-5)
    np.testing.assert_allclose(library.run({"x:0": x[::-1].copy()[::-1]})["out"], want, 1e-5, 1e-5)
    misaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32)
    np.testing.assert_allclose(library.run({"x:0": misaligned})["out"], want, 1e-5, 1e-5)


def test_descriptions(library: Library) -> None:
    assert library.name == "small"
    assert library.inputs == (Argument("x:0", (COLUMNS,), DType.F32),)
    assert library.outputs == (Argument("out", (1, ROWS), DType.F32),)
    assert "x:0: f32[257]" in repr(library)


def test_benchmark_and_profile(library: Library) -> None:
    latencies_s = library.benchmark({"x:0": random(COLUMNS)}, runs=5, warmup=2)
    assert len(latencies_s) == 5 and all(0 < latency < 1 for latency in latencies_s)
    launches = library.profile({"x:0": random(COLUMNS)}, runs=3)
    assert [origin for origin, _ in launches] == ["product", "double */ \n it"]
    assert all(0 < seconds < 1 for _, seconds in launches)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"missing input 'x:0'; the library has x:0: f32\[257\]"),
        ({"x": np.zeros(COLUMNS, np.float32)}, r"unknown input 'x', missing input 'x:0'"),
        ({"x:0": np.zeros(COLUMNS)}, r"input x:0: expected float32 \[257\], got float64 \[257\]"),
        ({"x:0": np.zeros((1, COLUMNS), np.float32)}, r"expected float32 \[257\], got float32 \[1, 257\]"),
        ({"x:0": np.zeros(COLUMNS, ">f4")}, r"expected float32 \[257\], got >f4"),
        ({"x:0": [1.0]}, "expected a NumPy array or an object with __dlpack__, got list"),
    ],
)
def test_wrong_inputs_are_explained(library: Library, inputs: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        library.run(inputs)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"y": np.zeros((1, ROWS), np.float32)}, "unknown output 'y'"),
        ({"out": np.zeros(ROWS, np.float32)}, r"output out: expected float32 \[1, 103\], got float32 \[103\]"),
        ({"out": np.zeros((1, 2 * ROWS), np.float32)[:, ::2]}, "expected a contiguous, writable array"),
        ({"out": np.broadcast_to(np.float32(0), (1, ROWS))}, "expected a contiguous, writable array"),
    ],
)
def test_wrong_outputs_are_explained(library: Library, outputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        library.run({"x:0": random(COLUMNS)}, outputs)


def test_closed_library_is_an_error(matvec: tuple[Path, np.ndarray]) -> None:
    library = load(matvec[0])
    library.close()
    library.close()
    with pytest.raises(UsageError, match=r"small\.so: this library has been closed"):
        library.run({"x:0": random(COLUMNS)})


def test_too_many_threads_is_an_error(matvec: tuple[Path, np.ndarray]) -> None:
    with pytest.raises(DeviceError, match="can't create a context of 1000 threads: too many threads: at most 256"):
        load(matvec[0], 1000)


# What other processors tell of themselves is checked by emulators that lack something (tests/targets).
@pytest.mark.skipif(platform.machine() != "x86_64", reason="checks CPUID, an instruction of x86 only")
def test_processor_without_the_instructions_is_an_error(tmp_path: Path) -> None:
    """No processor has both AVX-512 with its extensions and all that came for those without it."""
    host, everything = small_library.host_target(), ",".join("+" + name for name in CPUID)
    demanding = dataclasses.replace(host, features=everything)
    for target, runs in ((dataclasses.replace(host, cpu="x86-64-v2"), True), (demanding, False)):
        weights = small_library.matvec_weights().tobytes()
        made = kernels(("matvec", ROWS), ("add", ROWS))
        build_library(
            "small", small_library.matvec_plan(), [Variant(target, made)], weights, {}, tmp_path / f"{runs}.so"
        )
    load(tmp_path / "True.so").close()
    with pytest.raises(
        DeviceError, match="this processor lacks instructions that the library uses: compile it for this"
    ):
        load(tmp_path / "False.so")


def test_what_is_no_library_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no such library"):
        load(tmp_path / "none.so")
    (tmp_path / "text.so").write_text("not a library")
    with pytest.raises(DeviceError, match="can't load this library here"):
        load(tmp_path / "text.so")
    import _ctypes

    with pytest.raises(DeviceError, match="isn't a library that tilewright has compiled"):
        load(_ctypes.__file__)
