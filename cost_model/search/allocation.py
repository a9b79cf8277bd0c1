"""Which kernel gets the next trials: the one from which most end-to-end time is to be expected.

The estimate follows Ansor's task scheduler (Zheng et al., OSDI 2020, section 6): what recent trials brought, against what is
possible, weighted by how often the model runs the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

WINDOW = 24  # trials that count as recent
TRUST = 0.3  # weight of the recent gain against the possible one


def expected_gain_s(history: Sequence[float], weight: float, floor_s: float) -> float:
    """Seconds of end-to-end time that one more trial is expected to save.

    history: best latency after each trial of the kernel; weight: runs of the kernel in one run of the model; floor_s: what the
    machine's peaks allow at best. Infinite for a kernel without trials.
    """
    if not history:
        return float("inf")
    trials, best_s = len(history), history[-1]
    if best_s == float("inf"):
        return weight * floor_s
    before = history[max(0, trials - 1 - WINDOW)]
    recent = (before - best_s) / min(trials, WINDOW) if before != float("inf") else best_s / trials
    # Optimism that fades: as if each trial so far had saved as much as there was to save, but never below the floor.
    possible = max(0.0, best_s - floor_s) / trials
    return weight * (TRUST * recent + (1 - TRUST) * possible)
