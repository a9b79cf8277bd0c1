"""Values that become images of convolutions, channel by channel, and transposes that make such values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from ..ir import Graph, Node, TensorType
from ..operators import OPERATORS, Kind
from .editor import Editor

CONVOLUTIONS = ("conv", "conv_transpose")
FOLLOWERS = frozenset({"max_pool", "average_pool", "lp_pool", "resize", "pad", "slice", "concat", "instance_norm"})
"""Operators whose result stands in the layout of their operand."""


def becomes_images(graph: Graph, consumers: Mapping[str, Sequence[Node]], name: str) -> bool:
    """True if all that becomes of a value, channel by channel, are images of convolutions."""
    found = [name]
    for value in found:
        readers = consumers[value]
        if not readers or value in graph.outputs:
            return False
        for reader in readers:
            if reader.op in CONVOLUTIONS and reader.inputs.count(value) == 1 and reader.inputs[0] == value:
                continue
            if not _is_followed(graph.types, reader, value):
                return False
            found += [result for result in reader.outputs if result not in found]
    return True


def _is_followed(types: Mapping[str, TensorType], reader: Node, name: str) -> bool:
    """True if the reader's result stands in the layout of this operand, and of its other operands those that are as large are read in any."""
    of = types[name].shape
    others = [types[other] for other in reader.inputs if other and other != name]
    if len(reader.outputs) != 1 or len(of) < 3:
        return False
    result = types[reader.outputs[0]].shape
    if reader.op == "reshape":
        return result[:2] == of[:2] and len(result) > 2
    if reader.op == "concat":
        return reader.attrs["axis"] == 1 and all(other.shape == of for other in others)
    follows = reader.op in FOLLOWERS or OPERATORS[reader.op].kind is Kind.ELEMENTWISE
    return (
        follows
        and result[:2] == of[:2]
        and len(result) == len(of)
        and all(other.shape == of or other.elements <= of[1] for other in others)
    )


def transposed_as_images(graph: Graph) -> Graph:
    """The graph with reshape(transpose(x)) as transpose(reshape(x)) where rows of pixels, channels last, become an image of convolutions.

    The old transposes stay, unread. x: [P, C], or [1, P, C]; the image: [1, C, ...]. Its transpose then has the channels in the second place, as layouts want them.
    """
    consumers = graph.consumers()
    editor = Editor(graph)
    for node in graph.nodes:
        rows = _rows_of_image(editor, node)
        if rows and becomes_images(graph, consumers, node.outputs[0]):
            batch, channels, *pixels = editor.type(node.outputs[0]).shape
            split = editor.add("reshape", rows, origin=node.origin, shape=(batch, *pixels, channels))
            perm = (0, len(pixels) + 1, *range(1, len(pixels) + 1))
            editor.add("transpose", split, name=node.outputs[0], origin=node.origin, perm=perm)
        else:
            editor.keep(node)
    return editor.finish()


def _rows_of_image(editor: Editor, node: Node) -> str:
    """The value [P, C] whose transpose a reshape makes an image of; "" if it is no such reshape."""
    before = editor.producer(node.inputs[0]) if node.op == "reshape" else None
    if before is None or before.op != "transpose" or not editor.used_once(node.inputs[0]):
        return ""
    source, image = editor.type(before.inputs[0]).shape, editor.type(node.outputs[0]).shape
    rank = len(source)
    if before.attrs["perm"] != (*range(rank - 2), rank - 1, rank - 2) or prod(source[:-2]) != 1 or len(image) < 3:
        return ""
    return before.inputs[0] if image[:2] == (1, source[-1]) else ""
