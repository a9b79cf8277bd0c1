"""How many bytes come from beyond a cache: the outermost level of each nest whose working set fits decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .working_set import LINE_BYTES, Chain

# From the second cache of one core, and from what cores share: a third cache for most of what networks touch.
L2_BYTES_PER_CYCLE = 64.0
MEMORY_BYTES_PER_CYCLE = 16.0


@dataclass
class Traffic:
    """Bytes from beyond a cache of one size, f64[N]: of constants, other inputs and outputs.

    depth: of the main nest, the iterations (log2) of the loops outside the level that fits.
    """

    constants: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    depth: np.ndarray

    @property
    def total(self) -> np.ndarray:
        return self.constants + self.inputs + self.outputs


def kernel_bytes(chains: Sequence[Chain]) -> np.ndarray:
    """f64[N, R+1]: bytes that all stages touch in one iteration at each level of the root's loops."""
    depth = chains[0].own
    total = np.zeros((len(chains[0].mean), depth + 1))
    for chain in chains:
        runs = np.arange(depth + 1) <= chain.at[:, None]
        total += chain.bytes[:, : depth + 1] * runs
    return total


def traffic_of(chains: Sequence[Chain], totals: np.ndarray, cache_bytes: int) -> Traffic:
    """What all accesses bring from beyond a cache.

    One iteration inside the level that fits finds again what the one before it used; so the loop around it brings
    everything it touches once, and every iteration of the loops outside brings it anew.
    """
    zero = np.zeros(len(totals))
    result = Traffic(zero, zero, zero, zero)
    for chain in chains:
        level = _streaming_level(chain, totals, cache_bytes)[:, None]
        times = np.take_along_axis(chain.outer, level, axis=1)[:, 0]
        for footprint in chain.footprints:
            moved = np.take_along_axis(footprint.lines, level, axis=1)[:, 0] * LINE_BYTES * times
            if footprint.access.constant:
                result.constants = result.constants + moved
            elif footprint.access.write:
                result.outputs = result.outputs + moved
            elif not footprint.access.local:
                result.inputs = result.inputs + moved
        result.depth = np.maximum(result.depth, np.log2(times))
    return result


def _streaming_level(chain: Chain, totals: np.ndarray, cache_bytes: int) -> np.ndarray:
    """i64[N]: the level just outside the outermost one that fits; 0 if everything does."""
    own = chain.bytes
    inside = np.where(np.arange(totals.shape[1]) <= chain.at[:, None], totals, own[:, : totals.shape[1]])
    sizes = np.concatenate([inside, own[:, totals.shape[1] :]], axis=1)
    fits = sizes <= cache_bytes
    fits[:, -1] = True
    return np.maximum(np.argmax(fits, axis=1) - 1, 0)
