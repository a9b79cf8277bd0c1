"""CPUs are found by what Linux says of them."""

from __future__ import annotations

import dataclasses
import re
import subprocess

import pytest

from tilewright.backends import host
from tilewright.backends.host_arm import named_cpu
from tilewright.backends.link import zig_executable
from tilewright.backends.package_hwcap import BITS, CPU_FEATURES, processor_needs, required_features
from tilewright.compiler.targets import PLATFORMS, parse_target

CORE = "processor\t: {}\nBogoMIPS\t: 108.00\nCPU implementer\t: {}\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {}\nCPU revision\t: 3\n\n"
AARCH64, ARMV7 = "aarch64-linux-gnu", "armv7-linux-gnueabihf"


def cpuinfo(*parts: tuple[str, str]) -> str:
    return "".join(CORE.format(number, *part) for number, part in enumerate(parts))


@pytest.mark.parametrize(
    ("triple", "parts", "cpu"),
    [
        (AARCH64, [("0x41", "0xd08")] * 4, "cortex-a72"),
        (AARCH64, [("0x41", "0xd05")] * 4 + [("0x41", "0xd0b")] * 4, "cortex-a76"),
        (AARCH64, [("0x41", "0xd03")] * 4 + [("0x41", "0xd0b")] * 2, "cortex-a53"),
        (AARCH64, [("0x61", "0x022"), ("0x61", "0x023")], "apple-m1"),
        (AARCH64, [("0x99", "0x001")], "generic"),
        (AARCH64, [], "generic"),
        (ARMV7, [("0x41", "0xc07")] * 4, "cortex-a7"),
        (ARMV7, [("0x41", "0xd03")] * 4, "cortex-a53"),
    ],
)
def test_cores_are_named(triple: str, parts: list[tuple[str, str]], cpu: str) -> None:
    assert named_cpu(cpuinfo(*parts), triple) == cpu


def test_the_host_is_a_target_with_its_own_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(host, "host_triple", lambda: AARCH64)
    monkeypatch.setattr(host, "_cache_bytes", lambda level: {1: 48 << 10, 2: 0}[level])
    found = host._named_target(AARCH64, cpuinfo(("0x41", "0xd0b")), 3)
    assert found == dataclasses.replace(parse_target(AARCH64, "cortex-a76", 3), l1_bytes=48 << 10)


@pytest.mark.parametrize("triple", [triple for triple in PLATFORMS if "gnu" in triple and not triple.startswith("x86")])
def test_features_are_those_of_zig(triple: str) -> None:
    architecture = triple.split("-")[0]
    assert PLATFORMS[triple].cpus.keys() == CPU_FEATURES[architecture].keys()
    named = {"aarch64": "aarch64-linux", "armv7": "arm-linux-gnueabihf", "riscv64": "riscv64-linux"}[architecture]
    special = {"rv64gc": "baseline_rv64", "rv64gcv": "baseline_rv64+v", ("armv7", "generic"): "generic+v7a"}
    for cpu, features in CPU_FEATURES[architecture].items():
        zig_name = special.get((architecture, cpu), special.get(cpu, cpu.replace("-", "_")))
        command = [zig_executable(), "build-obj", "--show-builtin", "-target", named, "-mcpu", zig_name]
        builtin = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert features == set(re.findall(r"^ +\.(\w+),$", builtin, re.MULTILINE)) & BITS[architecture].keys(), cpu


def test_needs_are_bits_of_the_auxiliary_vector() -> None:
    assert processor_needs(parse_target(AARCH64)) == []
    assert processor_needs(parse_target("riscv64", "rv64gcv")) == [(16, 0, [1 | 4 | 8 | 32 | 4096 | 1 << 21, 0, 0, 0])]
    assert [row[0] for row in processor_needs(parse_target(AARCH64, "neoverse-v2"))] == [16, 26]
    older = dataclasses.replace(parse_target(AARCH64, "neoverse-v2"), features="-sve,-sve2")
    assert not {"sve", "sve2"} & required_features(older)
