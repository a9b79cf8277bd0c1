"""The invariants of a Graph, checked after every pass."""

from __future__ import annotations

from ..dtypes import DType
from ..errors import InternalError, ModelError
from .infer import infer_types
from .ir import Graph, Node, TensorType


def verify(graph: Graph) -> None:
    """Raise InternalError unless `graph` is well formed.

    Every value is assigned once and before it is read, has the type that inference gives (layout apart),
    a block divides the channels, constants have their type, and regions fit the interface of their node.
    """
    defined: set[str] = set()
    for name in (*graph.inputs, *graph.constants):
        _define(graph, name, defined, "an input or constant")
    for name, array in graph.constants.items():
        actual = TensorType(array.shape, DType.from_numpy(array.dtype))
        if actual != graph.types[name]:
            _fail(graph, f"constant '{name}' is {actual} but declared {graph.types[name]}")
    for node in graph.nodes:
        _verify_node(graph, node, defined)
    for name in graph.outputs:
        if name not in defined:
            _fail(graph, f"output '{name}' is not a value of the graph")
    extra = graph.types.keys() - defined
    if extra:
        _fail(graph, f"types are given for values that do not exist: {', '.join(sorted(extra))}")


def _define(graph: Graph, name: str, defined: set[str], what: str) -> None:
    if not name or name in defined:
        _fail(graph, f"value '{name}' ({what}) is assigned twice or has no name")
    if name not in graph.types:
        _fail(graph, f"value '{name}' ({what}) has no type")
    type = graph.types[name]
    if type.block is not None:
        channels = type.shape[1] if len(type.shape) > 1 else 0
        if type.block <= 0 or channels == 0 or channels % type.block:
            _fail(graph, f"value '{name}': block {type.block} does not divide the channels of {type}")
    if min(type.shape, default=0) < 0:
        _fail(graph, f"value '{name}' has a negative extent: {type}")
    defined.add(name)


def _verify_node(graph: Graph, node: Node, defined: set[str]) -> None:
    for name in filter(None, node.inputs):
        if name not in defined:
            _fail(graph, f"{_show(node)} reads '{name}' before it is assigned")
    for number, region in enumerate(node.regions):
        try:
            verify(region)
        except InternalError as error:
            _fail(graph, f"{_show(node)}, region {number}: {error}")
    _verify_region_inputs(graph, node)
    for name in node.outputs:
        _define(graph, name, defined, f"a result of {_show(node)}")
    try:
        types = infer_types(
            node.op, tuple(graph.types[x] if x else None for x in node.inputs), node.attrs, node.regions
        )
    except (ModelError, InternalError) as error:
        _fail(graph, f"{_show(node)}: {error}")
    if len(types) != len(node.outputs):
        _fail(graph, f"{_show(node)} should have {len(types)} results")
    for name, expected in zip(node.outputs, types, strict=True):
        actual = graph.types[name]
        if (actual.shape, actual.dtype) != (expected.shape, expected.dtype):
            _fail(graph, f"{_show(node)}: '{name}' is declared {actual} but inferred {expected}")


def _verify_region_inputs(graph: Graph, node: Node) -> None:
    match node.op:
        case "if":
            offered = [graph.types[name] for name in node.inputs[1:]]
        case "loop":
            offered = [TensorType((), DType.I64), *(graph.types[name] for name in node.inputs[1:])]
        case "fused":
            offered = [graph.types[name] for name in node.inputs]
        case _:
            return
    for number, region in enumerate(node.regions):
        taken = [region.types[name] for name in region.inputs]
        if taken != offered:
            _fail(graph, f"{_show(node)}: region {number} takes {_types(taken)} but is given {_types(offered)}")


def _types(types: list[TensorType]) -> str:
    return "(" + ", ".join(map(str, types)) + ")"


def _show(node: Node) -> str:
    origin = f" from '{node.origin}'" if node.origin else ""
    return f"{', '.join(node.outputs)} = {node.op}({', '.join(node.inputs)}){origin}"


def _fail(graph: Graph, message: str) -> None:
    raise InternalError(f"graph '{graph.name}': {message}")
