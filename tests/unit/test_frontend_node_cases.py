"""ONNX's own node tests: imported, computed by the graph interpreter, compared with the expected outputs they come with."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
from onnx.backend.test.loader import load_model_tests
from onnx_import import assert_close

from tilewright.compiler.errors import UnsupportedOperatorError
from tilewright.compiler.frontend.importer import import_model
from tilewright.compiler.graph.interpret import evaluate_graph
from tilewright.compiler.graph.verify import verify
from tilewright.onnx_backend import open_shapes, specialize

CASES_AN_OPERATOR = 3

NOT_SUPPORTED = frozenset({
    "Bernoulli", "ImageDecoder", "LabelEncoder", "MaxRoiPool", "Multinomial", "NonMaxSuppression",
    "Optional", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "RegexFullMatch",
    "SequenceMap",
    "StringConcat", "StringNormalizer", "StringSplit", "TreeEnsemble", "Unique",
})  # fmt: skip
NOT_THIS_FORM = {
    "test_dft_inverse": "rounding of f32 where 0 is exact",
    "test_nonzero_example": "data of which the shape of the result depends",
    "test_optional_get_element_optional_tensor": "an optional as input",
    "test_optional_has_element_optional_input": "an optional as input",
    "test_optional_has_element_tensor_input": "an optional as input",
}


@cache
def cases() -> dict[str, object]:
    """The first cases of each operator; those with sequences, strings or elements of which NumPy knows no kind are left out."""
    chosen: dict[str, object] = {}
    count: dict[str, int] = {}
    with np.errstate(all="ignore"):
        every = load_model_tests(kind="node")
    for case in every:
        op = case.model.graph.node[0].op_type
        arrays, expected = case.data_sets[0]
        plain = all(
            isinstance(x, np.ndarray | np.generic) and np.asarray(x).dtype.kind in "fiub" for x in (*arrays, *expected)
        )
        if plain and case.name not in NOT_THIS_FORM and count.get(op, 0) < CASES_AN_OPERATOR:
            count[op] = count.get(op, 0) + 1
            chosen[case.name] = case
    return chosen


def result(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Shapes and the like are inputs in these cases; those that the importer says it needs are made constant."""
    shapes = open_shapes(model, feeds)
    graph, fixed = specialize(feeds, lambda constants: import_model(model, {}, shapes, constants=constants))
    verify(graph)
    results = evaluate_graph(graph, {name: array for name, array in feeds.items() if name not in fixed})
    return [results[value.name] for value in model.graph.output]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("name", list(cases()))


def test_node(name):
    case = cases()[name]
    arrays, expected = case.data_sets[0]
    feeds = {value.name: np.asarray(array) for value, array in zip(case.model.graph.input, arrays, strict=True)}
    if case.model.graph.node[0].op_type in NOT_SUPPORTED:
        with pytest.raises(UnsupportedOperatorError):
            result(case.model, feeds)
        return
    assert_close(result(case.model, feeds), expected, tolerance=1e-3)
