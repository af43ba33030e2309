"""Tests of `cmp_core.statistics.gram`: Gram matrices, and ridge fits left out in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cmp_core.statistics.gram import GramRidge, Grams
from cmp_core.statistics.moments import centred

Array = NDArray[np.float64]
PENALTY = 0.3


def layers(n: int) -> list[Array]:
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, 40)) + 5
    return [x, np.maximum(x @ rng.normal(size=(40, 40)), 0)]


def grams_of(arrays: list[Array]) -> Grams:
    stacked = torch.stack([torch.from_numpy(array) for array in arrays])
    return Grams.of([centred(stacked)])


def refitted(x: Array, y: Array, fold: NDArray[np.intp]) -> Array:
    """Predict each sample by a ridge regression that is fitted anew to the other folds."""
    everything = x - x.mean(0)
    lambda_ = PENALTY * (everything**2).sum() / x.shape[1]
    predicted = np.empty_like(y)
    for held_out in range(5):
        train = fold != held_out
        mean, target = x[train].mean(0), y[train].mean(0)
        a = x[train] - mean
        weights = np.linalg.solve(a.T @ a + lambda_ * np.eye(x.shape[1]), a.T @ (y[train] - target))
        predicted[~train] = (x[~train] - mean) @ weights + target
    return predicted


@pytest.mark.parametrize("n", [5, 20, 23, 24])
def test_predictions_are_those_of_fits_to_the_other_folds(n: int) -> None:
    """Folds of one size, and of two."""
    arrays = layers(n)
    order = np.random.default_rng(1).permutation(n)
    fold = np.empty(n, np.intp)
    fold[order] = np.arange(n) % 5
    widths = torch.tensor([40, 40])
    ridge = GramRidge.of(grams_of(arrays), widths, torch.from_numpy(order), PENALTY)
    targets = np.random.default_rng(2).normal(size=(n, 3))
    found = ridge.predictions(torch.from_numpy(targets)).numpy()
    for own, x in zip(found, arrays, strict=True):
        np.testing.assert_allclose(own, refitted(x, targets, fold), rtol=0, atol=1e-9)
    errors = ((arrays[1] - refitted(arrays[0], arrays[1], fold)) ** 2).sum(axis=1)
    np.testing.assert_allclose(ridge.squared_errors()[0].numpy(), errors, rtol=1e-9)


def test_inner_products_are_those_of_the_centred_layers() -> None:
    arrays = layers(12)
    inner = grams_of(arrays).inner()
    x, y = (array - array.mean(0) for array in arrays)
    assert float(inner.squares[0, 1]) == pytest.approx(((x.T @ y) ** 2).sum(), rel=1e-12)
    assert float(inner.own.x_total[1]) == pytest.approx((y**2).sum(), rel=1e-12)
    lengths = (x**2).sum(1) @ (y**2).sum(1)
    assert float(inner.lengths[0, 1]) == pytest.approx(lengths, rel=1e-12)
