"""Tests of `cmp_core.statistics.least_squares`: units that count, and known solutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cmp_core.errors import UsageError
from cmp_core.statistics.least_squares import LeastSquares, Ridge, ridge_lambda


def test_the_units_that_count_are_as_many_as_the_rank() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 20)) @ rng.normal(size=(20, 35))
    x = torch.from_numpy(x - x.mean(0))
    solved = LeastSquares.of(x.T @ x)
    assert solved.rank == 20
    y = torch.from_numpy(rng.normal(size=(300, 2)))
    y = y - y.mean(dim=0)
    wanted = x @ torch.linalg.lstsq(x, y, driver="gelsd").solution
    np.testing.assert_allclose(x @ solved.weights(x.T @ y), wanted, atol=1e-8)


def test_units_at_any_scale_count_alike() -> None:
    """Variances over forty decades, as a diagonal map makes them."""
    x = np.random.default_rng(0).normal(size=(100, 5))
    x = torch.from_numpy((x - x.mean(0)) * np.logspace(-10, 10, 5))
    assert LeastSquares.of(x.T @ x).rank == 5


def test_where_no_unit_varies_there_are_no_weights() -> None:
    solved = LeastSquares.of(torch.zeros(3, 3, dtype=torch.float64))
    assert solved.rank == 0
    assert solved.weights(torch.zeros(3, 2, dtype=torch.float64)).isnan().all()


def test_ridge_weights_solve_the_penalised_equations() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 4)))
    y = torch.from_numpy(np.random.default_rng(1).normal(size=(30, 2)))
    lambda_ = ridge_lambda((x.T @ x).trace(), 4, 0.1)
    assert float(lambda_) == pytest.approx(0.1 * float(x.square().sum()) / 4)
    weights = Ridge.of(x.T @ x, lambda_).weights(x.T @ y)
    np.testing.assert_allclose(x.T @ (y - x @ weights), lambda_ * weights, atol=1e-10)


def test_a_penalty_is_above_zero_and_nothing_to_fit_has_none() -> None:
    assert ridge_lambda(torch.tensor(0.0), 4, 0.1).isnan()
    with pytest.raises(UsageError, match="penalty: expected a number above 0, got -1"):
        ridge_lambda(torch.tensor(1.0), 4, -1)
