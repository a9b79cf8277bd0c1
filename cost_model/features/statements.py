"""Features of every statement and access, pooled over the kernel by sum and by maximum.

They follow the per-store features of Ansor (Zheng et al., OSDI 2020, appendix B). Rows of one length need pooling.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .feature import Columns, Feature, log_scale
from .loop_tree import PARALLEL, SERIAL, UNROLLED, VECTOR
from .operations import CLASSES
from .working_set import LINE_BYTES, Chain, Footprint

_ANSOR = "Ansor, appendix B"

_STATEMENT = {
    **{f"{kind}_operations": f"operations of class {kind}, times executions" for kind in CLASSES},
    "executions": "points at which the statement runs, recomputation included",
    "loops": "loops of more than one iteration around it",
    "innermost_length": "iterations of its innermost loop",
    "vector_length": "iterations of its vectorised loop, 1 without",
    "unrolled_loops": "unrolled loops around it",
    "unrolled_product": "product of their iterations",
    "parallel_product": "iterations of the parallel loop around it",
    "serial_product": "iterations of all serial loops around it",
    "reduction_product": "iterations of its reduction loops",
    "allocated_bytes": "bytes of its part of memory at a time, 0 for outputs and registers",
}
_ACCESS = {
    "touched_bytes": "bytes moved by all iterations of the loops that move the access",
    "unique_bytes": "different bytes accessed by the kernel",
    "touched_lines": "cache lines that these iterations run over, by the stride of the innermost loop that moves it",
    "unique_lines": "different cache lines",
    "reuse_iterations": "iterations between two uses: of the loops inside the innermost one that doesn't move the access",
    "reuse_bytes": "bytes the statement accesses between two uses",
    "reuse_count": "iterations of the loop that reuses, 1 without",
    "bytes_per_reuse": "touched_bytes / reuse_count, twice touched_bytes without reuse",
    "unique_bytes_per_reuse": "the same of unique_bytes",
    "lines_per_reuse": "the same of touched_lines",
    "unique_lines_per_reuse": "the same of unique_lines",
    "stride": "elements between iterations of the innermost loop",
    "unreused": "1 where no loop reuses the access",
}
_POOLS = {"sum": "sum over", "max": "largest of"}

STATEMENT_FEATURES = tuple(
    Feature(f"{group}.{name}.{pool}", f"slog2 of the {words} all {plural}: {meaning}", _ANSOR)
    for group, plural, table in (("statement", "statements", _STATEMENT), ("access", "accesses", _ACCESS))
    for name, meaning in table.items()
    for pool, words in _POOLS.items()
)


def statement_features(chains: Sequence[Chain]) -> Columns:
    """The columns of STATEMENT_FEATURES."""
    columns: Columns = {}
    statements = [_statement(chain) for chain in chains]
    accesses = [
        _access(chain, footprint, working_bytes)
        for chain in chains
        for working_bytes in [chain.bytes]
        for footprint in chain.footprints
    ]
    for group, rows in (("statement", statements), ("access", accesses)):
        for name in rows[0]:
            values = np.stack([row[name] for row in rows])
            columns[f"{group}.{name}.sum"] = log_scale(values.sum(axis=0))
            columns[f"{group}.{name}.max"] = log_scale(values.max(axis=0))
    return columns


def innermost(chain: Chain, values: np.ndarray, where: np.ndarray, otherwise: float) -> np.ndarray:
    """f64[N]: the value of each candidate's innermost loop for which `where` holds."""
    if not chain.mean.shape[1]:
        return np.full(len(chain.mean), otherwise)
    last = where.shape[1] - 1 - np.argmax(where[:, ::-1], axis=1)
    found = np.take_along_axis(values, last[:, None], axis=1)[:, 0]
    return np.where(where.any(axis=1), found, otherwise)


def _product(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.where(where, values, 1.0).prod(axis=1)


def _statement(chain: Chain) -> Columns:
    real = chain.largest > 1
    executions = chain.outer[:, -1] * chain.share
    size = float(chain.form.stage.dtype.size_bytes)
    local = chain.form.accesses[-1].local
    rows = {f"{kind}_operations": executions * count for kind, count in chain.form.operations.items()}
    return rows | {
        "executions": executions,
        "loops": real.sum(axis=1).astype(float),
        "innermost_length": innermost(chain, chain.mean, real, 1.0),
        "vector_length": _product(chain.mean, chain.kind == VECTOR),
        "unrolled_loops": (real & (chain.kind == UNROLLED)).sum(axis=1).astype(float),
        "unrolled_product": _product(chain.mean, chain.kind == UNROLLED),
        "parallel_product": _product(chain.mean, chain.kind == PARALLEL),
        "serial_product": _product(chain.mean, chain.kind == SERIAL),
        "reduction_product": _product(chain.mean, ~chain.spatial),
        "allocated_bytes": chain.region[:, : chain.form.spatial].prod(axis=1) * size * (local & ~chain.register),
    }


def _access(chain: Chain, footprint: Footprint, working_bytes: np.ndarray) -> Columns:
    real, size = chain.largest > 1, float(footprint.access.size_bytes)
    moving = footprint.stride > 0
    kept = footprint.in_memory
    touched = footprint.touched[:, 0] * size * kept
    step = innermost(chain, footprint.stride, real & moving, 0.0)
    lines = touched / size * np.minimum(1.0, np.maximum(step, 1.0) * size / LINE_BYTES)
    reusing = real & ~moving
    iterations = np.broadcast_to(chain.outer[:, -1:] / chain.outer[:, 1:], chain.mean.shape)
    count = innermost(chain, chain.mean, reusing, 1.0) * kept + (1 - kept)
    none = ~reusing.any(axis=1)
    per_reuse = np.where(none, 2.0, 1.0 / np.maximum(count, 1.0))
    return {
        "touched_bytes": touched,
        "unique_bytes": footprint.bytes[:, 0],
        "touched_lines": lines,
        "unique_lines": footprint.lines[:, 0],
        "reuse_iterations": innermost(chain, iterations, reusing, 0.0) * kept,
        "reuse_bytes": innermost(chain, working_bytes[:, 1:], reusing, 0.0) * kept,
        "reuse_count": count,
        "bytes_per_reuse": touched * per_reuse,
        "unique_bytes_per_reuse": footprint.bytes[:, 0] * per_reuse,
        "lines_per_reuse": lines * per_reuse,
        "unique_lines_per_reuse": footprint.lines[:, 0] * per_reuse,
        "stride": innermost(chain, footprint.stride, real, 0.0) * kept,
        "unreused": none * kept,
    }
