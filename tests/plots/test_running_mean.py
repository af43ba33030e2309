"""Tests of `cmp_plots._running_mean`: against sums over all pairs of steps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cmp_plots._running_mean import half_window, running_mean

STEPS = np.array([2, 4, 6, 8, 11, 12, 14, 16, 18, 20, 22, 24])
EQUAL = np.full(len(STEPS), 32)


def test_a_small_last_batch_is_in_no_window_of_its_own() -> None:
    """As of digits: batches of 32, of which the last is of 14 and bad."""
    values = np.array([0.955] * 11 + [0.78])
    n = np.array([32] * 11 + [14])
    means = running_mean(STEPS, values, n, 8)
    known = np.flatnonzero(np.isfinite(means))
    assert STEPS[known].tolist() == [11, 12, 14, 16]  # half a window in from both ends
    assert means[known[:-1]] == pytest.approx(0.955)
    # 8 … 24 around 16: nine batches of 32 and the small one.
    assert means[known[-1]] == pytest.approx((8 * 32 * 0.955 + 14 * 0.78) / (8 * 32 + 14))


def test_values_are_weighted_by_their_samples_at_any_distances() -> None:
    draw = np.random.default_rng(0)
    steps = np.unique(draw.integers(1, 400, 120))
    values, n = draw.normal(size=len(steps)), draw.integers(1, 64, len(steps))
    found = running_mean(steps, values, n, 25)
    for place, step in enumerate(steps):
        if step - 25 < steps[0] or step + 25 > steps[-1]:
            assert math.isnan(found[place])
            continue
        pairs = [(v, w) for t, v, w in zip(steps, values, n, strict=True) if abs(t - step) <= 25]
        expected = sum(v * w for v, w in pairs) / sum(w for _, w in pairs)
        assert found[place] == pytest.approx(expected)


def test_where_samples_are_not_known_all_values_count_alike() -> None:
    values = np.arange(12.0)
    for n in (np.zeros(12, int), np.where(STEPS == 2, 0, 32)):
        assert running_mean(STEPS, values, n, 8)[5] == pytest.approx(values[1:10].mean())


def test_a_gap_ends_a_window_as_the_end_of_training_does() -> None:
    steps = np.arange(1, 101)
    values = np.where((steps >= 40) & (steps < 60), math.nan, 1.0 * steps)
    means = running_mean(steps, values, np.full(100, 32), 5)
    assert steps[np.isfinite(means)].tolist() == [*range(6, 35), *range(65, 96)]
    few = np.where((steps >= 40) & (steps < 43), math.nan, 1.0 * steps)
    assert np.isfinite(running_mean(steps, few, np.full(100, 32), 5)).sum() == 90 - 3


def test_without_values_or_with_fewer_than_a_window_there_is_no_mean() -> None:
    for values in (np.full(12, math.nan), np.arange(12.0)):
        assert np.isnan(running_mean(STEPS, values, EQUAL, 12)).all()


def test_sizes_far_apart_do_not_swallow_each_other() -> None:
    steps, values = np.arange(30), np.array([1e38] + [1.0] * 29)
    assert running_mean(steps, values, np.full(30, 32), 4)[10] == 1.0


@pytest.mark.parametrize(
    ("steps", "half"),
    [(range(1, 2001), 50), (range(5, 101, 5), 20), ([10], 1), ([], 1), ([1, 2, 3, 90], 4)],
)
def test_a_window_is_a_twentieth_of_the_steps_or_nine_values(steps: list[int], half: int) -> None:
    assert half_window(np.array(steps, dtype=int)) == half
