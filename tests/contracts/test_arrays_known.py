"""Arrays and labels on which comparable software is silently wrong, with the right values."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cmp_core import LayerView, UndefinedError, UsageError, measure_arrays, metric
from cmp_core.errors import PluginError
from cmp_core.events.activations import LayerActivations
from cmp_core.layers.layer import Layer
from cmp_core.measurement.metric import definition_of
from cmp_core.plugins.loader import load_plugins
from cmp_core.statistics.classes import Classes
from cmp_core.testing import measure, measure_split
from cmp_metrics.accuracy import accuracy
from cmp_metrics.alignment import alignment
from cmp_metrics.cross_entropy import cross_entropy
from cmp_metrics.eigenspectrum import eigenspectrum
from cmp_metrics.f1_score import f1_score
from cmp_metrics.gaussian_entropy import gaussian_entropy
from cmp_metrics.gaussian_entropy_ema import diagonal_entropy
from cmp_metrics.label_information import label_information
from cmp_metrics.linear_cka import linear_cka
from cmp_metrics.margin import margin
from cmp_metrics.mutual_information import mutual_information
from cmp_metrics.participation_ratio import participation_ratio
from cmp_metrics.probe_accuracy import probe_accuracy
from tests.oracles import metrics as oracles

Floats = NDArray[np.float64]
TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", ">i8")


def tell_tale(n: int = 800, classes: int = 20) -> tuple[Floats, NDArray[np.int64]]:
    """Return scores of which the label's is the largest nearly always, and the labels."""
    labels = np.arange(n) % classes
    x = np.random.default_rng(0).normal(size=(n, classes))
    x[np.arange(n), labels] += 4
    return x, labels


def layers_with_one_large(n: int, p: int, factor: float) -> list[Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, p))
    y = x + rng.normal(size=(n, p))
    x[0] *= factor
    y[0] *= factor
    return [x.astype("float32"), y.astype("float32")]


# Labels

OF_LABELS: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": accuracy,
    "alignment": lambda x, y: alignment(x, np.eye(x.shape[1]), y),
    "cross_entropy": cross_entropy,
    "f1_score": f1_score,
    "label_information": label_information,
    "margin": lambda x, y: margin(x, np.eye(x.shape[1]), y),
    "neural_collapse": lambda x, y: load("neural_collapse")(x, y, scores=x)[""],
    "probe_accuracy": probe_accuracy,
}


def load(name: str) -> Any:
    """Return the plain function of an example plugin."""
    return getattr(load_plugins([f"cmp:{name}"], built_ins=()).manager.get_plugin(name), name)


@pytest.mark.parametrize("name", OF_LABELS)
def test_labels_of_any_type_are_the_same_labels(name: str) -> None:
    x, labels = tell_tale()
    wanted = OF_LABELS[name](x, labels)
    for kind in TYPES:
        assert OF_LABELS[name](x, labels.astype(kind)) == wanted, kind
        if not kind.startswith(">"):
            assert OF_LABELS[name](x, torch.from_numpy(labels.astype(kind))) == wanted, kind


def test_the_probe_reads_what_the_twin_does() -> None:
    x, labels = tell_tale()
    assert f1_score(x, labels.astype("uint8")) == pytest.approx(oracles.f1_score(x, labels))
    is_even = labels % 2 == 0
    assert probe_accuracy(x, is_even) == probe_accuracy(x, is_even.astype(int))


@pytest.mark.parametrize("name", OF_LABELS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y[:, None], r"labels \(n,\) of whole numbers, got shape \(800, 1\)"),
        (lambda y: y[:1], r"labels of 800 samples, got 1"),
        (lambda y: np.eye(20)[y], r"labels \(n,\) of whole numbers, got shape \(800, 20\)"),
        (lambda y: y - 1, "labels from 0 on, got -1"),
        (lambda y: y + 0.5, r"labels \(n,\) of whole numbers, got 0.5 at position 0"),
        (lambda y: np.where(y > 3, np.nan, y), "of whole numbers, got nan at position 4"),
        (lambda y: y.astype("uint64") + 2**63, "of whole numbers, got 9223372036854775808"),
        (lambda y: y.astype(str), "of whole numbers, got <U21 such as '0'"),
        (lambda y: y * 1j, "of whole numbers, got complex128"),
        (lambda y: np.ma.masked_equal(y, 3), "of whole numbers, got a masked array"),
    ],
)
def test_what_is_no_label_is_refused(name: str, change: Any, message: str) -> None:
    x, labels = tell_tale()
    with pytest.raises(UsageError, match=message):
        OF_LABELS[name](x, change(labels))
    if name == "probe_accuracy":
        with pytest.raises(UsageError, match=message):
            measure_arrays([x], change(labels), "probe_accuracy")


@pytest.mark.parametrize("name", ["accuracy", "alignment", "cross_entropy", "margin"])
def test_labels_beyond_the_scores_or_anchors_are_refused(name: str) -> None:
    x, labels = tell_tale()
    with pytest.raises(UsageError, match="labels below 20, one for each class, got 24"):
        OF_LABELS[name](x, labels + 5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", OF_LABELS)
def test_scores_and_activations_that_are_not_finite_have_no_value(name: str, value: float) -> None:
    x, labels = tell_tale()
    for wrong in (np.full_like(x, value), np.where(x > 6, value, x)):
        with pytest.raises(UndefinedError, match="hold NaN or infinity"):
            OF_LABELS[name](wrong, labels)


@pytest.mark.parametrize("name", ["f1_score", "label_information", "probe_accuracy"])
def test_what_classes_are_called_does_not_matter(name: str) -> None:
    x, labels = tell_tale(200, 10)
    noise = np.random.default_rng(1).normal(size=x.shape)
    for layer in (x, noise):
        wanted = OF_LABELS[name](layer, labels)
        for ids in (labels + 1000, labels * 6000, labels + (2**63 - 10)):
            assert OF_LABELS[name](layer, ids) == wanted
    assert label_information(noise, labels + 1000) == pytest.approx(0, abs=0.02)
    assert label_information(x, labels + 1000) <= math.log(10) + 0.02


# One large sample, scales and offsets


@pytest.mark.parametrize(("n", "p", "factor"), [(2048, 512, 100), (128, 64, 1000)])
def test_all_pairs_and_the_headline_agree_beside_a_large_sample(
    n: int, p: int, factor: float
) -> None:
    x, y = layers_with_one_large(n, p, factor)
    wide = [z.astype("float64") for z in (x, y)]
    wanted = oracles.linear_cka(*wide)
    rows = measure_arrays([x, y], metrics="linear_cka")
    found = [r.value for r in rows if r.value is not None and r.layer != r.other]
    assert len(found) == 3
    assert found == pytest.approx([wanted] * 3, abs=1e-6)
    assert linear_cka(x, y) == pytest.approx(wanted, abs=1e-6)


def test_the_participation_ratio_beside_a_large_sample() -> None:
    x = np.random.default_rng(0).normal(size=(128, 16))
    x[0] *= 1e4
    wanted = oracles.participation_ratio(x)
    assert participation_ratio(x) == pytest.approx(wanted, rel=1e-6)
    assert participation_ratio(x.astype("float32")) == pytest.approx(wanted, rel=1e-4)


def test_a_sample_that_leaves_nothing_of_the_others_is_told() -> None:
    x = np.random.default_rng(0).normal(size=(128, 16))
    x[0] *= 1e9
    for function in (participation_ratio, lambda x: linear_cka(x, x)):
        with pytest.raises(UndefinedError, match="one sample is so large that nothing"):
            function(x)


@pytest.mark.parametrize("scale", [3e7, 1e8, 10**-12.75, 1e-23, 2e18, 1e-37, 1e37])
def test_a_scale_within_float32_changes_nothing(scale: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 30))
    y = x + rng.normal(size=(200, 30))
    big = [(scale * z).astype("float32") for z in (x, y)]
    assert linear_cka(*big) == pytest.approx(oracles.linear_cka(x, y), rel=1e-5)
    assert participation_ratio(big[0]) == pytest.approx(oracles.participation_ratio(x), rel=1e-5)
    assert mutual_information(big[0]) == pytest.approx(oracles.mutual_information(x), rel=1e-5)


@pytest.mark.parametrize("kind", ["int32", "int64", "uint16", "uint32", "uint64"])
def test_whole_numbers_keep_their_digits(kind: str) -> None:
    x = np.random.default_rng(0).integers(0, 50, size=(500, 8))
    wanted = oracles.gaussian_entropy(x.astype(float))
    offset = 60_000 if kind == "uint16" else 10**9
    for whole in (x.astype(kind), (x + offset).astype(kind)):
        assert gaussian_entropy(whole) == pytest.approx(wanted, rel=1e-9)
        (row,) = measure_arrays([whole], metrics="gaussian_entropy")
        assert row.value == pytest.approx(wanted, rel=1e-9)
    with pytest.raises(UsageError, match=r"whole numbers up to 2\^53, which float64 holds"):
        gaussian_entropy((x + 2**60).astype("uint64"))


# No value


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_layer_that_does_not_vary_has_no_p(value: float) -> None:
    x = np.random.default_rng(0).normal(size=(60, 5))
    plugins = load_plugins(["cmp:calibrated_cka"], built_ins=())
    factory = plugins.registry.get("metric", "calibrated_cka").factory
    rows = measure_arrays([x, np.full_like(x, value)], metrics=factory)
    pair = [row for row in rows if {row.layer, row.other} == {"layer_0", "layer_1"}]
    assert {row.metric for row in pair} >= {"calibrated_cka", "calibrated_cka_p"}
    assert all(row.value is None and row.reason for row in pair)


@pytest.mark.parametrize("values", [2, 3])
@pytest.mark.parametrize("unit", [1.0, 0.1])
def test_bits_have_no_intrinsic_dimension(values: int, unit: float) -> None:
    x = unit * np.random.default_rng(0).integers(0, values, size=(500, 20))
    plugins = load_plugins(["cmp:two_nn"], built_ins=())
    with pytest.raises(UndefinedError, match="two nearest neighbours are equally near for"):
        measure(plugins.registry.get("metric", "two_nn").factory, x)


def test_a_complex_value_is_the_metric_s_own_error() -> None:
    @metric("mine", split="subset")
    def mine(view: LayerView) -> Any:
        """Complex."""
        return view.activations.to(torch.complex64).mean()

    told = r"expected a real number, .* got a tensor of torch\.complex64"
    with pytest.raises(PluginError, match=told):
        measure_arrays([np.eye(3)], metrics=mine)


@pytest.mark.parametrize("scale", [1e154, 1e-162])
def test_neural_collapse_is_the_same_at_the_ends_of_float64(scale: float) -> None:
    x, labels = tell_tale(60, 3)
    wanted = load("neural_collapse")(x, labels)
    assert load("neural_collapse")(x * scale, labels) == pytest.approx(wanted, rel=1e-9)


def test_a_layer_without_units_is_refused() -> None:
    for function in (gaussian_entropy, mutual_information, participation_ratio):
        with pytest.raises(UsageError, match=r"with p > 0, got shape \(20, 0\)"):
            function(np.zeros((20, 0)))


def test_variances_must_be_variances() -> None:
    assert diagonal_entropy(np.array([1e308, 1e308])) == pytest.approx(712.03, abs=0.01)
    for wrong in ([1, math.nan], [1, -1], [1, math.inf]):
        with pytest.raises(UndefinedError, match="finite variances of at least 0"):
            diagonal_entropy(np.array(wrong))
    for shape in ((2, 2), (), (0,)):
        with pytest.raises(UsageError, match=r"variances \(p,\), got shape"):
            diagonal_entropy(np.ones(shape))


@pytest.mark.parametrize("offset", [0, 1e3, 1e5, 1e6, 1e7])
def test_neighbours_under_an_offset_are_those_of_exact_cosines(offset: float) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(30, 8))
    y = x @ rng.normal(size=(8, 6)) + rng.normal(size=(30, 6))
    found = load("mutual_knn")(x + offset, y + offset, k=5)[""]

    def nearest(z: Floats) -> list[set[int]]:
        rows = [[Fraction(float(v)) for v in row] for row in z]
        dots = [[sum(a * b for a, b in zip(r, s, strict=True)) for s in rows] for r in rows]

        # cos² (1 - …) are rational; all cosines are above 0 under an offset.
        def order(i: int, j: int) -> Fraction:
            return Fraction(dots[i][j] * abs(dots[i][j])) / (dots[i][i] * dots[j][j])

        others = ((i, [j for j in range(30) if j != i]) for i in range(30))
        return [set(sorted(js, key=lambda j: -order(i, j))[:5]) for i, js in others]

    shared = [len(a & b) for a, b in zip(nearest(x + offset), nearest(y + offset), strict=True)]
    assert found == pytest.approx(sum(shared) / 150, rel=1e-12)


def test_constant_units_do_not_hide_the_neighbours() -> None:
    x = np.random.default_rng(0).normal(size=(50, 12))
    big = np.hstack([x, np.full((50, 3), 1e8)])
    assert 0 < load("mutual_knn")(big, x, k=5)[""] < 1
    with pytest.raises(UndefinedError):
        load("mutual_knn")(np.full((50, 3), 0.1), x, k=5)


def test_eigenvalues_beside_a_sample_that_leaves_nothing_are_told() -> None:
    x = np.random.default_rng(0).normal(size=(200, 12))
    x[3] *= 1e3
    assert eigenspectrum(x).numpy() == pytest.approx(oracles.eigenspectrum(x), rel=1e-6)
    x[3] *= 1e6
    with pytest.raises(UndefinedError, match="so large that nothing of the others is left"):
        eigenspectrum(x)
    with pytest.raises(UndefinedError, match="nothing of the others is left"):
        load("subsampled_participation_ratio")(x, 40)
    (row,) = measure_arrays([x], metrics="eigenspectrum")
    assert "so large that nothing of the others is left" in str(row.reason)


def test_classes_that_nobody_has_take_no_memory() -> None:
    rng = np.random.default_rng(0)
    labels = torch.arange(60) % 3 * 400_000
    layer = Layer("layer_0", 0, "", torch.from_numpy(rng.normal(size=(60, 7))))
    event = LayerActivations(
        "replay", "val", "chunk", 0, 0, (layer,), torch.arange(60), labels, None, 900_000
    )
    for name in ("probe_accuracy", "f1_score", "label_information"):
        registry = load_plugins(built_ins=("cmp_metrics",)).registry
        factory = registry.get("metric", name).factory
        (row,) = measure_split(definition_of(factory)(), event, size=7)
        function = OF_LABELS[name]
        wanted = function(layer.activations, labels)
        assert row.value == pytest.approx(wanted, rel=1e-9)
    assert Classes(900_000, labels).one_hot(labels).shape == (60, 3)
