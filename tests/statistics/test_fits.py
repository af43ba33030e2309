"""Tests of `cmp_core.statistics.fits`: least squares against scikit-learn, fitted once for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression
from sklearn.metrics import f1_score as sklearn_f1, r2_score

from cmp_core import UndefinedError
from cmp_core.layers.layer import Layer
from cmp_core.statistics.classes import Classes
from cmp_core.statistics.fits import Fitting, LinearFits
from cmp_core.statistics.folds import Folds
from cmp_metrics.f1_score import f1_score
from cmp_metrics.label_information import label_information
from cmp_metrics.probe_accuracy import probe_accuracy
from cmp_metrics.ridge_r2 import ridge_r2
from tests.oracles import metrics as oracles
from tests.oracles.sampling import half_of

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
M, N = 500, 200
TARGETS = frozenset({"next", "labels"})


def sides(seed: int = 0) -> tuple[Array, Array, Labels]:
    """Return a layer, the next one and labels that they tell of, of M + N samples."""
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(M + N, 12)), 0) + 3
    y = np.maximum(x @ rng.normal(size=(12, 9)) + rng.normal(size=(M + N, 9)), 0)
    labels = x @ rng.normal(size=(12, 4)) + rng.normal(size=(M + N, 4))
    return x, y, (labels - labels.mean(0)).argmax(1)


X, Y, LABELS = sides()
FIT, SCORED = slice(0, M), slice(M, None)


def scores(rows: slice = FIT) -> Array:
    model = LinearRegression().fit(X[rows], np.eye(4)[LABELS[rows]])
    predicted: Array = model.predict(X[SCORED])
    return predicted


def test_values_by_a_fit_to_other_samples_are_scikit_learns() -> None:
    fit, given = (X[FIT], LABELS[FIT]), (X[SCORED], LABELS[SCORED])
    predicted = scores().argmax(1)
    assert probe_accuracy(*given, fit=fit) == np.mean(predicted == LABELS[SCORED])
    f1 = sklearn_f1(LABELS[SCORED], predicted, average="macro")
    assert f1_score(*given, fit=fit) == pytest.approx(f1, rel=1e-12)
    model = LinearRegression().fit(X[FIT], Y[FIT])
    wanted = r2_score(Y[SCORED], model.predict(X[SCORED]), multioutput="variance_weighted")
    found = ridge_r2(X[SCORED], Y[SCORED], fit=(X[FIT], Y[FIT]))
    assert found == pytest.approx(wanted, rel=1e-9)


def test_label_information_takes_the_prior_of_the_fitting_samples() -> None:
    information = label_information(X[SCORED], LABELS[SCORED], fit=(X[FIT], LABELS[FIT]))
    prior = (np.bincount(LABELS[FIT]) + 1) / (M + 4)
    wanted = oracles.information(scores(), np.tile(prior, (N, 1)), LABELS[SCORED])
    assert information == pytest.approx(wanted, rel=1e-9)


def fits(folds: Folds | None, chunk: int, rows: slice = FIT) -> LinearFits:
    """Return fits to samples that come in chunks, in an order of their own."""
    ids = torch.arange(M + N)[rows] * 3
    names = (("a", X), ("b", Y))
    layers = [Layer(name, i, "", torch.from_numpy(z[rows])) for i, (name, z) in enumerate(names)]
    labels = torch.from_numpy(LABELS[rows])
    fitting = Fitting(TARGETS, len(ids), Classes(4, labels), folds, ids.device)
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(chunk))
    for where in order.split(chunk):
        parts = [Layer(x.name, x.depth, "", x.activations[where]) for x in layers]
        fitting.update(parts, ids[where], labels[where])
    return fitting.fits()


def scored(of: LinearFits, layer: str, array: Array, rows: slice) -> Array:
    ids = torch.arange(M + N)[rows] * 3
    return of.scores(layer, of.shifted(layer, torch.from_numpy(array[rows])), ids).numpy()


@pytest.mark.parametrize("chunk", [1, 7, 128, M])
def test_chunks_and_their_order_change_nothing(chunk: int) -> None:
    np.testing.assert_allclose(scored(fits(None, chunk), "a", X, SCORED), scores(), atol=1e-10)


def test_half_of_the_fitting_samples_is_chosen_by_a_hash() -> None:
    half = np.array([half_of(3 * i) == 0 for i in range(M)])
    assert 0.4 < half.mean() < 0.6
    model = LinearRegression().fit(X[FIT][half], np.eye(4)[LABELS[FIT][half]])
    found = scored(fits(None, 64).half, "a", X, SCORED)
    np.testing.assert_allclose(found, model.predict(X[SCORED]), atol=1e-10)


def test_without_other_samples_each_fold_is_scored_by_the_fit_to_the_others() -> None:
    ids, labels = torch.arange(M) * 3, torch.from_numpy(LABELS[FIT])
    folds = Folds(ids, labels)
    of, fold = fits(folds, 64), folds.of(ids).numpy()
    wanted = oracles.held_out(X[FIT], np.eye(4)[LABELS[FIT]], fold, penalty=0)
    np.testing.assert_allclose(scored(of, "a", X, FIT), wanted, atol=1e-10)
    assert (of.n, of.source) == (M - M // 5, "cross-validation")
    half = np.array([half_of(3 * i) == 0 for i in range(M)])
    for f in range(5):
        rows = (fold != f) & half
        model = LinearRegression().fit(X[FIT][rows], np.eye(4)[LABELS[FIT][rows]])
        found = scored(of.half, "a", X, FIT)[fold == f]
        np.testing.assert_allclose(found, model.predict(X[FIT][fold == f]), atol=1e-10)


# What is linearly there, whatever the units


def affine(x: Array, seed: int) -> Array:
    """Map a layer by an invertible matrix whose singular values span three decades."""
    rng = np.random.default_rng(seed)
    p = x.shape[1]
    left, right = (np.linalg.qr(rng.normal(size=(p, p)))[0] for _ in range(2))
    return x @ (left * np.logspace(-1.5, 1.5, p)) @ right + rng.normal(size=p)


@pytest.mark.parametrize("fit", [None, FIT])
def test_an_invertible_map_changes_nothing(fit: slice | None) -> None:
    for seed in range(3):
        mapped = affine(X, seed)
        for function, target in (
            (probe_accuracy, LABELS),
            (label_information, LABELS),
            (ridge_r2, Y),
        ):
            values: list[Any] = [
                function(z[SCORED], target[SCORED], fit=fit and (z[fit], target[fit]))
                for z in (X, mapped)
            ]
            assert values[1] == pytest.approx(values[0], rel=1e-6)


@pytest.mark.parametrize("n", [359, 2000])
def test_powers_of_a_map_are_not_more_predictive(n: int) -> None:
    """X, XD, XD², XD³ hold the same, and a ridge probe does not see that."""
    rng = np.random.default_rng(1)
    p = 256
    stretch = np.geomspace(1, 10, p)
    isotropic = rng.normal(size=(n, p))
    labels = (isotropic @ rng.normal(size=(p, 10))).argmax(1)
    layers = [isotropic * stretch ** (power - 3) for power in range(4)]  # X, XD, XD², XD³
    assert len({probe_accuracy(layer, labels) for layer in layers}) == 1
    ridge = [probe_accuracy(layer, labels, penalty=0.01) for layer in layers]
    assert abs(ridge[-1] - ridge[0]) > 0.02, "there is nothing to get wrong"


def test_units_that_are_sums_of_others_change_nothing() -> None:
    more = np.concatenate([X, X[:, :3] @ np.ones((3, 2)), np.full((M + N, 1), 7.0)], axis=1)
    for dtype in (np.float64, np.float32):
        found = probe_accuracy(
            more[SCORED].astype(dtype), LABELS[SCORED], fit=(more[FIT].astype(dtype), LABELS[FIT])
        )
        wanted = np.mean(scores().argmax(1) == LABELS[SCORED])
        assert found == pytest.approx(wanted, abs=0 if dtype == np.float64 else 0.01)


# What cannot be fitted


def test_no_more_samples_than_units_are_too_few() -> None:
    with pytest.raises(UndefinedError, match="too few fitting samples for least squares: 11 for"):
        probe_accuracy(X[SCORED], LABELS[SCORED], fit=(X[:11], LABELS[:11]))
    with pytest.raises(UndefinedError, match="40 for the 60 units of layer_0; pool"):
        ridge_r2(np.random.default_rng(0).normal(size=(50, 60)), np.eye(50)[:, :3])
    wide = np.random.default_rng(0).normal(size=(50, 60))
    assert np.isfinite(probe_accuracy(wide, np.arange(50) % 2, penalty=0.01))


def test_nothing_to_fit_is_undefined() -> None:
    for x, labels in ((np.ones((50, 3)), np.arange(50) % 2), (X[:50], np.zeros(50, np.int64))):
        with pytest.raises(UndefinedError, match="there is nothing to fit"):
            probe_accuracy(x, labels)


def test_a_class_that_the_fit_has_not_seen_is_never_named_and_not_impossible() -> None:
    fit = LABELS[FIT] != 3
    given = (X[SCORED], LABELS[SCORED])
    known = X[FIT][fit], LABELS[FIT][fit]
    accuracy = probe_accuracy(*given, fit=known)
    assert accuracy <= np.mean(LABELS[SCORED] != 3)
    assert np.isfinite(label_information(*given, fit=known))
    assert label_information(
        X[SCORED], LABELS[SCORED] + 10**9, fit=(known[0], known[1] + 10**9)
    ) == (label_information(*given, fit=known))


# Shares of the samples, put together


@pytest.mark.parametrize("seed", range(8))
def test_shares_give_the_fits_of_the_whole(seed: int) -> None:
    """Also where a unit is constant in a half, or two agree on all samples that are fitted to."""
    rng = np.random.default_rng(seed)
    n, ids = 400, torch.arange(400)
    first_half = np.array([half_of(i) == 0 for i in range(n)])
    x = rng.normal(size=(n, 12)) * np.exp(rng.normal(size=12))
    x[first_half, 3] = 0.7  # nothing but rounding is left of it, about any pivot
    x[~first_half, 4] = 0.0
    x[:, 8] = x[:, 2]
    x[:, 9] = 3 * x[:, 1] - 2
    labels = torch.from_numpy(rng.integers(0, 3, n))

    def fitting(where: NDArray[np.intp]) -> Fitting:
        own = Fitting(frozenset({"labels"}), n, Classes(3, labels), None, ids.device)
        for rows in torch.from_numpy(where).split(64):
            own.update([Layer("a", 0, "", torch.from_numpy(x)[rows])], ids[rows], labels[rows])
        return own

    order = rng.permutation(n)
    shares = [fitting(order[i::3]) for i in range(3)]
    whole, merged = fitting(order).fits(), shares[0].merge(shares[1]).merge(shares[2]).fits()
    others = torch.from_numpy(rng.normal(size=(50, 12)))  # on which the two do not agree
    kept = [i for i in range(12) if i not in (8, 9)]
    for of, rows, units in (
        (lambda z: z, slice(None), kept),
        (lambda z: z.half, first_half, [i for i in kept if i != 3]),
    ):
        model = LinearRegression().fit(x[rows][:, units], np.eye(3)[labels.numpy()[rows]])
        wanted = model.predict(others.numpy()[:, units])
        for fits_of in (whole, merged):
            found = of(fits_of).scores("a", fits_of.shifted("a", others), ids[:50])
            np.testing.assert_allclose(found, wanted, atol=1e-8)
