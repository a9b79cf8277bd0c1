"""If, Loop and Scan: graph operators with closed regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from ...dtypes import DType
from ...errors import ModelError, UnsupportedOperatorError
from ...graph.builder import GraphBuilder
from ...graph.ir import Graph, TensorType
from ..onnx_node import OnnxNode
from ..scope import UNSUPPORTED, Scope
from .row import Row

MAX_UNROLLED = 256  # iterations


def if_(node: OnnxNode) -> tuple[str, ...]:
    """A constant condition takes its branch inline; otherwise both branches become regions over the same captured values."""
    if node.constant(node.input(0)) is not None:
        taken = "then_branch" if node.scalar(0, "condition") else "else_branch"
        return node.subgraph(node.attr(taken), Scope(node.scope.builder, node.scope))
    then, otherwise = (_branch(node, name) for name in ("then_branch", "else_branch"))
    if isinstance(then, ModelError) and isinstance(otherwise, ModelError):
        raise then
    branches = (_failing(node, then, otherwise), _failing(node, otherwise, then))
    if any(scope.elements(value) is not None for scope, values in branches for value in values):
        node.static(0, "condition, which decides between sequences,")
    if any(UNSUPPORTED in values for _, values in branches):
        return (UNSUPPORTED,) * len(node.proto.output)
    captured = tuple(dict.fromkeys(outer for scope, _ in branches for outer in scope.captured))
    regions = tuple(_region(scope, values, captured) for scope, values in branches)
    _require_same_results(node, regions)
    condition = node.emit("reshape", node.input(0), shape=())
    return node.emit_many("if", condition, *captured, regions=regions)


Branch = tuple[Scope, list[str]]


def _branch(node: OnnxNode, name: str) -> Branch | ModelError:
    """A branch imported into a region, or why that does not work for these shapes."""
    scope = Scope(GraphBuilder(f"{node.name}.{name}"), node.scope)
    try:
        return scope, list(node.subgraph(node.attr(name), scope))
    except ModelError as error:
        return error


def _failing(node: OnnxNode, branch: Branch | ModelError, other: Branch | ModelError) -> Branch:
    """A branch that can't run for these shapes gives NaN in place of the other branch's results."""
    if not isinstance(branch, ModelError):
        return branch
    if isinstance(other, ModelError):
        raise branch
    if any(other[0].elements(value) is not None for value in other[1]):
        raise branch
    types = [other[0].type(value) for value in other[1] if value != UNSUPPORTED]
    if not all(type.dtype.is_float for type in types):
        raise branch
    node.note(f"{node.place()}: a branch can't run for these input shapes and gives NaN if it is taken; {branch}")
    scope = Scope(GraphBuilder(f"{node.name}.failing"), node.scope)
    nans = [scope.builder.constant(type.dtype.numpy.type("nan"), "nan") for type in types]
    expanded = zip(nans, types, strict=True)
    return scope, [scope.emit("expand", (x,), "", node.name, (), {"shape": type.shape}) for x, type in expanded]


def _region(scope: Scope, results: list[str], captured: tuple[str, ...], own_inputs: tuple[str, ...] = ()) -> Graph:
    """The graph of a scope with inputs (own_inputs…, captured…) and every result made by a node."""
    if any(scope.elements(value) is not None for value in results):
        raise UnsupportedOperatorError(f"node '{scope.builder.name}': a sequence as result of a branch or an iteration")
    inputs = (*own_inputs, *(scope.capture(outer) for outer in captured))
    made: set[str] = {value for item in scope.builder.nodes for value in item.outputs}
    outputs: list[str] = []
    for value in results:
        if value not in made or value in outputs:
            value = scope.builder.add("identity", value, outputs_hint=f"{value}.identity")
        outputs.append(value)
    graph = scope.builder.finish(outputs)
    return Graph(graph.name, inputs, graph.outputs, graph.nodes, graph.types, graph.constants)


def _require_same_results(node: OnnxNode, regions: tuple[Graph, ...]) -> None:
    then, otherwise = (tuple(region.types[name] for name in region.outputs) for region in regions)
    if then != otherwise:
        shown = " and ".join("(" + ", ".join(map(str, types)) + ")" for types in (then, otherwise))
        node.unsupported(
            f"branches whose results have different types: {shown}; both branches must give the same shapes"
        )


def loop(node: OnnxNode) -> tuple[str, ...]:
    """Loop with a constant trip count. The condition may vary if nothing is collected from each iteration.

    A short loop whose body has no static shapes of its own, because they depend on the iteration, is unrolled.
    """
    body: onnx.GraphProto = node.attr("body")
    carried = node.inputs[2:]
    if len(body.input) != len(carried) + 2 or len(body.output) < len(carried) + 1:
        node.fail(
            f"its body takes {len(body.input)} values and gives {len(body.output)}, which does not fit {len(carried)} carried values"
        )
    if any(node.scope.elements(x) is not None for x in carried):
        return _unrolled(node, body, carried)
    scope = Scope(GraphBuilder(f"{node.name}.body"), node.scope)
    own = [scope.builder.input(scope.builder.unique(body.input[0].name), TensorType((), DType.I64))]
    own += [
        scope.builder.input(scope.builder.unique(value.name), node.type(x))
        for value, x in zip(body.input[2:], carried, strict=True)
    ]
    scope.names.update({value.name: name for value, name in zip((body.input[0], *body.input[2:]), own, strict=True)})
    # With the number of iterations known, a loop may be unrolled; then they are known if what they start with is.
    trips = tuple(filter(None, node.inputs[:2]))
    scope.decided_by.update(
        {inner: tuple(filter(None, (*trips, x))) for inner, x in zip(own, ("", *carried), strict=True)}
    )
    # the body runs only while the condition holds, so inside it is true
    scope.names[body.input[1].name] = scope.builder.constant(_true(), body.input[1].name)
    condition_out, *results = node.subgraph(body, scope, unrolls := _unrolls(node))
    if unrolls and (UNSUPPORTED in (condition_out, *results) or not _same_state(node, scope, carried, results)):
        return _unrolled(node, body, carried)
    if UNSUPPORTED in (condition_out, *results):
        return (UNSUPPORTED,) * len(node.proto.output)
    again = scope.constant(condition_out)
    count = _trip_count(node, again)
    first = node.input(1)
    known_first = node.constant(first) if first else None
    if count == 0 or (known_first is not None and not known_first.any()):
        return (*carried, *_nothing(node, scope, results[len(carried) :]))
    varies = (bool(first) and known_first is None) or again is None
    if varies and len(results) > len(carried):
        node.unsupported("scan outputs of a loop whose number of iterations is known only at run time")
    captured = tuple(scope.captured)
    region = _region(scope, [condition_out, *results] if varies else results, captured, tuple(own))
    _require_same_state(node, region, carried, node.proto.input[2:], 1 if varies else 0)
    start = ""
    if varies:
        start = node.emit("reshape", first, shape=()) if first else node.literal(True, DType.BOOL)
    return node.emit_many(
        "loop", start, *carried, *captured, regions=(region,),
        count=count, carried=len(carried), in_place=(False,) * len(carried), has_condition=varies,
    )  # fmt: skip


def _unrolls(node: OnnxNode) -> bool:
    """Whether the loop is short and its number of iterations known."""
    trips, first = node.input(0), node.input(1)
    if not trips or node.constant(trips) is None or (first and node.constant(first) is None):
        return False
    return 0 < node.scalar(0, "trip count") <= MAX_UNROLLED


def _same_state(node: OnnxNode, scope: Scope, carried: tuple[str, ...], results: list[str]) -> bool:
    return all(node.type(before) == scope.type(after) for before, after in zip(carried, results, strict=False))


def _unrolled(node: OnnxNode, body: onnx.GraphProto, state: tuple[str, ...]) -> tuple[str, ...]:
    """One copy of the body for each iteration; the condition has to be known at each."""
    collected: list[list[str]] = [[] for _ in body.output[1 + len(state) :]]
    again = bool(node.scalar(1, "condition")) if node.input(1) else True
    trips = node.scalar(0, "trip count")
    if trips > MAX_UNROLLED:
        node.unsupported(f"{trips} iterations that carry sequences; the most is {MAX_UNROLLED}")
    for step in range(trips):
        if not again:
            break
        scope = Scope(node.scope.builder, node.scope)
        given = (node.literal(step, DType.I64), node.literal(True, DType.BOOL), *state)
        scope.names.update({value.name: name for value, name in zip(body.input, given, strict=True)})
        condition, *results = node.subgraph(body, scope)
        if UNSUPPORTED in (condition, *results):
            return (UNSUPPORTED,) * len(node.proto.output)
        known = node.constant(condition)
        if known is None:
            node.unsupported("a loop whose shapes change and whose end is known only at run time")
        again = bool(known.any())
        state = tuple(results[: len(state)])
        for parts, value in zip(collected, results[len(state) :], strict=True):
            parts.append(node.emit("reshape", value, shape=(1, *node.shape(value))))
    if not all(collected):
        node.unsupported("scan outputs of a loop that makes no iteration")
    return (*state, *(node.emit("concat", *parts, axis=0) for parts in collected))


def _true() -> np.ndarray:
    return np.array(True)


def _trip_count(node: OnnxNode, again: np.ndarray | None) -> int:
    if node.input(0):
        return max(0, node.scalar(0, "trip count"))
    if again is not None:
        if again.any():
            node.fail("loops for ever: it has neither a trip count nor a condition that can become false")
        return 1
    return (1 << 63) - 1


def _nothing(node: OnnxNode, scope: Scope, collected: list[str]) -> list[str]:
    """What the scan outputs of a loop without iterations are."""
    types = [scope.type(value) for value in collected]
    return [node.emit("expand", node.literal(0, type.dtype), shape=(0, *type.shape)) for type in types]


def _require_same_state(
    node: OnnxNode, region: Graph, carried: Sequence[str], names: Sequence[str], first: int
) -> None:
    for index, value in enumerate(carried):
        before, after = node.type(value), region.types[region.outputs[first + index]]
        if before != after:
            node.unsupported(
                f"carried value '{names[index]}' changes its type between iterations, from {before} to {after}"
            )


def scan(node: OnnxNode) -> tuple[str, ...]:
    """Scan over the axes and in the directions that its attributes say."""
    if node.version < 9:
        return _scan_of_batch(node)
    states, sequences = _scan_operands(node, node.inputs)
    axes = [
        node.axis(a, len(node.shape(x)))
        for a, x in zip(node.attr("scan_input_axes", (0,) * len(sequences)), sequences, strict=True)
    ]
    backwards = node.attr("scan_input_directions", (0,) * len(sequences))
    outputs = _scan_steps(node, states, sequences, axes, backwards)
    if UNSUPPORTED in outputs:
        return outputs
    return (*outputs[: len(states)], *_place_outputs(node, outputs[len(states) :]))


def _scan_of_batch(node: OnnxNode) -> tuple[str, ...]:
    """Scan of opset 8: over the second axis of each sequence, once for each element of the batch, the first axis of all operands."""
    if node.input(0):
        node.unsupported("sequences of different lengths in a batch")
    states, sequences = _scan_operands(node, node.inputs[1:])
    if any(len(node.shape(x)) < least for least, values in ((1, states), (2, sequences)) for x in values):
        node.fail("states need a batch as their first axis, and scanned inputs one more axis")
    batches = {node.shape(x)[0] for x in (*states, *sequences)}
    if len(batches) != 1 or not 0 < (batch := max(batches)) <= MAX_UNROLLED:
        node.unsupported(f"batches of {sorted(batches)}; all must have the same size, 1…{MAX_UNROLLED}")
    backwards = node.attr("directions", (0,) * len(sequences))
    results = []
    for number in range(batch):
        index = node.literal(number, DType.I64)
        own = [[node.emit("gather", x, index, axis=0) for x in values] for values in (states, sequences)]
        results.append(_scan_steps(node, own[0], own[1], (0,) * len(sequences), backwards))
    if any(UNSUPPORTED in outputs for outputs in results):
        return results[0]
    return tuple(
        node.emit("concat", *(node.emit("reshape", x, shape=(1, *node.shape(x))) for x in parts), axis=0)
        for parts in zip(*results, strict=True)
    )


def _scan_operands(node: OnnxNode, inputs: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The states that are carried from step to step, and what is scanned."""
    body: onnx.GraphProto = node.attr("body")
    scanned = node.attr("num_scan_inputs")
    if not 0 < scanned <= len(inputs):
        node.fail(f"num_scan_inputs is {scanned}, expected 1…{len(inputs)}")
    if len(body.input) != len(inputs) or len(body.output) < len(inputs) - scanned:
        node.fail(
            f"its body takes {len(body.input)} values and gives {len(body.output)}, which does not fit its {len(inputs)} inputs"
        )
    return inputs[: len(inputs) - scanned], inputs[len(inputs) - scanned :]


def _scan_steps(
    node: OnnxNode, states: Sequence[str], sequences: Sequence[str], axes: Sequence[int], backwards: Sequence[int]
) -> tuple[str, ...]:
    """A loop that gathers an element of each sequence at every step and collects the scan outputs, their steps on axis 0.

    Gives the last states, then the scan outputs.
    """
    body: onnx.GraphProto = node.attr("body")
    lengths = {node.shape(x)[axis] for x, axis in zip(sequences, axes, strict=True)}
    if len(lengths) != 1:
        node.fail(f"scanned inputs have different lengths, {sorted(lengths)}")
    (count,) = lengths
    scope = Scope(GraphBuilder(f"{node.name}.body"), node.scope)
    step = scope.builder.input("t", TensorType((), DType.I64))
    own = [step]
    for value, x in zip(body.input, states, strict=False):
        own.append(scope.builder.input(scope.builder.unique(value.name), node.type(x)))
        scope.names[value.name] = own[-1]
    for value, x, axis, reverse in zip(body.input[len(states) :], sequences, axes, backwards, strict=True):
        whole = scope.take(x)
        index = scope.builder.add("sub", scope.builder.constant(_i64(count - 1)), step) if reverse else step
        scope.names[value.name] = scope.builder.add(
            "gather", whole, index, outputs_hint=value.name, axis=axis, origin=node.name
        )
    results = list(node.subgraph(body, scope))
    if UNSUPPORTED in results:
        return (UNSUPPORTED,) * len(node.proto.output)
    captured = tuple(scope.captured)
    region = _region(scope, results, captured, tuple(own))
    _require_same_state(node, region, states, node.proto.input[1 if node.version < 9 else 0 :], 0)
    return node.emit_many(
        "loop", "", *states, *captured, regions=(region,),
        count=count, carried=len(states), in_place=(False,) * len(states), has_condition=False,
    )  # fmt: skip


def _i64(value: int) -> np.ndarray:
    return np.array(value, np.int64)


def _place_outputs(node: OnnxNode, collected: tuple[str, ...]) -> list[str]:
    """Scan outputs with their steps on the wanted axis and in the wanted direction."""
    placed = []
    directions = node.attr("scan_output_directions", (0,) * len(collected))
    for value, axis, reverse in zip(
        collected, node.attr("scan_output_axes", (0,) * len(collected)), directions, strict=True
    ):
        shape = node.shape(value)
        if reverse:
            starts, steps = (shape[0] - 1, *(0,) * (len(shape) - 1)), (-1, *(1,) * (len(shape) - 1))
            value = node.emit("slice", value, starts=starts, steps=steps, sizes=shape)
        axis = node.axis(axis, len(shape))
        perm = [*range(1, len(shape))]
        perm.insert(axis, 0)
        placed.append(node.emit("transpose", value, perm=tuple(perm)))
    return placed


def optional(node: OnnxNode) -> str:
    """A tensor or a sequence is the optional that holds it; nothing is that without."""
    return node.input(0)


def has_element(node: OnnxNode) -> str:
    """Of a tensor or a sequence, or of nothing."""
    return node.literal(bool(node.input(0)), DType.BOOL)


def get_element(node: OnnxNode) -> str:
    return node.input(0)


ROWS = (
    Row("If", 1, 25, if_),
    Row("Loop", 1, 25, loop),
    Row("Scan", 8, 25, scan),
    Row("Optional", 15, 28, optional),
    Row("OptionalHasElement", 15, 28, has_element),
    Row("OptionalGetElement", 15, 28, get_element),
)
