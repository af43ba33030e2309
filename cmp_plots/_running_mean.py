"""The running mean of values that were measured at some steps."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_SHARE = 20
"""A window is this part of all steps."""
_FEWEST = 9
"""A window has room for at least so many values at their usual distance."""


def half_window(steps: Counts) -> int:
    """Return how many steps a window reaches to either side, for values at these steps.

    >>> half_window(np.arange(5, 1001, 5)), half_window(np.array([10, 20, 30]))
    (25, 40)
    """
    times = np.unique(steps)
    if len(times) < 2:
        return 1
    usual = float(np.median(np.diff(times)))
    return math.ceil(max(float(times[-1] - times[0]) / _SHARE, (_FEWEST - 1) * usual) / 2)


def running_mean(steps: Counts, values: Floats, n: Counts, half: int) -> Floats:
    """Return the mean of the values within `half` steps to either side of each, weighted by n.

    Only full windows have one. A window that shrank at the ends of training would give its few
    values a weight that no others have: the last batch of an epoch may be of a few samples, and the
    mean would end where that batch is. The same is true beside a gap, where no value is known
    for more than `half` steps.

    Args:
        steps: (k,), rising, at any distances.
        values: (k,), NaN where there is none.
        n: (k,), samples that each value rests on; if one is not known (0), all count alike.
        half: half of the window in steps, see `half_window`.

    Returns:
        (k,), NaN where there is no mean.
    """
    means = np.full(len(steps), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return means
    at, kept = steps[known], values[known]
    weights = n[known].astype(np.float64) if (n[known] > 0).all() else np.ones(len(known))
    piece = np.concatenate([[0], np.cumsum(np.diff(at) > half)])
    first = at[np.searchsorted(piece, piece)]
    last = at[np.searchsorted(piece, piece, side="right") - 1]
    for place in np.flatnonzero((at - first >= half) & (last - at >= half)):
        begin = np.searchsorted(at, at[place] - half)
        end = np.searchsorted(at, at[place] + half, side="right")
        means[known[place]] = np.average(kept[begin:end], weights=weights[begin:end])
    return means
