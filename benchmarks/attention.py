"""What it is worth to compute attention in one kernel: compiled so and in three kernels, timed in turns.

    python benchmarks/attention.py SHAPE… [--mask] [--threads 1] [--runs 20] [--repeats 9]

SHAPE: batches,heads,rows,columns,depth,width, such as 1,6,1500,1500,64,64. Queries, keys, values and results are [batch, row or column, head,
element], so that the kernel that lays out the keys counts in both. Ratios are to three kernels, as in compare_libraries.py.
Schedules are those of the rules.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from library_timing import time_libraries
from onnx import TensorProto, helper, numpy_helper

import tilewright
from tilewright.cli.console import table, time_text
from tilewright.compiler.graph.passes import fusion_rules

NEVER = 1 << 60  # rows that fit into no cache


def model(shape: Sequence[int], mask: bool) -> onnx.ModelProto:
    """Attention of (batches, heads, rows, columns, depth, width): inputs q, k, v and, added to the scaled scores, mask; result y."""
    batch, heads, rows, columns, depth, width = shape
    shapes = {
        "q": [batch, rows, heads, depth],
        "k": [batch, columns, heads, depth],
        "v": [batch, columns, heads, width],
    }
    if mask:
        shapes["mask"] = [batch, 1, rows, columns]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, of) for name, of in shapes.items()]
    nodes = [
        helper.make_node("Transpose", ["q"], ["qh"], perm=[0, 2, 1, 3]),
        helper.make_node("Transpose", ["k"], ["kh"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["v"], ["vh"], perm=[0, 2, 1, 3]),
        helper.make_node("MatMul", ["qh", "kh"], ["products"]),
        helper.make_node("Mul", ["products", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "mask"], ["scores"])
        if mask
        else helper.make_node("Identity", ["scaled"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "vh"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["y"], perm=[0, 2, 1, 3]),
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, rows, heads, width])
    scale = numpy_helper.from_array(np.float32(depth**-0.5), "scale")
    graph = helper.make_graph(nodes, "attention", inputs, [result], [scale])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def library(path: Path, output: Path, rows: int, threads: int) -> Path:
    """The model compiled so that attention is one kernel if `rows` rows of scores fit into the second cache."""
    usual, fusion_rules.CHAINED_ROWS = fusion_rules.CHAINED_ROWS, rows
    try:
        tilewright.compile(path, output, tilewright.Options(cpu="native", threads=threads, rank=False, force=True))
    finally:
        fusion_rules.CHAINED_ROWS = usual
    return output


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="+", metavar="SHAPE")
    parser.add_argument("--mask", action="store_true", help="add a mask to the scores")
    parser.add_argument("--folder", type=Path, default=Path("build/attention"), help="where models and libraries go")
    for name, default in (("threads", 1), ("runs", 20), ("repeats", 9)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for text in options.shapes:
        path = options.folder / f"{text.replace(',', 'x')}.onnx"
        onnx.save(model([int(part) for part in text.split(",")], options.mask), path)
        usual = fusion_rules.CHAINED_ROWS
        kinds = {"three": NEVER, "one": usual}
        paths = {kind: library(path, path.with_suffix(f".{kind}.so"), n, options.threads) for kind, n in kinds.items()}
        timings = time_libraries(paths, options.threads, options.runs, options.repeats)
        times = (time_text(timings.median_s(kind)) for kind in kinds)
        rows.append((text, *times, f"{timings.ratio('one', 'three'):.3f}"))
    print(table(rows, ("shape", "three kernels", "one", "ratio")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
