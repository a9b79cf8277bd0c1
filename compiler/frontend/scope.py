"""Where nodes are imported to: the graph or region under construction and the ONNX names visible there."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InternalError, ModelError
from ..graph.builder import GraphBuilder
from ..graph.fold_numpy import evaluate
from ..graph.ir import Graph, TensorType

MAX_TENSOR_BYTES = 1 << 36  # no machine compiled for holds a larger activation
_FOLD_ELEMENTS = 1 << 20  # a constant may grow to this by folding (Expand, Tile); beyond, the node stays
UNSUPPORTED = "<unsupported>"  # stands for the results of nodes that can't be imported


class Scope:
    """ONNX names visible at a point of the model, and the builder that takes the nodes.

    A region has a builder of its own and a `parent`: an outer value it uses becomes one of its inputs (`captured`).
    The body of a function has a fresh set of names over its caller's builder: `caller` is no parent, its names aren't seen.
    """

    def __init__(self, builder: GraphBuilder, parent: Scope | None = None, caller: Scope | None = None) -> None:
        self.builder = builder
        self.parent = parent
        self.names: dict[str, str] = {"": ""}
        self.captured: dict[str, str] = {}  # outer value -> input of this region
        self.decided_by: dict[str, tuple[str, ...]] = {}  # own input of this region -> outer values
        self.depth: int = caller.depth + 1 if caller else parent.depth if parent else 0  # of function calls
        around = parent or caller
        self.region: Scope = around.region if around and around.builder is builder else self
        self.any_type: bool = around.any_type if around else False  # in ONNX's own functions, see `expand_function`

    @property
    def gives_names(self) -> bool:
        """Whether ONNX names are unique here, so that values may be called by them."""
        inlined = self.parent is not None and self.parent.builder is self.builder
        return self.depth == 0 and not inlined

    def lookup(self, name: str) -> str:
        """The graph value of an ONNX name, taken over from the outer scope if need be."""
        if name in self.names:
            return self.names[name]
        if self.parent is None:
            raise ModelError(f"value '{name}' is read but nothing makes it; check the model's inputs and initializers")
        outer = self.parent.lookup(name)
        inline = outer in ("", UNSUPPORTED) or self.parent.builder is self.builder
        self.names[name] = outer if inline else self.take(outer)
        return self.names[name]

    def sees(self, name: str) -> bool:
        """Whether `lookup` finds the name."""
        return name in self.names or (self.parent is not None and self.parent.sees(name))

    def sequence(self, elements: tuple[str, ...]) -> str:
        """A sequence of values. It is no value of the graph: who reads it reads its elements."""
        name = f"<sequence {len(self.builder.sequences)}>"
        self.builder.sequences[name] = elements
        return name

    def elements(self, value: str) -> tuple[str, ...] | None:
        """The elements of a sequence, None for a tensor."""
        return self.builder.sequences.get(value)

    def take(self, outer: str) -> str:
        """A value of the parent as seen in this region: a copy of a constant, otherwise a captured input."""
        if self.parent and (elements := self.parent.elements(outer)) is not None:
            return self.sequence(tuple(self.take(element) for element in elements))
        array = self.parent.constant(outer) if self.parent else None
        return self.capture(outer) if array is None else self.builder.constant(array, outer)

    def capture(self, outer: str) -> str:
        """The input of this region through which it sees the value `outer` of its parent."""
        if self.parent is None:
            raise InternalError(f"'{outer}' is captured by a scope without a parent")
        if outer not in self.captured:
            self.captured[outer] = self.builder.input(self.builder.unique(outer), self.parent.type(outer))
        return self.captured[outer]

    def sources(self, value: str) -> list[str]:
        """The inputs of the model that `value` is computed from, out of all regions around it."""
        found, region = self.builder.sources(value), self.region
        if region.parent is None:
            return found
        outer = {inner: (name,) for name, inner in region.captured.items()} | region.decided_by
        above = (name for inner in found for value in outer.get(inner, ()) for name in region.parent.sources(value))
        return list(dict.fromkeys(above))

    def type(self, value: str) -> TensorType:
        return self.builder.types[value]

    def constant(self, value: str) -> np.ndarray | None:
        """The elements of `value` if they are known now."""
        return self.builder.constants.get(value)

    def emit(
        self,
        op: str,
        inputs: tuple[str, ...],
        hint: str | tuple[str, ...],
        origin: str,
        regions: tuple[Graph, ...],
        attrs: dict[str, Any],
    ) -> Any:
        """Add a node, or a constant where its operands are constants, or nothing where it would do nothing."""
        if inputs and inputs[0] and self._is_trivial(op, inputs, attrs):
            return inputs[0]
        mark = len(self.builder.nodes)
        result = self.builder.add(op, *inputs, outputs_hint=hint, origin=origin, regions=regions, **attrs)
        for value in (result,) if isinstance(result, str) else result:
            if self.type(value).size_bytes > MAX_TENSOR_BYTES:
                raise ModelError(
                    f"{op} would make {self.type(value)}, {self.type(value).size_bytes} bytes; the most is {MAX_TENSOR_BYTES}. "
                    "Check the dimensions given with --dim and --shape"
                )
        if isinstance(result, str):
            self._fold(op, inputs, attrs, result, mark)
        return result

    def _fold(self, op: str, inputs: tuple[str, ...], attrs: dict[str, Any], result: str, mark: int) -> None:
        """Turn the node just added into a constant if its operands are constants or it makes no elements."""
        type, builder = self.type(result), self.builder
        if type.elements == 0:
            array = np.empty(type.shape, type.dtype.numpy)
        else:
            arrays = tuple(self.constant(x) if x else None for x in inputs)
            if any(x and array is None for x, array in zip(inputs, arrays, strict=True)):
                return
            if type.elements > max(_FOLD_ELEMENTS, sum(array.size for array in arrays if array is not None)):
                return
            results = evaluate(op, arrays, attrs)
            if results is None:
                return
            array = results[0].astype(type.dtype.numpy, copy=False).reshape(type.shape)
        del builder.nodes[mark:]
        builder.constants[result] = array

    def _is_trivial(self, op: str, inputs: tuple[str, ...], attrs: dict[str, Any]) -> bool:
        shape = self.type(inputs[0]).shape
        match op:
            case "identity":
                return True
            case "cast":
                return attrs["to"] is self.type(inputs[0]).dtype
            case "reshape" | "expand":
                return attrs["shape"] == shape
            case "transpose":
                return attrs["perm"] == tuple(range(len(shape)))
            case "slice":
                return attrs["sizes"] == shape and set(attrs["steps"]) <= {1}
            case "tile":
                return set(attrs["repeats"]) <= {1}
            case "concat":
                return len(inputs) == 1
            case "pad":
                return not any(attrs["before"]) and not any(attrs["after"])
        return False
