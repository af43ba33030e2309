"""Inference against SciPy, brute force and closed forms, and by simulation.

A rate over 1,000 simulations of something that happens with probability .05 is at most 73 in
1,000, save once in a thousand: `ALLOWED`.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise, permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from cmp_core.analysis.inference import (
    LEVEL,
    RESAMPLES,
    Floats,
    MeanTest,
    agreement,
    bootstrap,
    decide,
    holm,
    interval,
    kappa,
    kendall_tau,
    mcnemar,
    mean_test,
    page_p,
    slope,
)

SIMULATIONS = 1000
ALLOWED = stats.binom.isf(0.001, SIMULATIONS, LEVEL) / SIMULATIONS
DOCS = Path(__file__).parents[2] / "docs" / "questions.md"

per_seed = arrays(np.float64, st.integers(2, 8), elements=st.floats(-1, 1)).filter(
    lambda values: np.ptp(values) > 1e-3
)
right = arrays(np.bool_, 30)


# The mean of one number per seed


@given(arrays(np.float64, st.integers(2, 20), elements=st.floats(-10, 10)))
def test_the_slope_is_that_of_least_squares(values: Floats) -> None:
    depth = np.arange(len(values))
    assert slope(values) == pytest.approx(np.polyfit(depth, values, 1)[0], abs=1e-10)


def test_the_slope_of_two_layers_is_their_difference() -> None:
    assert slope(np.array([0.25, 0.75])) == 0.5


@given(per_seed)
def test_the_test_of_the_mean_is_students(values: Floats) -> None:
    result, expected = mean_test(values, 0.1), stats.ttest_1samp(values, 0)
    low, high = expected.confidence_interval(1 - LEVEL)
    assert result.p == pytest.approx(expected.pvalue, abs=1e-12)
    assert (result.low, result.high) == pytest.approx((low, high))
    assert result.effect == pytest.approx(values.mean())
    assert result.standardized == pytest.approx(expected.statistic / math.sqrt(len(values)))


@given(per_seed, st.floats(0.01, 1))
def test_equivalence_is_the_worse_of_two_one_sided_tests(values: Floats, margin: float) -> None:
    above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(values, margin, alternative="less").pvalue
    assert mean_test(values, margin).p_equivalence == pytest.approx(max(above, below), abs=1e-9)


@given(arrays(np.int64, st.integers(2, 8), elements=st.integers(-64, 64)), st.integers(0, 10))
def test_the_sign_flip_test_counts_all_flips(values: NDArray[np.int64], scale: int) -> None:
    """Of values whose sums are exact, so that it is not for rounding to decide what a tie is."""
    sums = [np.sum(values * signs) for signs in product((-1, 1), repeat=len(values))]
    tail = np.mean(np.array(sums) >= abs(values.sum()))
    assert mean_test(values / 2.0**scale, 0.1).p_sign_flip == pytest.approx(min(1, 2 * tail))


def test_many_seeds_are_flipped_at_random_but_the_same_way_each_time() -> None:
    values = np.random.default_rng(0).normal(0.5, 1, 20)
    first = mean_test(values, 0.1)
    assert first == mean_test(values, 0.1)
    assert first.p_sign_flip == pytest.approx(first.p, abs=0.02)


@given(per_seed, st.floats(0.01, 100))
def test_units_do_not_matter(values: Floats, unit: float) -> None:
    one, other = mean_test(values, 0.1), mean_test(values * unit, 0.1 * unit)
    assert other.p == pytest.approx(one.p, abs=1e-9)
    assert other.p_equivalence == pytest.approx(one.p_equivalence, abs=1e-9)
    assert other.standardized == pytest.approx(one.standardized)


def test_one_seed_has_an_effect_and_no_test() -> None:
    result = mean_test(np.array([0.3]), 0.01)
    assert (result.effect, result.n) == (0.3, 1)
    assert all(math.isnan(x) for x in (result.low, result.high, result.p, result.p_sign_flip))
    assert math.isnan(result.p_equivalence)
    assert math.isnan(result.standardized)


def test_of_two_seeds_the_t_distribution_is_cauchys() -> None:
    result = mean_test(np.array([1.0, 3.0]), 0.01)  # mean 2, standard error 1
    assert result.p == pytest.approx(1 - 2 * math.atan(2) / math.pi)
    assert decide(result, 0.01) == "inconclusive"


@pytest.mark.parametrize(
    ("values", "p", "p_equivalence", "verdict"),
    [
        ([0.5, 0.5], 0.5, 1, "inconclusive"),
        ([0.1, 0.1, 0.1], 0.25, 1, "inconclusive"),  # the mean of these is not 0.1 in binary
        ([0.5] * 5, 2 / 32, 1, "inconclusive"),
        ([0.5] * 6, 2 / 64, 1, "yes"),
        ([-0.5] * 6, 2 / 64, 1, "no"),
        ([0.0, 0.0], 1, 1 / 4, "inconclusive"),
        ([0.0] * 5, 1, 1 / 32, "no"),
        ([1e-17, -1e-17, 0, 0, 0], 1, 1 / 32, "no"),
    ],
)
def test_seeds_that_do_not_vary_are_tested_by_their_signs(
    values: list[float], p: float, p_equivalence: float, verdict: str
) -> None:
    result = mean_test(np.array(values), 0.01)
    assert (result.p, result.p_sign_flip) == (p, p)
    assert result.p_equivalence == p_equivalence
    assert math.isnan(result.low)
    assert math.isnan(result.high)
    assert math.isnan(result.standardized)
    assert decide(result, 0.01) == verdict


# Verdicts


@pytest.mark.parametrize(
    ("effect", "p", "p_equivalence", "verdict"),
    [
        (0.1, 0.04, 0.9, "yes"),
        (0.1, 0.06, 0.9, "inconclusive"),
        (0.04, 0.001, 0.3, "inconclusive"),  # there, but it may or may not count
        (0.04, 0.001, 0.01, "no"),  # there, but too small to count
        (0.0, 1.0, 0.04, "no"),
        (0.0, 1.0, 0.06, "inconclusive"),
        (-0.1, 0.04, 0.9, "no"),
        (-0.1, 0.06, 0.9, "inconclusive"),
    ],
)
def test_the_verdict_follows_from_effect_and_tests(
    effect: float, p: float, p_equivalence: float, verdict: str
) -> None:
    test = MeanTest(effect, 5, p=p, p_equivalence=p_equivalence)
    assert decide(test, margin=0.05) == verdict


@pytest.mark.parametrize(("effect", "verdict"), [(0.05, "yes"), (0.049, "no"), (-1.0, "no")])
def test_of_one_seed_the_effect_alone_is_compared(effect: float, verdict: str) -> None:
    assert decide(MeanTest(effect, 1), margin=0.05) == verdict


@given(per_seed, st.floats(0.01, 1))
def test_a_trend_and_its_reverse_are_never_both_there(values: Floats, margin: float) -> None:
    there, reverse = (decide(mean_test(x, margin), margin) for x in (values, -values))
    assert there != "yes" or reverse == "no"


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        (["yes", "yes"], "yes"),
        (["no"], "no"),
        (["yes", "no"], "inconclusive"),
        (["yes", "inconclusive"], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_verdicts_must_agree(verdicts: list, together: str) -> None:
    assert agreement(verdicts) == together


# Trends within seeds


@given(arrays(np.int64, (3, 6), elements=st.integers(0, 4)))
def test_kendalls_tau_is_scipys_with_ties(values: NDArray[np.int64]) -> None:
    expected = np.mean([stats.kendalltau(range(6), row).statistic for row in values])
    assert kendall_tau(values.astype(float)) == pytest.approx(expected, nan_ok=True)


def test_kendalls_tau_counts_pairs() -> None:
    # 5 pairs of 6 rise; then one of three pairs ties: 2 / √(3·2).
    assert kendall_tau(np.array([[1.0, 3.0, 2.0, 4.0]])) == pytest.approx(4 / 6)
    assert kendall_tau(np.array([[1.0, 1.0, 2.0]])) == pytest.approx(2 / math.sqrt(6))
    assert kendall_tau(np.array([[0.3, 0.7], [0.7, 0.3]])) == 0
    assert math.isnan(kendall_tau(np.ones((2, 3))))


def test_pages_test_counts_all_orders() -> None:
    values = np.array([[1.0, 3.0, 2.0], [1.0, 2.0, 3.0]])
    weights = np.arange(1, 4)
    observed = weights @ values.sum(0)
    orders = list(permutations(weights))
    sums = [weights @ np.add(a, b) for a in orders for b in orders]
    assert page_p(values) == pytest.approx(np.mean(np.array(sums) >= observed))


def test_pages_test_is_one_sided_and_needs_two_seeds_and_three_layers() -> None:
    rising = np.tile(np.arange(5.0), (4, 1))
    assert page_p(rising) < 0.001
    assert page_p(-rising) > 0.999
    assert math.isnan(page_p(rising[:1]))
    assert math.isnan(page_p(rising[:, :2]))


# Resampled predictions


def test_the_bootstrap_of_one_seed_has_the_spread_of_a_mean_over_samples() -> None:
    hits = np.random.default_rng(1).random((1, 500, 4)) < [0.7, 0.75, 0.8, 0.85]
    each = np.array([slope(sample) for sample in hits[0].astype(float)])
    slopes, taus = bootstrap(hits)
    assert slopes.shape == taus.shape == (RESAMPLES,)
    assert slopes.std() == pytest.approx(each.std() / math.sqrt(500), rel=0.08)
    assert slopes.mean() == pytest.approx(each.mean(), abs=4 * slopes.std() / math.sqrt(RESAMPLES))


def test_the_bootstrap_draws_seeds() -> None:
    hits = np.zeros((2, 20, 2), bool)
    hits[0, :, 1] = True  # one seed rises by 1, the other not: no sample matters
    slopes, taus = bootstrap(hits)
    values, counts = np.unique(slopes, return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    assert counts / RESAMPLES == pytest.approx([0.25, 0.5, 0.25], abs=0.04)
    assert (taus == slopes).all()  # the flat seed counts as half-way


def test_the_bootstrap_draws_the_same_samples_for_all_seeds() -> None:
    one = np.random.default_rng(2).random((1, 300, 3)) < 0.6
    slopes, _ = bootstrap(one)
    doubled, _ = bootstrap(np.concatenate([one, one]))
    assert doubled.std() == pytest.approx(slopes.std(), rel=0.08)  # apart it would be 1/√2 of it


@settings(max_examples=20)
@given(arrays(np.bool_, (1, 1, 5)))
def test_the_bootstraps_tau_is_scipys_with_ties(hits: NDArray[np.bool_]) -> None:
    slopes, taus = bootstrap(hits)  # one seed and one sample: every resample is the same
    expected = stats.kendalltau(range(5), hits[0, 0].astype(int)).statistic
    assert set(slopes) == {slopes[0]}
    assert taus == pytest.approx(np.full(RESAMPLES, np.nan_to_num(expected)))


def test_the_bootstrap_is_the_same_each_time() -> None:
    hits = np.random.default_rng(3).random((3, 50, 4)) < 0.5
    for one, other in zip(bootstrap(hits), bootstrap(hits), strict=True):
        assert (one == other).all()


def test_the_interval_leaves_a_fortieth_on_either_side() -> None:
    assert interval(np.arange(1001.0)) == (25, 975)


# Layers compared sample by sample


@given(right, right)
def test_mcnemar_is_a_fair_coin_on_the_samples_that_differ(
    first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> None:
    lost, won, p = mcnemar(first, second)
    n = lost + won
    assert lost == sum(a and not b for a, b in zip(first, second, strict=True))
    assert won - lost == int(second.sum()) - int(first.sum())
    tail = sum(math.comb(n, k) for k in range(min(lost, won) + 1)) / 2**n
    assert p == pytest.approx(min(1, 2 * tail))


@given(right, right)
def test_kappa_is_scikit_learns(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> None:
    if {first.all(), (~first).all(), second.all(), (~second).all()} == {np.False_}:
        assert kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
    else:
        assert math.isnan(kappa(first, second))


def test_kappa_by_hand() -> None:
    first = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], bool)
    second = np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0], bool)
    assert kappa(first, second) == pytest.approx((0.8 - 0.58) / (1 - 0.58))
    assert kappa(first, first) == 1


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_step_by_step(p: list[float]) -> None:
    adjusted = holm(p)
    assert len(adjusted) == len(p)
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for rank, index in enumerate(np.argsort(p, kind="stable")):  # as Holm's paper has it
            if p[index] * (len(p) - rank) > level:
                break
            rejected.add(int(index))
        assert {i for i, value in enumerate(adjusted) if value <= level} == rejected


# Simulations


def noise(
    seeds: int, layers: int, rng: np.random.Generator, heavy: bool = False, rho: float = 0.9
) -> Floats:
    """Values (SIMULATIONS, seeds, layers) without a trend.

    Neighbouring layers are correlated by rho, and each seed has an offset. Heavy tails are those
    of Student's t with 2 degrees of freedom, whose variance is infinite.
    """
    shape = (SIMULATIONS, seeds, layers)
    steps = rng.standard_t(2, shape) if heavy else rng.normal(size=shape)
    values = steps.copy()
    for layer in range(1, layers):
        values[..., layer] = rho * values[..., layer - 1]
        values[..., layer] += math.sqrt(1 - rho**2) * steps[..., layer]
    return values + rng.normal(size=(SIMULATIONS, seeds, 1))


def changes(values: Floats) -> Floats:
    """The change of the fitted line over the whole depth, (SIMULATIONS, seeds)."""
    return np.apply_along_axis(slope, 2, values) * (values.shape[2] - 1)


def rates(samples: Floats, margin: float) -> dict[str, float]:
    """How often mean_test finds p < LEVEL, equivalence, and each verdict."""
    tests = [mean_test(sample, margin) for sample in samples]
    verdicts = [decide(test, margin) for test in tests]
    return {
        "p": float(np.mean([test.p < LEVEL for test in tests])),
        "equivalence": float(np.mean([test.p_equivalence < LEVEL for test in tests])),
    } | {name: verdicts.count(name) / len(verdicts) for name in ("yes", "no", "inconclusive")}


@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy_tails"])
@pytest.mark.parametrize("layers", [4, 12])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_no_trend_is_rarely_found_where_there_is_none(seeds: int, layers: int, heavy: bool) -> None:
    rng = np.random.default_rng([seeds, layers, heavy])
    found = rates(changes(noise(seeds, layers, rng, heavy)), margin=0.01)
    assert found["p"] <= ALLOWED
    assert found["yes"] <= ALLOWED / 2 + 0.01  # only one side of the two-sided test says yes


@pytest.mark.parametrize("seeds", [2, 3, 4])
@pytest.mark.parametrize("samples", [100, 1000])
def test_counts_that_tie_by_chance_are_no_trend(seeds: int, samples: int) -> None:
    """Two layers of accuracy .97 that err independently: the gain is a small whole number."""
    rng = np.random.default_rng([seeds, samples])
    right = rng.binomial(samples, 0.97, (SIMULATIONS, seeds, 2)) / samples
    found = rates(changes(right), margin=0.01)
    assert found["p"] <= ALLOWED
    assert found["yes"] <= ALLOWED


@pytest.mark.parametrize("layers", [4, 12])
def test_pages_test_finds_trends_too_often_where_layers_are_correlated(layers: int) -> None:
    """Why verdicts do not rest on it: `docs/questions.md` states this rate."""
    values = noise(5, layers, np.random.default_rng(layers))
    rate = np.mean([page_p(sample) < LEVEL for sample in values])
    assert rate == pytest.approx({4: 0.08, 12: 0.2}[layers], abs=0.04)
    assert rate > ALLOWED
    assert np.mean(stats.ttest_1samp(changes(values), 0, axis=1).pvalue < LEVEL) <= ALLOWED


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_pages_test_is_right_where_layers_are_independent(seeds: int) -> None:
    values = noise(seeds, 5, np.random.default_rng(seeds), rho=0)
    assert np.mean([page_p(sample) < LEVEL for sample in values]) <= ALLOWED


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_covers_the_true_change(seeds: int) -> None:
    values = noise(seeds, 6, np.random.default_rng(seeds)) + 0.2 * np.arange(6)
    tests = [mean_test(sample, 0.1) for sample in changes(values)]
    assert np.mean([not test.low <= 1.0 <= test.high for test in tests]) <= ALLOWED


@pytest.mark.parametrize("spread", [0.25, 0.5, 2])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_no_is_rarely_said_where_the_effect_counts(seeds: int, spread: float) -> None:
    """The true effect is the margin itself."""
    errors = np.random.default_rng([seeds, int(4 * spread)]).normal(0, spread, (SIMULATIONS, seeds))
    found = rates(1 + errors, margin=1)
    assert found["no"] <= ALLOWED
    assert found["equivalence"] <= ALLOWED


# Power, as `docs/questions.md` states it


def table(heading: str) -> dict[int, dict[float, float]]:
    """The table of that first heading: seeds, then the number in a heading, to the rate."""
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading}"))
    rows = [line.strip("| ").split("|") for line in lines[start:]]
    end = next(i for i, row in enumerate(rows) if len(row) < 2)
    heads, _, *body = rows[:end]
    effects = [float(re.search(r"[\d.]+", head)[0]) for head in heads[1:]]
    return {int(row[0]): dict(zip(effects, map(float, row[1:]), strict=True)) for row in body}


def exact_power(effect: float, seeds: int) -> float:
    """The probability of a two-sided p < LEVEL at a true mean of `effect` standard deviations."""
    bound, shift = stats.t.ppf(1 - LEVEL / 2, seeds - 1), effect * math.sqrt(seeds)
    tails = stats.nct.sf(bound, seeds - 1, shift), stats.nct.cdf(-bound, seeds - 1, shift)
    return float(sum(tails))


def test_the_documented_power_is_the_exact_one() -> None:
    stated = table("seeds, yes")
    assert {1, 1.5, 2} <= stated[5].keys()
    for seeds, row in stated.items():
        for effect, power in row.items():
            assert power == pytest.approx(exact_power(effect, seeds), abs=0.015)


@pytest.mark.parametrize("effect", [1, 1.5, 2])
@pytest.mark.parametrize("seeds", [3, 5])
def test_a_trend_is_found_as_often_as_documented(seeds: int, effect: float) -> None:
    values = noise(seeds, 4, np.random.default_rng([seeds, int(2 * effect)]))
    spread = changes(values).std()
    values += effect * spread * np.arange(4) / 3
    found = rates(changes(values), margin=0.01)
    assert found["yes"] == pytest.approx(table("seeds, yes")[seeds][effect], abs=0.06)


@pytest.mark.parametrize("spread", [0.25, 0.5, 1])
@pytest.mark.parametrize("seeds", [3, 5])
def test_no_effect_is_found_as_often_as_documented(seeds: int, spread: float) -> None:
    samples = np.random.default_rng([seeds, int(4 * spread)]).normal(
        0, spread, (SIMULATIONS, seeds)
    )
    assert rates(samples, 1)["no"] == pytest.approx(table("seeds, no")[seeds][spread], abs=0.06)


def test_the_documented_power_grows_with_seeds() -> None:
    for stated in (table("seeds, yes"), table("seeds, no")):
        for few, many in pairwise(sorted(stated)):
            assert all(stated[few][effect] <= stated[many][effect] for effect in stated[few])
