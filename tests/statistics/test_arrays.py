"""Tests of `cmp_core.statistics.arrays`: statistics of arrays, scored as on a batch or a split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cmp_core import UsageError, held_out_statistics_of, statistics_of
from cmp_metrics.probe_accuracy import probe_accuracy
from cmp_metrics.ridge_r2 import ridge_r2
from tests.oracles import metrics as oracles
from tests.statistics.test_fits import FIT, LABELS, SCORED, X, Y


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probe_accuracy(X, LABELS, fit=(X,)), "expected 2 arrays, activations and labels"),
        (lambda: ridge_r2(X, Y, fit=(X, Y, X)), "expected 2 arrays, activations, got 3"),
        (lambda: ridge_r2(X, Y, fit=(Y, X)), "expected 12 units of layer_0, got 9"),
        (lambda: probe_accuracy(X, LABELS, fit=(X, LABELS[:9])), "labels of 700 samples, got 9"),
        (lambda: probe_accuracy(X, LABELS, fit=(X, LABELS), penalty=1.0), "got both"),
    ],
)
def test_fitting_samples_that_do_not_suit_are_refused(call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_on_a_batch_the_probe_is_the_ridge_regression_by_folds() -> None:
    (statistics,) = statistics_of(X[:100], labels=LABELS[:100])
    wanted = oracles.probe_scores(X[:100], LABELS[:100], 0.01)
    np.testing.assert_allclose(statistics.held_out_scores().numpy(), wanted, atol=1e-9)


def test_deviations_are_about_the_fitting_samples_mean() -> None:
    first, _ = held_out_statistics_of(X[SCORED], Y[SCORED], fit=(X[FIT], Y[FIT]))
    (scale,) = {float(2.0 ** np.floor(np.log2(np.abs(X[SCORED]).max())))}
    wanted = (X[SCORED] - X[FIT].mean(0)) / float(first._all.samples.scale(0))
    assert scale > 0
    np.testing.assert_allclose(first.deviations().numpy(), wanted, atol=1e-12)
