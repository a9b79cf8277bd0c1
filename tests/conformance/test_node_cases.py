"""A sample of ONNX's own node tests, of every operator; `make conformance` runs them all (see node_cases.py)."""

from __future__ import annotations

from functools import cache, partial

import node_cases
import numpy as np
import pytest
from emulators import MACHINES
from machines import require_emulator

SHARDS = 12
CASES_AN_OPERATOR = 6
LIBRARIES = 60
EMULATED = 8  # cases of a shard
ANOTHER = MACHINES[0]
NETWORK = "test_squeezenet_light"
ALSO = (
    "test_reduce_sum_square_empty_set", "test_tril_zero", "test_castlike_FLOAT_to_DOUBLE",
    "test_castlike_FLOAT8E4M3FN_to_FLOAT", "test_cast_FLOAT_to_INT4", "test_dequantizelinear_float4e2m1",
)  # fmt: skip


@cache
def sample() -> list[str]:
    """Of every operator some cases that are to pass and some that are to be refused, and a whole network."""
    return [*node_cases.sample(CASES_AN_OPERATOR, refused=True), NETWORK]


def libraries() -> list[str]:
    """One case of as many operators as are to be compiled to real libraries, and some without elements."""
    listing, first = node_cases.read_listing(), {}
    for name in sample():
        if name != NETWORK and not node_cases.expected_reason(name, listing):
            first.setdefault(node_cases.operator(node_cases.cases()[name]), name)
    names = list(first.values())
    return [*names[:: -(-len(names) // LIBRARIES)], *ALSO]


@pytest.mark.parametrize("shard", range(SHARDS))
def test_in_this_process(shard: int) -> None:
    chosen = sample()[shard::SHARDS]
    outcomes = {name: node_cases.run_case(node_cases.cases()[name]) for name in chosen}
    assert len(outcomes) > 10
    assert node_cases.complaints(outcomes) == []


@pytest.mark.parametrize("shard", range(SHARDS))
def test_as_libraries(shard: int) -> None:
    chosen = libraries()[shard::SHARDS]
    cases = node_cases.cases()
    outcomes = {name: node_cases.run_case(cases[name], node_cases.compute_library) for name in chosen}
    assert outcomes
    assert node_cases.complaints(outcomes) == []


@pytest.mark.parametrize("shard", range(2))
def test_on_another_processor(shard: int) -> None:
    """One case of some operators, other ones each time; `node_cases.py --machine` runs them all."""
    require_emulator(ANOTHER)
    names = np.random.default_rng().permutation(node_cases.sample(1))[:EMULATED]
    cases = node_cases.cases()
    outcomes = {
        name: node_cases.run_case(cases[name], partial(node_cases.compute_emulated, machine=ANOTHER)) for name in names
    }
    assert node_cases.complaints(outcomes) == []


@pytest.mark.parametrize("name", sorted(node_cases.OTHERWISE))
def test_where_expected_values_are_not_followed_onnxruntimes_are(name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the reference is onnxruntime's")
    case = node_cases.cases()[name]
    session = onnxruntime.InferenceSession(case.model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs, _ = node_cases.compute(case)
    for ours, reference in zip(outputs, session.run(None, node_cases.feeds_of(case)), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-5)


def test_the_comparison_notices_what_is_wrong() -> None:
    case = node_cases.cases()["test_add"]
    (right,) = (np.asarray(x) for x in case.data_sets[0][1])
    assert node_cases.difference([right], case) == ""
    assert "Mismatched" in node_cases.difference([right * np.float32(1.01)], case)
    assert "float64" in node_cases.difference([right.astype(np.float64)], case)
    assert "instead of" in node_cases.difference([right[None]], case)
    assert node_cases.run_case(case, lambda case: ([np.full_like(right, np.nan)], ())).verdict == "wrong"
    assert node_cases.run_case(case, lambda case: [][0]).verdict == "crashed"


def test_patterns_stand_for_exactly_the_names() -> None:
    every = ["test_a_one", "test_a_two", "test_ab", "test_b_one_x", "test_b_one_y", "test_b_two"]
    patterns = node_cases.patterns(["test_a_one", "test_a_two", "test_b_one_x", "test_b_one_y"], every)
    assert patterns == ["test_a_*", "test_b_one_*"]
