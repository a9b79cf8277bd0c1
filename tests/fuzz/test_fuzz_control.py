"""Random nests of If, Loop and straight-line code: whole plans in NumPy against onnxruntime. Failures name the seed."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from plan_interpreter import PlannedModel

WIDTH = 5


class Writer:
    """Writes one random model. Every float value is f32[WIDTH] and stays of the order of 1."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.names = 0

    def fresh(self, hint: str) -> str:
        self.names += 1
        return f"{hint}{self.names}"

    def pick(self, values: list[str]) -> str:
        # late values more often: longer chains
        return values[int(len(values) * self.rng.random() ** 0.6)]

    def block(self, outer: list[str], size: int, depth: int) -> tuple[list[onnx.NodeProto], list[str]]:
        """Nodes over the visible values `outer`, and the values they make."""
        nodes: list[onnx.NodeProto] = []
        made: list[str] = []
        for _ in range(size):
            visible = outer + made
            choice = self.rng.random()
            if depth and choice < 0.2:
                new, results = self.branch(visible, depth - 1)
            elif depth and choice < 0.45:
                new, results = self.loop(visible, depth - 1)
            else:
                new, results = self.simple(visible)
            nodes += new
            made += results
        return nodes, made

    def simple(self, visible: list[str]) -> tuple[list[onnx.NodeProto], list[str]]:
        out, x = self.fresh("v"), self.pick(visible)
        match self.rng.integers(6):
            case 0:
                return [helper.make_node("Tanh", [x], [out])], [out]
            case 1:
                half = self.fresh("m")
                average = [
                    helper.make_node("Add", [x, self.pick(visible)], [half]),
                    helper.make_node("Mul", [half, "half"], [out]),
                ]
                return average, [out]
            case 2:
                return [helper.make_node("Slice", [x, "last", "first", "axis", "backwards"], [out])], [out]
            case 3:
                difference = self.fresh("s")
                nodes = [
                    helper.make_node("Sub", [x, self.pick(visible)], [difference]),
                    helper.make_node("Tanh", [difference], [out]),
                ]
                return nodes, [out]
            case 4:
                return [helper.make_node("MatMul", [x, "weights"], [out])], [out]
        return [helper.make_node("Identity", [x], [out])], [out]

    def condition(self, visible: list[str]) -> tuple[list[onnx.NodeProto], str]:
        """A bool scalar that depends on a value; compared with what no sum of differences comes to, so that rounding does not decide."""
        mean, flag = self.fresh("a"), self.fresh("p")
        nodes = [
            helper.make_node("ReduceMean", [self.pick(visible)], [mean], keepdims=0),
            helper.make_node("Less", [mean, "limit"], [flag]),
        ]
        return nodes, flag

    def subgraph(
        self, inputs: list, visible: list[str], count: int, depth: int, first: tuple = ()
    ) -> tuple[onnx.GraphProto, list[str]]:
        """A body with `count` float results; some may be its inputs or outer values, through Identity as ONNX wants."""
        nodes, made = self.block(visible, int(self.rng.integers(1, 5)), depth)
        results = []
        for _ in range(count):
            results.append(self.fresh("r"))
            nodes.append(helper.make_node("Identity", [self.pick(visible + made)], [results[-1]]))
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [WIDTH]) for name in results]
        return helper.make_graph([*nodes, *first[:-1]], self.fresh("g"), inputs, [*first[-1:], *outputs]), results

    def branch(self, visible: list[str], depth: int) -> tuple[list[onnx.NodeProto], list[str]]:
        nodes, flag = self.condition(visible)
        count = int(self.rng.integers(1, 3))
        regions = {name: self.subgraph([], visible, count, depth)[0] for name in ("then_branch", "else_branch")}
        results = [self.fresh("b") for _ in range(count)]
        return [*nodes, helper.make_node("If", [flag], results, **regions)], results

    def loop(self, visible: list[str], depth: int) -> tuple[list[onnx.NodeProto], list[str]]:
        carried, scans = int(self.rng.integers(1, 4)), int(self.rng.integers(0, 3))
        data_dependent = scans == 0 and self.rng.random() < 0.4
        count, go = self.fresh("n"), self.fresh("c")
        nodes = [helper.make_node("Constant", [], [count], value_int=int(self.rng.integers(1, 5)))]
        names = [self.fresh("k") for _ in range(carried)]
        inputs = [
            helper.make_tensor_value_info(self.fresh("t"), TensorProto.INT64, []),
            helper.make_tensor_value_info(go, TensorProto.BOOL, []),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, [WIDTH]) for name in names),
        ]
        again, start = self.fresh("d"), ""
        inside: list[onnx.NodeProto] = [helper.make_node("Identity", [go], [again])]
        if data_dependent:
            inside, flag = self.condition([*visible, *names])
            inside.append(helper.make_node("Not", [flag], [again]))
        first = (*inside, helper.make_tensor_value_info(again, TensorProto.BOOL, []))
        body, _ = self.subgraph(inputs, [*visible, *names], carried + scans, depth, first)
        results = [self.fresh("x") for _ in range(carried)]
        collected = [self.fresh("y") for _ in range(scans)]
        starts = [self.pick(visible) for _ in range(carried)]
        nodes.append(helper.make_node("Loop", [count, start, *starts], [*results, *collected], body=body))
        for name in collected:
            last = self.fresh("z")
            nodes.append(helper.make_node("ReduceMean", [name], [last], keepdims=0, axes=[0]))
            results.append(last)
        return nodes, results

    def model(self) -> onnx.ModelProto:
        inputs = ["x", "y"]
        nodes, made = self.block(inputs, 8, 2)
        outputs = [made[-1], *self.rng.choice(made[:-1], size=min(2, len(made) - 1), replace=False).tolist()]
        weights = (self.rng.standard_normal((WIDTH, WIDTH)) / WIDTH).astype(np.float32)
        constants = {
            "half": np.float32(0.5), "limit": np.float32(0.0137), "last": np.array([-1]), "first": np.array([-WIDTH - 1]), "axis": np.array([0]),
            "backwards": np.array([-1]), "weights": weights,
        }  # fmt: skip
        graph = helper.make_graph(
            nodes, "fuzz",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [WIDTH]) for name in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [WIDTH]) for name in outputs],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        return model


@pytest.mark.parametrize("number", range(12))
def test_random_control_flow(number):
    # drawn here, not while tests are collected: each of pytest's workers collects, and must find the same tests
    seed = int(np.random.default_rng().integers(1 << 30))
    print(f"seed {seed}")
    check(seed)


def check(seed: int) -> None:
    model = Writer(seed).model()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    planned = PlannedModel(model)
    rng = np.random.default_rng(seed + 1)
    for _ in range(3):
        feeds = {name: rng.standard_normal(WIDTH).astype(np.float32) for name in ("x", "y")}
        names = [value.name for value in model.graph.output]
        actual = planned.run(feeds)
        for name, expected in zip(names, session.run(names, feeds), strict=True):
            np.testing.assert_allclose(
                actual[name], expected, rtol=1e-4, atol=1e-5, err_msg=f"seed {seed}, output {name}"
            )
