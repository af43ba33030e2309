"""What came out of a training, in rows: values by epoch, and the classes that are confused."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from cmp_core.runs.log import Curve
from cmp_core.runs.record import RunRecord
from cmp_core.runs.replicates import ReplicateGroup

_MOST_EPOCHS = 30
_MOST_PAIRS = 10


@attrs.frozen
class Epoch:
    """Means over seeds at an epoch, NaN where there is none; `tested` of them have its weights."""

    number: int
    loss: float
    acc: float
    val_loss: float
    val_acc: float
    tested: int


@attrs.frozen
class Confusion:
    """A class that is taken for another: how many test samples, and which share of the class."""

    true: str
    predicted: str
    count: int
    share: float


def epochs_of(group: ReplicateGroup) -> list[Epoch]:
    """Return the epochs of some replicates; of many the first, the last and some between."""
    last = max((int(run.log.validation.epochs.max(initial=0)) for run in group.runs), default=0)
    numbers = range(last + 1)
    if len(numbers) > _MOST_EPOCHS:
        chosen = np.unique(np.linspace(0, last, _MOST_EPOCHS).round())
        return [_epoch(group.runs, int(number)) for number in chosen]
    return [_epoch(group.runs, number) for number in numbers]


def _epoch(runs: Sequence[RunRecord], number: int) -> Epoch:
    training, validation = (
        [getattr(run.log, x) for run in runs] for x in ("training", "validation")
    )
    return Epoch(
        number,
        loss=_mean(training, "loss", number),
        acc=_mean(training, "acc", number),
        val_loss=_mean(validation, "loss", number),
        val_acc=_mean(validation, "acc", number),
        tested=sum(run.tested_epoch == number for run in runs),
    )


def _mean(curves: Sequence[Curve], values: str, epoch: int) -> float:
    """Return the mean over the runs that have values of an epoch, of each the mean of these."""
    found = [getattr(curve, values)[curve.epochs == epoch] for curve in curves]
    means = [np.nanmean(own) for own in found if np.isfinite(own).any()]
    return float(np.mean(means)) if means else math.nan


def confusions_of(group: ReplicateGroup) -> list[Confusion]:
    """Return which classes are confused most often on the test split, over all seeds."""
    counts = [run.confusion for run in group.runs if run.confusion is not None]
    if not counts or len({matrix.shape for matrix in counts}) > 1:
        return []
    total: NDArray[np.int64] = np.sum(counts, axis=0)
    names = dict(enumerate(group.runs[0].class_names))
    wrong = np.where(np.eye(len(total), dtype=bool), 0, total)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
    places = (divmod(int(place), len(total)) for place in order)
    return [
        Confusion(
            names.get(true, str(true)),
            names.get(guess, str(guess)),
            int(wrong[true, guess]),
            float(wrong[true, guess] / total[true].sum()),
        )
        for true, guess in places
        if wrong[true, guess] > 0
    ]
