"""Tests of `cmp_core.analysis.crossed`: mean squares by hand, Student's t, and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from cmp_core.analysis.crossed import Estimate, estimate, estimate_difference

Array = NDArray[np.float64]


def table(seeds: int, units: int, rng: np.random.Generator, spread: float = 1.0) -> Array:
    """Seeds × samples: effects of both, and a rest."""
    of_seeds = spread * rng.normal(size=(seeds, 1)) / math.sqrt(units)
    return of_seeds + rng.normal(size=(1, units)) + rng.normal(size=(seeds, units))


def of(values: Array) -> Estimate:
    means = values.mean(axis=1)
    return estimate(means, values - means[:, None])


def test_the_mean_squares_are_those_of_a_two_way_table() -> None:
    """By the sums of squares of the textbook, written out."""
    values = table(4, 30, np.random.default_rng(0), spread=5)
    s, n = values.shape
    grand = values.mean()
    ms_s = n * sum((row.mean() - grand) ** 2 for row in values) / (s - 1)
    ms_n = s * sum((column.mean() - grand) ** 2 for column in values.T) / (n - 1)
    rest = sum(
        (values[i, j] - values[i].mean() - values[:, j].mean() + grand) ** 2
        for i in range(s)
        for j in range(n)
    ) / ((s - 1) * (n - 1))
    total = ms_s + max(ms_n - rest, 0)
    found = of(values)
    assert found.effect == pytest.approx(grand)
    assert found.error == pytest.approx(math.sqrt(total / (s * n)))
    parts = ms_s**2 / (s - 1) + ms_n**2 / (n - 1) + rest**2 / ((s - 1) * (n - 1))
    assert found.freedom == pytest.approx(total**2 / parts)
    assert found.between_seeds == pytest.approx(np.var(values.mean(1), ddof=1))
    assert found.between_samples == pytest.approx((ms_n - rest) / (s * n))


def test_without_samples_it_is_students_test_over_seeds() -> None:
    effects = np.array([0.1, 0.3, 0.2, 0.5])
    found, test = estimate(effects, None), stats.ttest_1samp(effects, 0.05)
    assert found.interval == pytest.approx(tuple(test.confidence_interval()))
    assert found.p(0.05) == pytest.approx(test.pvalue)


def test_of_one_seed_the_error_is_that_of_its_samples() -> None:
    values = np.random.default_rng(0).normal(size=(1, 50)) + 3
    test = stats.ttest_1samp(values[0], 0)
    assert of(values).interval == pytest.approx(tuple(test.confidence_interval()))
    assert math.isnan(of(values).between_seeds)


def test_one_seed_without_samples_has_no_interval() -> None:
    found = estimate(np.array([0.3]), None)
    assert found.effect == 0.3
    assert math.isnan(found.half_width)
    assert math.isnan(found.p(0))


def test_seeds_that_are_alike_have_the_error_of_the_samples() -> None:
    """More of the same network do not make its samples more."""
    row = np.random.default_rng(0).normal(size=(1, 200))
    one, five = of(row), of(np.repeat(row, 5, axis=0))
    assert five.error == pytest.approx(one.error)


def test_p_is_below_a_twentieth_exactly_where_the_interval_ends() -> None:
    found = of(table(3, 40, np.random.default_rng(1)))
    low, high = found.interval
    for end in (low, high):
        assert found.p(end) == pytest.approx(0.05)
    assert found.p((low + high) / 2) == pytest.approx(1)


def test_more_seeds_narrow_what_seeds_make_wide_and_no_more() -> None:
    found = of(table(3, 400, np.random.default_rng(2), spread=30))
    assert found.half_width_of(12) < 0.6 * found.half_width_of(3)
    samples_alone = Estimate(0.0, 0.1, 30, 3, between_seeds=0.0, between_samples=0.01)
    assert samples_alone.half_width_of(50) == samples_alone.half_width_of(3)
    assert samples_alone.half_width_of(3, samples=4) == samples_alone.half_width_of(3) / 2


def test_other_seeds_without_samples_are_welchs_test() -> None:
    a, b = np.array([1.0, 2.0, 4.0]), np.array([3.0, 3.5, 7.0, 5.0])
    found, expected = estimate_difference((a, None), (b, None)), stats.ttest_ind(b, a, equal_var=0)
    assert found.p(0.0) == pytest.approx(expected.pvalue)
    assert found.freedom == pytest.approx(expected.df)


def test_other_seeds_that_are_alike_have_the_error_of_the_samples() -> None:
    """Of two networks that are always the same, whatever the seed, on the same samples."""
    rng = np.random.default_rng(0)
    one, two = (np.repeat(x - x.mean(), 3).reshape(-1, 3).T for x in rng.normal(size=(2, 200)))
    found = estimate_difference((np.full(3, 0.5), one), (np.full(3, 0.7), two))
    assert found.effect == pytest.approx(0.2)
    assert found.error == pytest.approx((two - one)[0].std(ddof=1) / math.sqrt(200))
    assert found.freedom == pytest.approx(199)


def test_effects_that_tie_have_the_error_of_the_rest() -> None:
    """Counts of few samples tie; seeds that err on other samples are not one network for that."""
    hits = np.array([[1, 1, 0, 0, 1, 0], [0, 1, 1, 0, 0, 1], [0, 0, 1, 1, 0, 1]]) - 0.5
    found = of(hits)
    by_sample = hits.mean(axis=0)
    rest = ((hits - by_sample) ** 2).sum() / (2 * 5)
    of_samples = max(3 * by_sample.var(ddof=1) - rest, 0)
    assert found.error == pytest.approx(math.sqrt((rest + of_samples) / 18))
    both = estimate_difference((hits.mean(1), hits), (hits.mean(1) + 0.1, -hits))
    assert both.effect == pytest.approx(0.1)
    assert both.error >= math.sqrt(2 * rest / 18) > 0


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("units", [20, 400])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_cover_the_truth(seeds: int, units: int, spread: float) -> None:
    """With seeds that vary and seeds that do not, of samples and of 20 groups."""
    rng = np.random.default_rng([seeds, units])
    held = 0
    for _ in range(600):
        low, high = of(table(seeds, units, rng, spread)).interval
        held += low <= 0 <= high
    assert 0.92 <= held / 600 <= 0.985
