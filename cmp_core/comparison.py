"""The test accuracy of experiments against each other."""

from __future__ import annotations

import math

import attrs
import numpy as np

from cmp_core.inference import LEVEL, mcnemar
from cmp_core.run_record import RunRecord
from cmp_core.run_set import Group


@attrs.frozen
class Difference:
    """How far the test accuracy of a group is above that of another.

    Attributes:
        effect: difference of the means over seeds, a fraction.
        low, high: its 95 % interval; NaN where there is one seed on a side.
        p: of the test that `how` names; NaN where there is none.
        how: the test, in words.
    """

    effect: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    how: str = ""


def difference(first: Group, second: Group) -> Difference | None:
    """Return how far the second group's output layer is above the first's, or none if untested.

    With two seeds or more on both sides by Welch's t-test over seeds; of two single runs that were
    tested on the same samples by the exact McNemar test, which is about these two networks only.
    """
    from scipy import stats

    a, b = _accuracies(first), _accuracies(second)
    if not a or not b:
        return None
    effect = float(np.mean(b) - np.mean(a))
    if min(len(a), len(b)) >= 2 and np.var(a) + np.var(b) > 0:
        test = stats.ttest_ind(b, a, equal_var=False)
        low, high = test.confidence_interval(1 - LEVEL)
        return Difference(effect, float(low), float(high), float(test.pvalue), "Welch, over seeds")
    if len(a) == len(b) == 1:
        shared = _shared_hits(first.runs[0], second.runs[0])
        if shared is not None:
            *_, p = mcnemar(*shared)
            return Difference(effect, p=p, how=f"McNemar, {len(shared[0]):,} samples, two networks")
    return Difference(effect, how="no test: one seed on a side")


def _accuracies(group: Group) -> list[float]:
    """Return the test accuracy of the output layer, once for each seed."""
    tested = {str(run.seed): list(run.test_accuracies.values()) for run in group.runs}
    return [layers[-1] for layers in tested.values() if layers]


def _shared_hits(
    first: RunRecord, second: RunRecord
) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], ...] | None:
    """Return which of the samples that both have tested each output gets right, by sample id."""
    sides = []
    for run in (first, second):
        file = run.predictions
        if file is None or "sample_ids" not in file or run.layers[-1] not in file:
            return None
        sides.append((file["sample_ids"], file[run.layers[-1]] == file["labels"]))
    common, left, right = np.intersect1d(sides[0][0], sides[1][0], return_indices=True)
    return (sides[0][1][left], sides[1][1][right]) if len(common) else None
