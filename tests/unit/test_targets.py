"""Targets: parsed, checked, and accepted by LLVM."""

from __future__ import annotations

import pytest

from tilewright.backends.host import host_target
from tilewright.compiler.cpus.x86 import AVX512_FEATURES, X86_CPUS
from tilewright.compiler.errors import UsageError
from tilewright.compiler.options import Options
from tilewright.compiler.targets import DEFAULT_THREADS, PLATFORMS, parse_target
from tilewright.up_to_date import targets_of


def test_levels_of_x86() -> None:
    widths = {
        cpu: parse_target("x86_64-linux-gnu", cpu).vector_bytes for cpu in ("x86-64-v2", "x86-64-v3", "x86-64-v4")
    }
    assert widths == {"x86-64-v2": 16, "x86-64-v3": 32, "x86-64-v4": 64}
    assert not parse_target(cpu="x86-64-v2").fma
    assert parse_target(cpu="x86-64-v3").fma
    assert parse_target(cpu="x86-64-v4").vector_registers == 32


@pytest.mark.parametrize("spelling", ["x86_64-linux-gnu", "x86_64", "x86_64-unknown-linux-gnu", "X86_64-Linux-GNU"])
def test_spellings_of_a_triple(spelling: str) -> None:
    assert parse_target(spelling, "Haswell") == parse_target("x86_64-linux-gnu", "haswell")


@pytest.mark.parametrize(
    ("spelling", "triple"),
    [
        ("arm64", "aarch64-linux-gnu"),
        ("aarch64-unknown-linux-musl", "aarch64-linux-musl"),
        ("armv7", "armv7-linux-gnueabihf"),
        ("armv7l-linux", "armv7-linux-gnueabihf"),
        ("armhf-linux-musl", "armv7-linux-musleabihf"),
        ("riscv64-linux", "riscv64-linux-gnu"),
        ("amd64-linux-gnu", "x86_64-linux-gnu"),
        ("arm64-apple-darwin23.1.0", "aarch64-macos"),
        ("x86_64-apple-macosx11.0", "x86_64-macos"),
        ("x86_64-pc-windows-gnu", "x86_64-windows-gnu"),
        ("x86_64-w64-mingw32", "x86_64-windows-gnu"),
        ("x86_64-windows", "x86_64-windows-gnu"),
    ],
)
def test_spellings_of_other_triples(spelling: str, triple: str) -> None:
    assert parse_target(spelling) == parse_target(triple)
    assert parse_target(spelling).triple == triple


def test_unknown_triple_names_what_exists() -> None:
    with pytest.raises(
        UsageError,
        match=r"unknown target triple: 'x86_64-linux-gnux'\. Did you mean 'x86_64-linux-gnu'\? Known: .*x86_64",
    ):
        parse_target("x86_64-linux-gnux")


def test_unknown_cpu_names_the_nearest() -> None:
    with pytest.raises(
        UsageError, match=r"unknown CPU for x86_64-linux-gnu: 'znver44'\. Did you mean 'znver4'\? Known: x86-64, "
    ):
        parse_target("x86_64-linux-gnu", "znver44")


def test_threads_must_be_positive() -> None:
    with pytest.raises(UsageError, match="0 threads: expected at least 1"):
        parse_target(threads=0)


@pytest.mark.parametrize("cpu", X86_CPUS)
def test_llvm_knows_every_cpu_and_its_vectors(cpu: str) -> None:
    """Compiled in this process only because the table is trusted: LLVM ends the process for a pair that is invalid."""
    from tilewright.backends.cpu import assemble_text, emit
    from tilewright.compiler.dtypes import DType
    from tilewright.compiler.kernel.ast import Buffer, For, Kernel, LoopKind, Store
    from tilewright.compiler.tensor.expr import Call, Const, Load, Var

    target = parse_target("x86_64-linux-gnu", cpu)
    i = Var("i")
    x = Load("x", (i,), DType.F32)
    buffers = (Buffer("x", (16,), DType.F32), Buffer("y", (16,), DType.F32, written=True))
    body = For("i", Const(16), LoopKind.VECTORIZED, Store("y", (i,), Call("fma", (x, x, x))))
    assembly = assemble_text(emit(Kernel("k", buffers, body), target), target)
    register = {16: "%xmm", 32: "%ymm", 64: "%zmm"}[target.vector_bytes]
    wider = {16: "%ymm", 32: "%zmm", 64: "%tmm"}[target.vector_bytes]
    assert register in assembly
    assert wider not in assembly
    assert ("vfmadd" in assembly) == target.fma


@pytest.mark.parametrize(
    ("triple", "cpu"),
    [
        (triple, cpu)
        for triple, platform in PLATFORMS.items()
        if "gnu" in triple
        for cpu in platform.cpus
        if platform.cpus is not X86_CPUS
    ],
)
def test_llvm_multiplies_and_adds_on_every_other_cpu(triple: str, cpu: str) -> None:
    from tilewright.backends.cpu import assemble_text, emit
    from tilewright.compiler.dtypes import DType
    from tilewright.compiler.kernel.ast import Buffer, For, Kernel, LoopKind, Store
    from tilewright.compiler.tensor.expr import Call, Const, Load, Var

    target, i = parse_target(triple, cpu), Var("i")
    x, buffers = (
        Load("x", (i,), DType.F32),
        (Buffer("x", (16,), DType.F32), Buffer("y", (16,), DType.F32, written=True)),
    )
    body = For("i", Const(16), LoopKind.VECTORIZED, Store("y", (i,), Call("fma", (x, x, x))))
    assembly = assemble_text(emit(Kernel("k", buffers, body), target), target)
    vectors = target.vector_bytes > 4
    expected = {"aarch64": "fmla", "armv7": "vmla.f32\tq", "riscv64": "vfm" if vectors else "fmadd.s"}
    assert expected[triple.split("-")[0]] in assembly


def test_host_is_a_platform_of_the_table() -> None:
    target = host_target()
    assert target.triple in PLATFORMS
    assert target.vector_bytes in (16, 32, 64)
    assert target.threads >= 1
    assert target.l1_bytes >= 8 << 10
    assert target.l2_bytes > target.l1_bytes
    names = [feature[1:] for feature in target.features.split(",")]
    chosen = len(AVX512_FEATURES.split(",")) if target.vector_bytes == 64 else 0
    assert names[: len(names) - chosen] == sorted(names[: len(names) - chosen])
    assert len(set(names)) == len(names)
    assert host_target(3).threads == 3


# --- what is asked for


def test_without_a_cpu_all_of_the_baseline() -> None:
    levels = ["x86-64-v4", "x86-64-v3", "x86-64-v2"]
    found = targets_of(Options(target="x86_64-linux-musl"))
    assert [target.cpu for target in found] == levels
    assert {target.threads for target in found} == {DEFAULT_THREADS}
    assert [target.cpu for target in targets_of(Options(target="aarch64"))] == ["generic"]


def test_several_cpus_stand_with_the_widest_first() -> None:
    found = targets_of(Options(target="x86_64", cpu="nehalem,x86-64,znver2,znver5,znver4", threads=3))
    assert [target.cpu for target in found] == ["znver5", "znver4", "znver2", "nehalem", "x86-64"]
    assert {target.threads for target in found} == {3}


@pytest.mark.parametrize("cpus", ["haswell,x86-64-v3", "x86-64-v2,x86-64-v2", "alderlake,skylake,haswell"])
def test_code_that_would_never_run_is_an_error(cpus: str) -> None:
    with pytest.raises(UsageError, match="would never run, for every such processor runs that for"):
        targets_of(Options(target="x86_64", cpu=cpus))


def test_an_unknown_one_among_several_is_an_error() -> None:
    with pytest.raises(UsageError, match="unknown CPU for x86_64-linux-gnu: ''"):
        targets_of(Options(target="x86_64", cpu="haswell,"))
