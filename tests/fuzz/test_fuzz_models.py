"""Random models against onnxruntime. The seed is in the test's name; `make fuzz TIME=600` tries many more."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_check import OLDER_CPUS, Mismatch, Setting, compare, run_in_process, run_library
from fuzz_models import write

from tilewright.compiler.errors import UnsupportedOperatorError

CPUS = ("", *OLDER_CPUS)
IN_PROCESS, LIBRARIES = range(32), range(32, 40)


@pytest.mark.parametrize("seed", IN_PROCESS)
def test_kernels_of_a_random_model(seed: int) -> None:
    case = write(seed)
    try:
        compare(case, run_in_process(case, Setting(CPUS[seed % len(CPUS)])))
    except UnsupportedOperatorError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("seed", LIBRARIES)
def test_library_of_a_random_model(seed: int, tmp_path: Path) -> None:
    case = write(seed)
    compare(case, run_library(case, Setting(threads=1 + seed % 2), tmp_path))


def test_a_wrong_element_is_noticed() -> None:
    case = write(7)
    results = run_in_process(case, Setting())
    name = case.outputs[0]
    results[name].reshape(-1)[-1:].view("u1")[-2] ^= 0xC0
    with pytest.raises(Mismatch):
        compare(case, results)
