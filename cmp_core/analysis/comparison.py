"""The test accuracy of experiments against each other."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import attrs
import numpy as np

from cmp_core.analysis.crossed import LEVEL
from cmp_core.analysis.inference import mcnemar
from cmp_core.runs.log import as_number
from cmp_core.runs.record import RunRecord
from cmp_core.runs.replicates import ReplicateGroup


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


def difference(first: ReplicateGroup, second: ReplicateGroup) -> Difference | None:
    """Return how far the second group's output layer is above the first's, or none if untested.

    With two seeds or more on both sides by Welch's t-test over seeds; of two single runs that were
    tested on the same samples by the exact McNemar test, which is about these two networks only.
    """
    ours, theirs = _tested(first), _tested(second)
    if not ours or not theirs:
        return None
    a, b = list(ours.values()), list(theirs.values())
    effect = float(np.mean(b) - np.mean(a))
    if min(len(a), len(b)) >= 2:
        if max(np.ptp(a), np.ptp(b)) < _TIED:
            return Difference(effect, how="no test: the seeds of a side are all alike")
        return _welch(a, b)
    if len(a) == len(b) == 1:
        shared = _shared_hits(*ours, *theirs)
        if shared is not None:
            *_, p = mcnemar(*shared)
            return Difference(effect, p=p, how=f"McNemar, {len(shared[0]):,} samples, two networks")
    return Difference(effect, how="no test: one seed on a side")


_TIED = 1e-9
"""Accuracies that differ by less are the same number of samples."""


def _welch(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Return what Welch's t-test says."""
    from scipy import stats

    with warnings.catch_warnings():
        # SciPy warns of lost digits where one side does not vary, which costs none here.
        warnings.simplefilter("ignore", RuntimeWarning)
        test = stats.ttest_ind(b, a, equal_var=False)
    interval = test.confidence_interval(1 - LEVEL)
    effect = float(np.mean(b) - np.mean(a))
    low, high, p = float(interval.low), float(interval.high), float(test.pvalue)
    return Difference(effect, low, high, p, "Welch, over seeds")


def _tested(group: ReplicateGroup) -> dict[RunRecord, float]:
    """Return the test accuracy of the output layer of tested runs, the first of each seed."""
    accuracies: dict[object, tuple[RunRecord, float]] = {}
    for run in group.runs:
        seed = run.directory if run.seed is None else str(run.seed)
        accuracy = _output_accuracy(run)
        if math.isfinite(accuracy):
            accuracies.setdefault(seed, (run, accuracy))
    return dict(accuracies.values())


def _output_accuracy(run: RunRecord) -> float:
    told = as_number(run.log.test.get("acc"))
    return told if math.isfinite(told) else [math.nan, *run.test_accuracies.values()][-1]


def _shared_hits(
    first: RunRecord, second: RunRecord
) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], ...] | None:
    """Return which of the samples that both have tested each output gets right, by sample id."""
    sides = []
    for run in (first, second):
        file = run.predictions
        output = run.layers[-1] if run.layers else ""
        if file is None or not {"sample_ids", "labels", output} <= file.keys():
            return None
        sides.append((file["sample_ids"], file[output] == file["labels"]))
    common, left, right = np.intersect1d(sides[0][0], sides[1][0], return_indices=True)
    return (sides[0][1][left], sides[1][1][right]) if len(common) else None
