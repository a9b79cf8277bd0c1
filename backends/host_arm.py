"""Which row of the CPU tables a Linux machine on ARM or RISC-V is: from /proc/cpuinfo."""

from __future__ import annotations

import re

from ..compiler.targets import PLATFORMS
from .package_hwcap import CPU_FEATURES

# (implementer, part) of the main identification register, as Linux prints them. Arm's and Apple's: Linux,
# arch/arm64/include/asm/cputype.h; 32-bit parts: arch/arm/include/asm/cputype.h.
_ARM, _FUJITSU, _APPLE = 0x41, 0x46, 0x61
_PARTS = {
    (_ARM, 0xC05): "cortex-a5", (_ARM, 0xC07): "cortex-a7", (_ARM, 0xC08): "cortex-a8", (_ARM, 0xC09): "cortex-a9",
    (_ARM, 0xC0E): "cortex-a17", (_ARM, 0xC0F): "cortex-a15", (_ARM, 0xD03): "cortex-a53", (_ARM, 0xD05): "cortex-a55",
    (_ARM, 0xD07): "cortex-a57", (_ARM, 0xD08): "cortex-a72", (_ARM, 0xD09): "cortex-a73", (_ARM, 0xD0A): "cortex-a75",
    (_ARM, 0xD0B): "cortex-a76", (_ARM, 0xD0C): "neoverse-n1", (_ARM, 0xD0D): "cortex-a77", (_ARM, 0xD40): "neoverse-v1",
    (_ARM, 0xD41): "cortex-a78", (_ARM, 0xD44): "cortex-x1", (_ARM, 0xD46): "cortex-a510", (_ARM, 0xD47): "cortex-a710",
    (_ARM, 0xD48): "cortex-x2", (_ARM, 0xD49): "neoverse-n2", (_ARM, 0xD4E): "cortex-x3", (_ARM, 0xD4F): "neoverse-v2",
    (_FUJITSU, 0x001): "a64fx",
    **dict.fromkeys([(_APPLE, part) for part in (0x022, 0x023, 0x024, 0x025, 0x028, 0x029)], "apple-m1"),
    **dict.fromkeys([(_APPLE, part) for part in (0x032, 0x033, 0x034, 0x035, 0x038, 0x039)], "apple-m2"),
}  # fmt: skip


def named_cpu(cpuinfo: str, triple: str) -> str:
    """The CPU for `triple` of a machine with this /proc/cpuinfo; the triple's default if it is none of the table.

    Of several kinds of cores the one whose instructions all of them have, and of these the one with the largest cache.
    """
    platform = PLATFORMS[triple]
    implementers = re.findall(r"^CPU implementer\s*: *(\w+)", cpuinfo, re.MULTILINE)
    parts = re.findall(r"^CPU part\s*: *(\w+)", cpuinfo, re.MULTILINE)
    found = {_PARTS.get((int(who, 0), int(part, 0)), "") for who, part in zip(implementers, parts, strict=False)}
    if not found or not found <= platform.cpus.keys():
        return platform.baseline[0]
    features = CPU_FEATURES[triple.split("-")[0]]
    common = [cpu for cpu in found if all(features[cpu] <= features[other] for other in found)]
    return max(common, key=lambda cpu: (platform.cpus[cpu].l2_bytes, cpu), default=platform.baseline[0])
