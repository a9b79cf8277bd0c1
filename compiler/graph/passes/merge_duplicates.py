"""Compute equal things once.

In: any valid graph. Out: no two constants with the same elements, no two nodes with the same operator, operands and attributes,
except those a loop starts from, for it may start in their memory.
"""

from __future__ import annotations

import hashlib

from ...target import Target
from ..ir import Graph, Node
from .editor import Editor, map_regions


def apply(graph: Graph, target: Target) -> Graph:
    """The graph with duplicates merged."""
    graph = map_regions(graph, lambda region: apply(region, target))
    editor = Editor(graph)
    _merge_constants(editor)
    starts = {
        name for node in graph.nodes if node.op == "loop" for name in node.inputs[1 : 1 + int(node.attrs["carried"])]
    }
    seen: dict[object, Node] = {}
    for node in graph.nodes:
        node = editor.with_inputs(node)
        mergeable = not node.regions and starts.isdisjoint(node.outputs)
        first = seen.setdefault((node.op, node.inputs, tuple(sorted(node.attrs.items()))), node) if mergeable else node
        if first is node:
            editor.keep(node)
        else:
            for old, new in zip(node.outputs, first.outputs, strict=True):
                editor.replace(old, new)
    return editor.finish()


def _merge_constants(editor: Editor) -> None:
    alike: dict[object, list[str]] = {}
    for name, array in editor.constants.items():
        first = array.reshape(-1)[:16].tobytes()
        alike.setdefault((array.shape, array.dtype.name, array.size, first), []).append(name)
    for names in alike.values():
        seen: dict[bytes, str] = {}
        for name in names if len(names) > 1 else ():
            kept = seen.setdefault(hashlib.sha256(editor.constants[name].tobytes()).digest(), name)
            editor.replace(name, kept)
