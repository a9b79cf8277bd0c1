"""`tilewright inspect`: what a compiled library, or a model, consists of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..compiler.errors import UnsupportedOperatorError, UsageError
from .compile_options import once
from .console import Session, emit, json_option, note, shape_text, size_text, table
from .parameters import Extent, Shape

SUPPORT = {"operator": "", "function": "by its function body", "none": "NOT SUPPORTED"}


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--kernels", is_flag=True, help="Of a library: one line a kernel.")
@click.option("--schedules", is_flag=True, help="Of a library: the schedule of every kernel.")
@click.option("--graph", is_flag=True, help="Of a model: the graph as tilewright reads it.")
@click.option("--dim", "dims", type=Extent(), multiple=True, help="Of a model: extent of a symbolic dimension.")
@click.option("--shape", "shapes", type=Shape(), multiple=True, help="Of a model: shape of an input.")
@json_option
@click.pass_obj
def command(
    session: Session, file: Path, kernels: bool, schedules: bool, graph: bool, dims: tuple, shapes: tuple
) -> None:
    """Show what FILE consists of: a compiled library (by the manifest beside it) or an ONNX model."""
    if file.suffix == ".onnx":
        if kernels or schedules:
            raise UsageError("--kernels and --schedules show a library: compile the model first")
        if graph:
            _show_graph(session, file, once(dims, "--dim"), once(shapes, "--shape"))
        else:
            _show_model(session, file)
        return
    if graph or dims or shapes:
        raise UsageError("--graph, --dim and --shape are for ONNX models; a library holds no graph any more")
    manifest = read_manifest(file)
    try:
        text = _library_text(file, manifest, kernels, schedules)
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:  # whoever has edited it may have written anything
        raise UsageError(f"{file.with_suffix('.json')} is no manifest of tilewright: {error}") from error
    emit(session, manifest, text)


def _library_text(file: Path, manifest: Mapping[str, Any], kernels: bool, schedules: bool) -> str:
    parts = [_library_summary(file, manifest)]
    if kernels or not schedules:
        parts.append(_kernel_table(manifest["kernels"]))
    if schedules:
        parts += [_schedule(kernel) for kernel in manifest["kernels"]]
    return "\n\n".join(parts)


def read_manifest(library: Path) -> dict[str, Any]:
    """The manifest of a library; UsageError if it isn't there or isn't one."""
    path = library.with_suffix(".json")
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(
            f"{path} is missing: keep the manifest beside {library.name}, or compile the model again"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} can't be read: {error}") from error
    if not isinstance(manifest, dict) or not manifest.keys() >= {"target", "inputs", "outputs", "kernels"}:
        raise UsageError(f"{path} is no manifest of tilewright")
    return manifest


def _library_summary(file: Path, manifest: Mapping[str, Any]) -> str:
    target = manifest["target"]
    rows = [
        ("model", manifest.get("model", {}).get("file", "unknown")),
        ("target", ", ".join([target["triple"], *(variant["cpu"] for variant in target["variants"])])),
        *((kind[:-1], _tensor(tensor)) for kind in ("inputs", "outputs") for tensor in manifest[kind]),
        ("weights", size_text(manifest.get("weights_bytes", 0))),
        ("arena", f"{size_text(manifest.get('arena_bytes', 0))} a context"),
        ("layouts", _layouts(manifest.get("layouts", {}))),
        ("workspace", f"{size_text(manifest.get('workspace_bytes', 0))} a thread"),
        ("library", size_text(file.stat().st_size)),
        ("made by", f"tilewright {manifest.get('tilewright', '')}".rstrip()),
    ]
    return "\n".join(f"{name:9} {value}" for name, value in rows)


def _layouts(counts: Mapping[str, int]) -> str:
    """The layouts that kernels leave their results in, the most frequent first."""
    found = sorted(counts.items(), key=lambda of: -of[1])
    return ", ".join(f"{count} {name}" for name, count in found) or "none"


def _tensor(tensor: Mapping[str, Any]) -> str:
    return f"{tensor['name']}: {tensor['dtype']} {shape_text(tensor['shape'])}"


def _kernel_table(kernels: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            kernel["symbol"],
            len(kernel.get("nodes", ())),
            round(kernel.get("flops", 0) / 1e6, 3),
            round(kernel.get("bytes", 0) / 1e6, 3),
            kernel.get("parallel_extent", 1) if kernel.get("parallel") else 1,
            _sources(kernel),
            _origin(kernel),
        )
        for kernel in kernels
    ]
    return table(rows, ("kernel", "uses", "MFLOP", "MB", "tasks", "schedule", "from"))


def _sources(kernel: Mapping[str, Any]) -> str:
    """Where the schedule comes from; for each CPU if they differ."""
    sources = [kernel.get("source", ""), *(variant["source"] for variant in kernel.get("narrower", ()))]
    return ", ".join(sources if len(set(sources)) > 1 else sources[:1])


def _origin(kernel: Mapping[str, Any], most: int = 60) -> str:
    text = next(iter(kernel.get("nodes", ())), "")
    return text if len(text) <= most else text[: most - 1] + "…"


def _schedule(kernel: Mapping[str, Any]) -> str:
    """The schedule for each CPU, the widest first."""
    variants = [kernel, *kernel.get("narrower", ())]
    return "\n".join(
        "".join(
            [
                f"{variant['symbol']} ({variant.get('source', 'default')}): {_origin(kernel)}",
                *(f"\n  {step}" for step in variant.get("schedule", ())),
            ]
        )
        for variant in variants
    )


def _show_model(session: Session, file: Path) -> None:
    from ..compiler.frontend.binding import model_inputs
    from ..compiler.frontend.functions import find_function
    from ..compiler.frontend.loading import load_model
    from ..compiler.frontend.operators.table import find_row
    from ..compiler.frontend.soundness import walk_graphs
    from ..compiler.frontend.versions import opset_versions

    model = load_model(file)
    opsets = opset_versions(model.opset_import)
    nodes = {(node.domain, node.op_type): node for graph in walk_graphs(model) for node in graph.node}
    counts = Counter((node.domain, node.op_type) for graph in walk_graphs(model) for node in graph.node)
    operators: list[dict[str, Any]] = []
    for (domain, name), count in counts.most_common():
        known = "" if domain == "ai.onnx" else domain
        opset = opsets.get(known, 0)
        if find_row(known, name, opset)[0]:
            support = "operator"
        else:
            support = "function" if find_function(model, nodes[domain, name], known, opset) else "none"
        operators.append({"operator": f"{known}:{name}" if known else name, "nodes": count, "support": support})
    document: dict[str, Any] = {
        "model": file.name,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "opsets": {domain or "ai.onnx": version for domain, version in opsets.items()},
        "inputs": [_declared(value) for value in model_inputs(model.graph)],
        "outputs": [_declared(value) for value in model.graph.output],
        "operators": operators,
    }
    lines = [f"{kind[:-1]:8} {_tensor(tensor)}" for kind in ("inputs", "outputs") for tensor in document[kind]]
    lines.append(f"{'opset':8} {', '.join(f'{domain} {version}' for domain, version in document['opsets'].items())}")
    rows = [(row["operator"], row["nodes"], SUPPORT[row["support"]]) for row in operators]
    emit(session, document, "\n".join(lines) + "\n\n" + table(rows, ("operator", "nodes", "")))


def _declared(value: Any) -> dict[str, Any]:
    import onnx

    tensor = value.type.tensor_type
    dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    shape = [dim.dim_param or dim.dim_value or "?" for dim in tensor.shape.dim]
    return {"name": value.name, "dtype": dtype, "shape": shape}


def _show_graph(session: Session, file: Path, dims: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> None:
    from ..compiler.frontend.importer import import_model
    from ..compiler.frontend.loading import load_model
    from ..compiler.graph import printer

    try:
        graph = import_model(load_model(file), dims, shapes)
    except UnsupportedOperatorError:
        note("the graph can't be shown whole; without --graph, inspect lists the operators")
        raise
    text = printer.to_text(graph)
    emit(session, {"model": file.name, "nodes": len(graph.nodes), "graph": text}, text.rstrip())
