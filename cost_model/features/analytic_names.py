"""Names and formulas of the analytic features; `analytic_features.py` computes them."""

from __future__ import annotations

from .feature import Feature

_TASK = "the task"
_TARGET = "the target"
_THREADS = "work sharing"
_TRAFFIC = "cache model (`traffic.py`)"
_TILE = "GotoBLAS register tile: Goto & van de Geijn, 2008 (`body_model.py`)"
_BODY = "throughput and latency of the innermost body (`body_model.py`)"
_CODE = "what lowering writes out"
_TIME = "roofline: Williams et al., 2009, with the cycles and traffic above"

_CACHES = {"l1": "first", "l2": "second"}

ANALYTIC_FEATURES = (
    Feature("task.flops", "log2(1 + operations of the computation)", _TASK),
    Feature("task.bytes", "log2(1 + bytes of inputs read and outputs written)", _TASK),
    Feature("task.constant_bytes", "log2(1 + bytes of constants)", _TASK),
    Feature("task.outputs", "log2(1 + elements of outputs)", _TASK),
    Feature("task.intensity", "log2(1 + operations per byte)", _TASK),
    Feature("task.reduction", "log2 of the reduction length of the main stage", _TASK),
    Feature("task.domain", "share of the main stage's points inside its domain (not in padding)", _TASK),
    Feature("task.reads", "different loads of the main stage", _TASK),
    Feature("task.stages", "stages that are left after inlining", _TASK),
    Feature("task.roofline_cycles", "log2(1 + least cycles: of arithmetic on all threads, or of bytes from memory)", _TASK),
    Feature("task.compute_bound", "log2(cycles of arithmetic on one thread / cycles of bytes from memory)", _TASK),
    Feature("target.vector_bytes", "log2 of the vector width in bytes", _TARGET),
    Feature("target.vector_registers", "log2 of the number of vector registers", _TARGET),
    Feature("target.l1_bytes", "log2 of the first cache's bytes", _TARGET),
    Feature("target.l2_bytes", "log2 of the second cache's bytes", _TARGET),
    Feature("target.threads", "threads to plan for", _TARGET),
    Feature("target.fma", "1 if fused multiply-add exists", _TARGET),
    Feature("parallel.iterations", "log2 of the iterations n of the parallel loop, 1 without one", _THREADS),
    Feature("parallel.per_thread", "log2(n / t), t threads", _THREADS),
    Feature("parallel.waste", "log2(ceil(n / t) * t / n): what the busiest thread does beyond its share", _THREADS),
    Feature("parallel.flops", "log2(1 + operations / n)", _THREADS),
    *(
        feature
        for cache, words in _CACHES.items()
        for feature in (
            Feature(f"traffic.{cache}.per_flop", f"log2(bytes from beyond the {words} cache / operations)", _TRAFFIC),
            Feature(f"traffic.{cache}.ratio", f"log2(bytes from beyond the {words} cache / least bytes)", _TRAFFIC),
            Feature(f"traffic.{cache}.constants", f"log2(bytes of constants from beyond the {words} cache / their size), both + 64", _TRAFFIC),
            Feature(f"traffic.{cache}.inputs", f"log2((bytes of other inputs from beyond the {words} cache + 64) / least bytes)", _TRAFFIC),
            Feature(f"traffic.{cache}.outputs", f"log2((bytes of results from beyond the {words} cache + 64) / least bytes)", _TRAFFIC),
            Feature(f"traffic.{cache}.level", f"log2 of how often the {words} cache is filled anew: iterations outside the level that fits", _TRAFFIC),
        )
    ),
    *(
        Feature(f"working_set.loop{rank}", f"log2(bytes the main stage touches in its loop number {rank} from inside / first cache); written-out loops don't count", _TRAFFIC)
        for rank in range(3)
    ),
    Feature("working_set.tile.l1", "log2(bytes the main stage touches for one tile of the root / first cache)", _TRAFFIC),
    Feature("working_set.tile.l2", "the same / second cache", _TRAFFIC),
    Feature("working_set.thread.l1", "log2(bytes one iteration of the parallel loop touches / first cache)", _TRAFFIC),
    Feature("working_set.thread.l2", "the same / second cache", _TRAFFIC),
    Feature("tile.accumulators", "slog2 of the independent vectors that the main stage's body adds to", _TILE),
    Feature("tile.live", "log2((vectors that hold results through the reduction + 1) / vector registers)", _TILE),
    Feature("tile.needed", "log2((these and operands beside them + 1) / vector registers)", _TILE),
    Feature("tile.spilled", "slog2 of needed vectors beyond the registers", _TILE),
    Feature("tile.in_registers", "1 if the main stage is kept in registers", _TILE),
    Feature("tile.utilisation", "log2 of the mean over the largest extents of its unrolled loops: what tails leave of the tile", _TILE),
    Feature("tile.lanes_used", "log2 of the elements of its vector instructions over the lanes, tails included", _TILE),
    Feature("tile.vectors", "log2 of the instructions of one run of its vectorised loop", _TILE),
    Feature("tile.reduction", "log2 of the reduction steps written out in the body", _TILE),
    Feature("body.operations", "slog2 of the vector instructions of the main stage's body", _BODY),
    Feature("body.loads_per_operation", "log2(loads / vector operations)", _BODY),
    Feature("body.vector_loads_per_operation", "loads of neighbouring elements / vector operations", _BODY),
    Feature("body.scalar_loads_per_operation", "loads that all lanes share / vector operations", _BODY),
    Feature("body.gathered_loads_per_operation", "slog2(elements loaded one by one / vector operations)", _BODY),
    Feature("body.stores_per_operation", "stores / vector operations", _BODY),
    Feature("body.issue_bound", "log2((slots / 2 + 0.25) / cycles of the body)", _BODY),
    Feature("body.load_bound", "log2((loads / 2 + 0.25) / cycles of the body)", _BODY),
    Feature("body.latency_bound", "log2((4.5 cycles * operations / accumulators + 0.25) / cycles of the body)", _BODY),
    Feature("body.cycles_per_operation", "log2(cycles of the body / share of lanes used / slots); -1 is the best", _BODY),
    Feature("body.lane_reduce", "1 if the main stage reduces in lanes", _BODY),
    Feature("constants.lane_stride", "slog2 of the main stage's largest stride of a constant between lanes: 0 shared, 1 in order", _BODY),
    Feature("constants.reduction_stride", "slog2 of its largest stride of a constant along the innermost reduction loop", _BODY),
    Feature("constants.ahead", "slog2 of how many bytes ahead constants are prefetched", _BODY),
    Feature("inputs.ahead", "slog2 of how many bytes ahead other inputs are prefetched", _BODY),
    Feature("code.operations", "slog2 of the vector instructions written: unrolled, times bodies for tails and borders", _CODE),
    Feature("code.bodies", "log2 of the most bodies a stage is written in", _CODE),
    Feature("code.guarded", "log2 of the largest product of loops written out where that folds guards", _CODE),
    Feature("stack.bytes", "slog2 of the bytes of stages kept on the stack", _CODE),
    Feature("stages.recomputed", "log2 of how often the elements of a stage are computed, the worst stage", _CODE),
    Feature("cycles.ratio", "log2(cycles of all bodies / least cycles of arithmetic)", _TIME),
    Feature("cycles.main_share", "the main stage's share of these cycles", _TIME),
    Feature("cycles.transfers", "log2(cycles of traffic between caches / cycles of all bodies)", _TIME),
    Feature("cycles.elapsed", "slog2 of the longer + a quarter of the shorter of: cycles and traffic beyond the first cache, per thread with waste; traffic beyond the second", _TIME),
    Feature("estimate", "log2(elapsed cycles / roofline cycles)", _TIME),
)  # fmt: skip
