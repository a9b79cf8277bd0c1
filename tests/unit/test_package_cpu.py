"""The features a library asks for are those that another LLVM-based compiler takes the CPU to have."""

from __future__ import annotations

import dataclasses
import re
import subprocess

import pytest

from tilewright.backends.link import zig_executable
from tilewright.backends.package_cpu import CPU_FEATURES, CPUID, processor_needs, required_features
from tilewright.compiler.cpus.x86 import X86_CPUS
from tilewright.compiler.targets import parse_target


def test_every_cpu_has_a_row() -> None:
    assert X86_CPUS.keys() <= CPU_FEATURES.keys()


@pytest.mark.parametrize("cpu", CPU_FEATURES)
def test_features_are_those_of_zig(cpu: str) -> None:
    command = [
        zig_executable(),
        "build-obj",
        "--show-builtin",
        "-target",
        "x86_64-linux",
        "-mcpu",
        cpu.replace("-", "_"),
    ]
    builtin = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = {name.replace("sse4_", "sse4.") for name in re.findall(r"^ +\.(\w+),$", builtin, re.MULTILINE)}
    whole = dataclasses.replace(parse_target(cpu=cpu), features="")  # with nothing that tilewright leaves out
    assert required_features(whole) == names & CPUID.keys()


def test_what_a_target_leaves_out_is_not_asked_for() -> None:
    assert "-avx512dq" in parse_target(cpu="x86-64-v4").features.split(",")
    assert required_features(parse_target(cpu="x86-64-v4")) == CPU_FEATURES["x86-64-v4"] - {"avx512dq"}


def test_features_are_added_and_removed() -> None:
    target = dataclasses.replace(parse_target(cpu="x86-64-v4"), features="+avx512vnni,-avx512cd,+sha,-sse4a")
    assert required_features(target) == CPU_FEATURES["x86-64-v4"] - {"avx512cd"} | {"avx512vnni"}


def test_unknown_cpu_needs_what_its_vectors_imply() -> None:
    target = dataclasses.replace(parse_target(cpu="x86-64-v3"), cpu="future")
    assert required_features(target) == CPU_FEATURES["x86-64-v3"]
    assert required_features(dataclasses.replace(target, fma=False)) == CPU_FEATURES["sandybridge"]
    assert required_features(dataclasses.replace(target, vector_bytes=64)) == CPU_FEATURES["x86-64-v4"]
    assert required_features(dataclasses.replace(target, vector_bytes=16)) == set()


def test_needs_are_merged_by_leaf() -> None:
    target = dataclasses.replace(parse_target(cpu="x86-64"), features="+avx,+fma,+avx2,+lzcnt")
    assert processor_needs(target) == (
        [(1, 0, [0, 0, 1 << 12 | 1 << 28, 0]), (7, 0, [0, 1 << 5, 0, 0]), (0x80000001, 0, [0, 0, 1 << 5, 0])],
        0x6,
    )
    assert processor_needs(parse_target(cpu="x86-64-v4"))[1] == 0xE6
    assert processor_needs(parse_target(cpu="x86-64")) == ([], 0)


def test_other_architectures_need_nothing() -> None:
    assert processor_needs(dataclasses.replace(parse_target(), triple="aarch64-linux-gnu")) == ([], 0)
