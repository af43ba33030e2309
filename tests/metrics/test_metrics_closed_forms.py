"""The built-in metrics where the value is known without computing: closed forms and leakage."""

from __future__ import annotations

import itertools
import math
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from cmp_core.errors import UndefinedError
from cmp_core.events.activations import LayerView
from cmp_core.statistics.arrays import statistics_of
from cmp_core.testing import example_event
from cmp_metrics.eigenspectrum import eigenspectrum
from cmp_metrics.f1_score import f1_score
from cmp_metrics.gaussian_entropy import gaussian_entropy
from cmp_metrics.gaussian_entropy_ema import GaussianEntropyEma, diagonal_entropy
from cmp_metrics.label_information import label_information
from cmp_metrics.linear_cka import linear_cka
from cmp_metrics.mutual_information import mutual_information, pc1_binned
from cmp_metrics.participation_ratio import participation_ratio
from cmp_metrics.probe_accuracy import probe_accuracy
from cmp_metrics.ridge_r2 import ridge_r2
from cmp_metrics.within_class_variance import within_class_variance
from tests.oracles import metrics as oracles

Array = NDArray[np.float64]
SEEDS = range(20)
steady = settings(derandomize=True, deadline=None, max_examples=25)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def whitened(n: int, p: int, seed: int = 0) -> Array:
    """Return columns of mean 0 and variance 1 (over n) that are exactly uncorrelated."""
    x = normal(n, p, seed=seed)
    return np.linalg.qr(x - x.mean(0))[0] * math.sqrt(n)


def rotation(p: int, seed: int = 0) -> Array:
    return np.linalg.qr(normal(p, p, seed=seed))[0]


@st.composite
def layers(draw: st.DrawFn) -> Array:
    """Draw activations (n, p): some rectified, some offset, of any scale, wide and narrow."""
    n, p, seed = draw(st.integers(6, 40)), draw(st.integers(2, 40)), draw(st.integers(0, 999))
    x = normal(n, p, seed=seed) @ np.diag(draw(st.sampled_from([0.5, 1.0, 1.5])) ** np.arange(p))
    x = np.maximum(x, 0) + normal(n, 1, seed=seed) if draw(st.booleans()) else x
    return (x + draw(st.sampled_from([0.0, 3.0]))) * 10.0 ** draw(st.integers(-6, 6))


# Participation ratio and eigenvalues


@pytest.mark.parametrize("debiased", [True, False])
def test_one_direction_counts_as_one(debiased: bool) -> None:
    x = normal(50, 1) @ normal(1, 30, seed=1)
    assert participation_ratio(x, debiased=debiased) == pytest.approx(1, rel=0.1)
    assert participation_ratio(x, debiased=False) == pytest.approx(1, rel=1e-12)


def test_the_plain_ratio_follows_from_the_variances_of_the_axes() -> None:
    variances = np.array([4.0, 2.0, 1.0, 0.5])
    x = whitened(60, 4) * np.sqrt(variances) @ rotation(4)
    wanted = variances.sum() ** 2 / (variances**2).sum()
    assert participation_ratio(x, debiased=False) == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(eigenspectrum(x), variances * 60 / 59, rtol=1e-12)


def test_isotropic_data_count_their_units_where_the_plain_ratio_counts_samples() -> None:
    x = [normal(128, 512, seed=seed) for seed in SEEDS]
    debiased = [participation_ratio(batch) for batch in x]
    error = np.std(debiased) / math.sqrt(len(x))
    assert np.mean(debiased) == pytest.approx(512, abs=4 * error)
    assert 4 * error < 10
    assert participation_ratio(x[0], debiased=False) == pytest.approx(1 / (1 / 128 + 1 / 512), 0.02)


def test_the_debiased_parts_are_unbiased_for_heavy_tails_too() -> None:
    """A mixture of a narrow and a wide Gaussian, for which the Gaussian shortcut does not hold."""
    n, repeats, variances = 24, 1000, 1 / np.arange(1, 21)
    estimates = []
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, 20)) * np.sqrt(variances)
        (s,) = statistics_of(x * rng.choice([0.5, 2.5], size=(n, 1), p=[0.8, 0.2]))
        trace, norm, plain = s.squared_trace(), s.squared_norm(), s.squared_trace(debiased=False)
        shortcut = plain - 2 * norm / (n - 1)
        estimates.append([float(trace), float(norm), float(shortcut)])
    mean, error = np.mean(estimates, 0), np.std(estimates, 0) / math.sqrt(repeats)
    scale = 0.8 * 0.5**2 + 0.2 * 2.5**2
    trace, norm = (scale * variances.sum()) ** 2, scale**2 * (variances**2).sum()
    deviations = (mean - [trace, norm, trace]) / error
    assert np.abs(deviations[:2]).max() < 3
    assert deviations[2] > 3, "the shortcut passes, so the test tells nothing"


@steady
@given(layers())
def test_the_plain_ratio_is_between_1_and_the_number_of_units(x: Array) -> None:
    n, p = x.shape
    assert 1 - 1e-9 <= participation_ratio(x, debiased=False) <= min(n - 1, p) + 1e-9


@steady
@given(layers(), st.integers(0, 99), st.sampled_from([1e-3, 7.0]))
def test_a_layer_reads_the_same_turned_scaled_shifted_and_shuffled(
    x: Array, seed: int, scale: float
) -> None:
    n, p = x.shape
    order = np.random.default_rng(seed).permutation(n)
    mapped = (scale * (x @ rotation(p, seed) + np.abs(x).max()))[order]
    for debiased in (True, False):
        wanted = participation_ratio(x, debiased=debiased)
        found = participation_ratio(mapped, debiased=debiased)
        # Debiased, a ratio of two differences: a norm near 0 keeps fewer digits.
        assert found == pytest.approx(wanted, rel=1e-9 * max(1, abs(wanted)))
    shift = p * math.log(scale)
    assert gaussian_entropy(mapped) - shift == pytest.approx(gaussian_entropy(x), rel=1e-8)
    assert mutual_information(mapped) == pytest.approx(mutual_information(x), rel=1e-8)
    spectrum = scale**2 * eigenspectrum(x).numpy()
    np.testing.assert_allclose(eigenspectrum(mapped), spectrum, atol=1e-9 * spectrum[0])


# CKA


@pytest.mark.parametrize("debiased", [True, False])
@steady
@given(x=layers(), seed=st.integers(0, 99), scale=st.sampled_from([-1e-3, 40.0]))
def test_a_layer_is_like_its_rotation(x: Array, seed: int, scale: float, debiased: bool) -> None:
    turned = scale * x @ rotation(x.shape[1], seed) + np.abs(x).max()
    assert linear_cka(x, turned, debiased=debiased) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("debiased", [True, False])
@steady
@given(x=layers(), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_cka_is_symmetric_and_does_not_see_scale(
    x: Array, width: int, seed: int, debiased: bool
) -> None:
    y = np.maximum(x / x.std() @ normal(x.shape[1], width, seed=seed), 0) + normal(len(x), width)
    value = linear_cka(x, y, debiased=debiased)
    assert abs(value) <= 1
    assert linear_cka(y, x, debiased=debiased) == pytest.approx(value, rel=1e-12, abs=1e-12)
    scaled = linear_cka(1e3 * x, -1e-3 * y, debiased=debiased)
    assert scaled == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_independent_layers_are_unlike_only_when_debiased() -> None:
    pairs = [(normal(128, 512, seed=s), normal(128, 512, seed=s + 1000)) for s in SEEDS]
    debiased = np.array([linear_cka(x, y) for x, y in pairs])
    assert abs(debiased.mean()) < 3 * debiased.std() / math.sqrt(len(pairs))
    assert np.abs(debiased).max() < 0.03
    assert debiased.min() < 0, "values below 0 are clipped"
    assert linear_cka(*pairs[0], debiased=False) == pytest.approx(512 / (512 + 128), abs=0.01)


# Entropy


@pytest.mark.parametrize("deviation", [1e-3, 1.0, 1e3])
def test_the_entropy_of_a_normal_distribution(deviation: float) -> None:
    """The standard error of ½ log det is √(p/2n) = 0.012."""
    n, p = 20_000, 6
    wanted = p / 2 * math.log(2 * math.pi * math.e * deviation**2)
    found = gaussian_entropy(deviation * normal(n, p))
    assert found == pytest.approx(wanted, abs=4 * math.sqrt(p / 2 / n))
    assert (found < 0) == (deviation < 0.1)


def test_the_entropy_of_independent_units() -> None:
    variances = np.array([0.01, 1.0, 7.0])
    wanted = sum(0.5 * math.log(2 * math.pi * math.e * v) for v in variances)
    assert diagonal_entropy(variances) == pytest.approx(wanted, rel=1e-12)
    dead = diagonal_entropy(np.array([0.0, 2.0]))
    floor = 1e-6  # of the mean variance, which is 1
    assert dead == pytest.approx(math.log(2 * math.pi * math.e) + 0.5 * math.log(2 * floor), 1e-9)


def test_running_moments_are_those_of_the_weighted_mixture() -> None:
    decay = 0.7
    batches = [normal(30, 4, seed=s) * (s + 1) + 5 * s for s in range(4)]
    state = GaussianEntropyEma(decay=decay)
    for batch in batches:
        layer = attrs.evolve(
            example_event(n=30, widths=(4,)).layers[0], activations=torch.as_tensor(batch)
        )
        event = attrs.evolve(example_event(n=30, widths=(4,)), layers=(layer,))
        state.update(LayerView(event, layer))
    weights = np.array([decay**3, *((1 - decay) * decay**k for k in (2, 1, 0))])
    mean = sum(w * x.mean(0) for w, x in zip(weights, batches, strict=True))
    square = sum(w * ((x - mean) ** 2).mean(0) for w, x in zip(weights, batches, strict=True))
    assert weights.sum() == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(state.state_dict()["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(state.state_dict()["variance"], square, rtol=1e-12)
    wanted = sum(0.5 * math.log(2 * math.pi * math.e * v) for v in np.asarray(square))
    assert float(state.compute()) == pytest.approx(wanted, rel=1e-12)


# Mutual information


@pytest.mark.parametrize("n", [4, 60])
@pytest.mark.parametrize("snr", [0.5, 4.0, 64.0])
def test_the_gaussian_bound_is_that_of_parallel_channels(n: int, snr: float) -> None:
    variances = np.array([4.0, 2.0, 1.0])
    x = whitened(n, 3) * np.sqrt(variances) @ rotation(3)
    wanted = 0.5 * np.log1p(snr * variances / variances.sum()).sum()
    assert mutual_information(x, snr=snr)["gaussian"] == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("width", [20, 500])
def test_without_noise_samples_tell_themselves_apart(width: int) -> None:
    bounds = mutual_information(normal(300, width), snr=1e14)
    assert bounds["kt"] == bounds["lower"] == pytest.approx(math.log(300), rel=1e-12)


@pytest.mark.parametrize("width", [1, 30])
@pytest.mark.parametrize("snr", [0.5, 2.0, 10.0])
def test_two_points_have_bounds_in_closed_form(snr: float, width: int) -> None:
    """Half of the samples at -a, half at +a: σ² = ‖a‖²/snr, and ‖t-t'‖² = 4‖a‖² across."""
    x = np.where(np.arange(10)[:, None] < 5, -1.0, 1.0) * normal(1, width)
    bounds = mutual_information(x, snr=snr)
    assert bounds["kt"] == pytest.approx(-math.log((1 + math.exp(-2 * snr)) / 2), rel=1e-9)
    assert bounds["lower"] == pytest.approx(-math.log((1 + math.exp(-snr / 2)) / 2), rel=1e-9)
    assert bounds["gaussian"] == pytest.approx(math.log1p(snr) / 2, rel=1e-9)


@steady
@given(layers(), st.sampled_from([0.1, 1.0, 4.0, 30.0, 1e4]))
def test_the_bounds_keep_their_order_and_the_ceiling(x: Array, snr: float) -> None:
    bounds = mutual_information(x, snr=snr)
    ceiling = math.log(len(x))
    assert -1e-9 <= bounds["lower"] <= bounds[""] + 1e-9
    assert bounds[""] == min(bounds["kt"], bounds["gaussian"])
    assert bounds["kt"] <= ceiling + 1e-9
    assert bounds["saturated"] == (bounds[""] > 0.95 * ceiling)


@steady
@given(layers())
def test_more_noise_leaves_less_information(x: Array) -> None:
    values = [mutual_information(x, snr=snr) for snr in (64.0, 16.0, 4.0, 1.0, 0.25)]
    for less_noise, more_noise in itertools.pairwise(values):
        assert all(more_noise[name] < less_noise[name] + 1e-9 for name in ("", "kt", "gaussian"))
    assert values[-1][""] < values[0][""]


def test_points_far_apart_saturate_at_the_logarithm_of_their_number() -> None:
    x = normal(300, 20)
    assert mutual_information(x, snr=1e3)["kt"] == pytest.approx(math.log(300), rel=1e-6)
    flags = [mutual_information(x, snr=snr)["saturated"] for snr in (4.0, 1e3)]
    assert flags == [0.0, 1.0]


@pytest.mark.parametrize("correlation", [0.0, 0.5, -0.8])
def test_binned_information_of_correlated_normals(correlation: float) -> None:
    """Bins lose some of -½ log(1-ρ²); the other units are noise of little variance."""
    common, own = normal(20_000, 1), normal(20_000, 1, seed=1)
    other = correlation * common + math.sqrt(1 - correlation**2) * own
    x, y = (np.hstack([z, 0.01 * normal(20_000, 3, seed=2)]) for z in (common, other))
    wanted = -0.5 * math.log(1 - correlation**2)
    assert pc1_binned(x, y, bins=30) == pytest.approx(wanted, rel=0.07, abs=0.005)


def test_binned_information_of_independent_data_is_about_0() -> None:
    pairs = [(normal(128, 3, seed=s), normal(128, 3, seed=s + 99)) for s in SEEDS]
    corrected = np.array([pc1_binned(x, y, bins=50) for x, y in pairs])
    assert abs(corrected.mean()) < 3 * corrected.std() / math.sqrt(len(pairs))
    assert np.abs(corrected).max() < 0.15
    plain = oracles.plug_in_information(oracles.joint_histogram(*pairs[0], 50))
    assert plain > 1.5, "there is nothing to correct"


# Held-out ridge regression


def test_a_linear_map_is_predicted_from_many_samples_and_hardly_from_few() -> None:
    x = normal(2000, 20)
    assert ridge_r2(x, x @ normal(20, 7, seed=1) + 3) == pytest.approx(1, abs=1e-9)
    wide = [normal(128, 1024, seed=s) for s in range(5)]
    targets = [x @ normal(1024, 16, seed=s + 9) for s, x in enumerate(wide)]
    values = [ridge_r2(x, y, penalty=0.01) for x, y in zip(wide, targets, strict=True)]
    assert np.mean(values) == pytest.approx(0.1, abs=0.05)


def test_prediction_has_a_direction() -> None:
    x = normal(500, 12)
    assert ridge_r2(x, x[:, :2]) > 0.99
    assert ridge_r2(x[:, :2], x) == pytest.approx(2 / 12, abs=0.05)


def test_independent_layers_are_predicted_a_little_worse_than_by_their_mean() -> None:
    values = np.array(
        [ridge_r2(normal(300, 10, seed=s), normal(300, 5, seed=s + 99)) for s in SEEDS]
    )
    assert np.median(values) == pytest.approx(-10 / 300, abs=0.03)
    assert values.max() < 0.02
    assert values.min() > -0.12


@pytest.mark.parametrize(("n", "p"), [(23, 40), (53, 4)])
def test_an_infinite_penalty_predicts_the_mean_of_the_other_folds(n: int, p: int) -> None:
    x, y = normal(n, p), normal(n, 3, seed=1) + 5
    fold = oracles.folds(n, None)
    errors = [((y[fold == f] - y[fold != f].mean(0)) ** 2).sum() for f in range(5)]
    wanted = 1 - sum(errors) / ((y - y.mean(0)) ** 2).sum()
    assert wanted < 0
    assert ridge_r2(x, y, penalty=1e12) == pytest.approx(wanted, rel=1e-6)


# Probes


def test_random_labels_are_guessed_at_chance() -> None:
    """In sample, this probe would read almost 1, and leave-one-out far below chance."""
    n, classes = 130, 10
    data = [
        (normal(n, 64, seed=s + 99), np.random.default_rng(s).integers(0, classes, n))
        for s in SEEDS
    ]
    hits = sum(n * probe_accuracy(x, labels) for x, labels in data)
    low, high = binom.interval(0.999, len(data) * n, 1 / classes)
    assert low <= hits <= high
    f1 = np.mean([f1_score(x, labels) for x, labels in data])
    assert f1 == pytest.approx(1 / classes, abs=0.02)


def separable(n: int = 1000, classes: int = 5) -> tuple[Array, Any]:
    labels = np.arange(n) % classes
    return np.eye(classes)[labels] @ normal(classes, 8) + 1e-3 * normal(n, 8, seed=1), labels


def test_classes_in_clusters_are_told_apart() -> None:
    x, labels = separable()
    assert probe_accuracy(x, labels) == 1
    assert f1_score(x, labels) == 1
    assert label_information(x, labels) == pytest.approx(math.log(5), abs=1e-3)
    assert label_information(x, labels, penalty=0.01) <= math.log(5) + 1e-9


def test_classes_that_are_neither_there_nor_named_do_not_count() -> None:
    x, labels = separable()
    assert f1_score(x, 2 * labels + 1) == 1
    assert probe_accuracy(x, 2 * labels + 1) == 1


def test_a_class_that_is_never_named_lowers_f1_below_accuracy() -> None:
    """Of two classes with nothing to tell them apart, the larger one is always named."""
    labels = (np.arange(100) % 10 == 0).astype(int)
    x = whitened(100, 1)
    assert probe_accuracy(x, labels, penalty=1e6) == pytest.approx(0.9)
    assert f1_score(x, labels, penalty=1e6) == pytest.approx((2 * 90 / (90 + 100) + 0) / 2)


def test_random_labels_carry_no_usable_information() -> None:
    values = [
        label_information(normal(400, 8, seed=s), np.random.default_rng(s + 50).integers(0, 4, 400))
        for s in SEEDS
    ]
    assert np.mean(values) == pytest.approx(0, abs=0.003)
    assert max(values) < 0.02


def test_usable_information_in_a_partly_told_label() -> None:
    """One of four labels in two bits: the coarse half is told exactly, the fine one not at all."""
    labels = np.random.default_rng(0).integers(0, 4, 4000)
    x = (labels // 2)[:, None] + 1e-3 * normal(4000, 3)
    assert label_information(x, labels) == pytest.approx(math.log(2), abs=0.01)


def test_of_many_samples_directions_are_counted() -> None:
    assert participation_ratio(normal(70_000, 2)) == pytest.approx(2, rel=1e-3)


# Variance within classes


def test_labels_that_tell_nothing_leave_all_of_the_variance_within() -> None:
    values = [
        within_class_variance(normal(200, 6, seed=s), np.random.default_rng(s).integers(0, 5, 200))
        for s in range(100)
    ]
    assert np.mean(values) == pytest.approx(1, abs=0.003)
    assert max(values) > 1


def test_the_share_within_is_that_of_the_clusters() -> None:
    """Means on a simplex of squared spread a, noise of variance v: v / (v + a)."""
    labels = np.arange(20000) % 4
    x = 3 * np.eye(4)[labels] + normal(20000, 4)
    between = 9 * (1 - 1 / 4)
    assert within_class_variance(x, labels) == pytest.approx(4 / (4 + between), abs=0.01)


def test_collapsed_classes_have_no_variance_within() -> None:
    assert within_class_variance(np.eye(3)[np.arange(30) % 3], np.arange(30) % 3) == pytest.approx(
        0
    )


def test_a_layer_of_one_direction_has_no_gaussian_entropy() -> None:
    rng = np.random.default_rng(0)
    for n, p in ((60, 6), (500, 32), (30, 64), (128, 256)):
        x = np.where(np.arange(n) % 2, 1.0, -1.0)[:, None] * rng.random(p)
        with pytest.raises(UndefinedError):
            gaussian_entropy(x)
