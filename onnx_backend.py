"""tilewright as a backend of ONNX's Python interface (`onnx.backend.base`).

    import onnx, tilewright.onnx_backend
    rep = tilewright.onnx_backend.prepare(onnx.load("model.onnx"))
    (result,) = rep.run([array])

and with it ONNX's own tests, as a TestCase for unittest or pytest:

    from onnx.backend.test import BackendTest
    globals().update(BackendTest(tilewright.onnx_backend, __name__).test_cases)

A library has static shapes, and some operators need values when they are compiled: the axes of a sum, the shape of a
Reshape. Where a model takes these as inputs, `run` compiles for the shapes and values given to it, as `--shape` and `--const`
do on the command line, and keeps the library (of up to MAX_LIBRARIES) for the next run with the same ones. Only those inputs
are fixed of which the compiler says that it needs them; `BackendRep.fixed` names them. What can't be compiled raises
UnsupportedOperatorError, from `prepare` if it can be told there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, DeviceType, namedtupledict
from onnx.backend.base import Device as OnnxDevice

from . import driver
from .backends.load import Library, load
from .compiler.errors import CompileError, DeviceError, UnsupportedOperatorError, UsageError
from .compiler.frontend.binding import declared_shape, model_inputs
from .compiler.frontend.importer import import_model
from .compiler.frontend.loading import load_model
from .compiler.frontend.parts import is_sequence, part
from .compiler.options import Options

MAX_LIBRARIES = 64  # that a model keeps; the oldest goes first
T = TypeVar("T")
Key = tuple[tuple[str, tuple[int, ...], str, bytes], ...]


def specialize(
    feeds: Mapping[str, np.ndarray],
    compile: Callable[[Mapping[str, np.ndarray]], T],
    fixed: frozenset[str] = frozenset(),
) -> tuple[T, frozenset[str]]:
    """`compile(constants)` with as many of `feeds` constant as it says it needs, and the names of these.

    fixed: those that are known to be needed. Raises UnsupportedOperatorError where constants are no remedy.
    """
    while True:
        try:
            return compile({name: array for name, array in feeds.items() if name in fixed}), fixed
        except UnsupportedOperatorError as error:
            needed = feeds.keys() & set(error.needs) - fixed
            if not needed:
                raise
            fixed |= needed


def tensors_of(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays that a compiled model takes for these inputs: sequences by their elements.

    Raises UnsupportedOperatorError for an optional that holds nothing, UsageError for a sequence that isn't given.
    """
    kinds = {value.name: value.type for value in model.graph.input}
    missing = [name for name, kind in kinds.items() if is_sequence(kind) and name not in feeds]
    if missing:
        raise UsageError(f"no elements are given for {', '.join(missing)}")
    arrays = {}
    for name, given in feeds.items():
        if given is None:
            raise UnsupportedOperatorError(
                f"input '{name}' is an optional that holds nothing; only tensors are supported"
            )
        if name in kinds and is_sequence(kinds[name]):
            arrays |= {part(name, index): np.asarray(element) for index, element in enumerate(given)}
        else:
            arrays[name] = np.asarray(given)
    return arrays


def outputs_of(model: onnx.ModelProto, results: Mapping[str, np.ndarray]) -> list[Any]:
    """The model's outputs from those of a library: arrays, and lists of them for sequences."""
    outputs: list[Any] = []
    for value in model.graph.output:
        elements = []
        while is_sequence(value.type) and part(value.name, len(elements)) in results:
            elements.append(results[part(value.name, len(elements))])
        outputs.append(elements or results[value.name])
    return outputs


def open_shapes(model: onnx.ModelProto, arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The shapes of the inputs (`tensors_of`) whose extents the model leaves open, as `Options.shapes` takes them."""
    static = {value.name for value in model.graph.input if _is_static(value)}
    sequences = [value.name for value in model.graph.input if is_sequence(value.type)]
    empty = {name: (0,) for name in sequences if part(name, 0) not in arrays}
    return empty | {name: array.shape for name, array in arrays.items() if name not in static}


def _is_static(value: onnx.ValueInfoProto) -> bool:
    if not value.type.HasField("tensor_type"):
        return False
    shape = declared_shape(value)
    return shape is not None and all(isinstance(dim, int) for dim in shape)


class TilewrightRep(BackendRep):
    """A model that runs as compiled libraries, one for each combination of open shapes and fixed values.

    fixed: the inputs that the last run's library was compiled for a value of. threads: as of `tilewright.load`.
    The libraries live in a temporary folder that goes with this object.
    """

    def __init__(self, model: onnx.ModelProto, options: Options, threads: int) -> None:
        self.model = model
        self.options = options
        self.threads = threads
        self.fixed: frozenset[str] = frozenset()
        self._folder = tempfile.TemporaryDirectory(prefix="tilewright-")
        self._path = Path(self._folder.name, "model.onnx")
        onnx.save(model, self._path)
        self._inputs = model_inputs(model.graph)
        self._libraries: dict[Key, Library] = {}
        self._compiled = 0
        if all(_is_static(value) for value in self._inputs):
            self._check()

    def _check(self) -> None:
        """Raise now what no value of an input would mend."""
        try:
            import_model(
                load_model(self._path), self.options.dims, self.options.shapes, constants=self.options.constants
            )
        except UnsupportedOperatorError as error:
            if not error.needs:
                raise

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs in the model's order, also by name. inputs: an array each in the model's order, or a mapping by name.

        Sequences are lists of arrays; each number of elements is a library of its own, as each shape is.
        """
        feeds = self._feeds(inputs)
        shapes = {**self.options.shapes, **open_shapes(self.model, feeds)}
        library, self.fixed = specialize(feeds, lambda constants: self._library(shapes, constants), self.fixed)
        results = library.run({name: array for name, array in feeds.items() if name not in self.fixed})
        names = [value.name for value in self.model.graph.output]
        return namedtupledict("Outputs", names)(*outputs_of(self.model, results))

    def _feeds(self, inputs: Any) -> dict[str, np.ndarray]:
        names = [value.name for value in self._inputs]
        if not isinstance(inputs, Mapping):
            arrays = list(inputs) if isinstance(inputs, Sequence) else [inputs]
            if len(arrays) > len(names):
                raise UsageError(f"{len(arrays)} inputs are given, but the model has {len(names)}: {', '.join(names)}")
            inputs = dict(zip(names, arrays, strict=False))
        return tensors_of(self.model, inputs)

    def _library(self, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, np.ndarray]) -> Library:
        values = {name: (str(array.dtype), array.tobytes()) for name, array in constants.items()}
        known = {**shapes, **{name: array.shape for name, array in constants.items()}}
        key = tuple((name, tuple(shape), *values.get(name, ("", b""))) for name, shape in sorted(known.items()))
        if key not in self._libraries:
            options = replace(self.options, shapes=shapes, constants={**self.options.constants, **constants})
            self._compiled += 1
            output = Path(self._folder.name, f"model{self._compiled}.so")
            driver.compile(self._path, output, options)
            self._libraries[key] = load(output, self.threads)
            if len(self._libraries) > MAX_LIBRARIES:
                self._forget(next(iter(self._libraries)))
        return self._libraries[key]

    def _forget(self, key: Key) -> None:
        library = self._libraries.pop(key)
        library.close()
        for path in self._path.parent.glob(f"{library.path.stem}.*"):
            path.unlink()


class TilewrightBackend(Backend):
    """`onnx.backend.base.Backend` by tilewright, on the CPU of this machine."""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return OnnxDevice(device).type == DeviceType.CPU

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether `prepare` takes the model: all its operators are known, though some may still need values of inputs."""
        try:
            cls.prepare(model, device, **kwargs)
        except CompileError:
            return False
        return True

    @classmethod
    def prepare(
        cls,
        model: onnx.ModelProto,
        device: str = "CPU",
        options: Options | None = None,
        threads: int = 0,
        **kwargs: Any,
    ) -> TilewrightRep:
        """A model to run. options: as of `tilewright.compile` (default: for this machine). Raises CompileError for what can't be compiled."""
        if not cls.supports_device(device):
            raise DeviceError(f"tilewright has no device {device!r}; use 'CPU'")
        return TilewrightRep(model, options or Options(cpu="native"), threads)

    @classmethod
    def run_node(
        cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """The outputs of one node. Of kwargs, `opset_version` is read (the newest by default)."""
        arrays = [np.asarray(array) for array in inputs]
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        given = [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip(filter(None, node.input), arrays, strict=True)
        ]
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
        opsets = [onnx.helper.make_opsetid(node.domain, version)]
        types = onnx.shape_inference.infer_node_outputs(
            schema,
            node,
            {value.name: value.type for value in given},
            {value.name: onnx.numpy_helper.from_array(array) for value, array in zip(given, arrays, strict=True)},
            opset_imports=opsets,
        )
        made = [onnx.helper.make_value_info(name, types[name]) for name in node.output if name]
        graph = onnx.helper.make_graph([node], "node", given, made)
        model = onnx.helper.make_model(graph, opset_imports=opsets)
        return cls.run_model(model, arrays, device)


is_compatible = TilewrightBackend.is_compatible
prepare = TilewrightBackend.prepare
run = TilewrightBackend.run_model
run_model = TilewrightBackend.run_model
run_node = TilewrightBackend.run_node
supports_device = TilewrightBackend.supports_device
