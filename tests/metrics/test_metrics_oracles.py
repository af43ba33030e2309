"""The built-in metrics against slow twins that read as the definitions do."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch

from cmp_core import UndefinedError, UsageError
from cmp_core.statistics.arrays import statistics_of
from cmp_core.testing import check_metric
from cmp_metrics.eigenspectrum import eigenspectrum
from cmp_metrics.f1_score import f1_score
from cmp_metrics.gaussian_entropy import gaussian_entropy
from cmp_metrics.label_information import label_information
from cmp_metrics.linear_cka import linear_cka, linear_cka_matrix
from cmp_metrics.mutual_information import (
    mutual_information,
    mutual_information_metric,
    pc1_binned,
)
from cmp_metrics.participation_ratio import participation_ratio
from cmp_metrics.probe_accuracy import probe_accuracy
from cmp_metrics.ridge_r2 import ridge_r2
from cmp_metrics.within_class_variance import within_class_variance
from tests.oracles import metrics as oracles
from tests.oracles.data import KINDS, make

Function = Callable[..., Any]


def of_layer(function: Function, **options: Any) -> Function:
    return lambda x, y, labels: function(x, **options)


def of_pair(function: Function, **options: Any) -> Function:
    return lambda x, y, labels: function(x, y, **options)


def of_labels(function: Function, **options: Any) -> Function:
    return lambda x, y, labels: function(x, labels, **options)


CASES: dict[str, tuple[Function, Function, dict[str, Any]]] = {
    "participation_ratio": (of_layer, participation_ratio, {}),
    "participation_ratio, plain": (of_layer, participation_ratio, {"debiased": False}),
    "linear_cka": (of_pair, linear_cka, {}),
    "linear_cka, biased": (of_pair, linear_cka, {"debiased": False}),
    "eigenspectrum": (of_layer, eigenspectrum, {}),
    "gaussian_entropy": (of_layer, gaussian_entropy, {}),
    "mutual_information": (of_layer, mutual_information, {}),
    "mutual_information, little noise": (of_layer, mutual_information, {"snr": 500.0}),
    "pc1_binned": (of_pair, pc1_binned, {}),
    "pc1_binned, 7 bins": (of_pair, pc1_binned, {"bins": 7}),
    "ridge_r2": (of_pair, ridge_r2, {}),
    "ridge_r2, ridge": (of_pair, ridge_r2, {"penalty": 0.01}),
    "ridge_r2, strong ridge": (of_pair, ridge_r2, {"penalty": 30.0}),
    "within_class_variance": (of_labels, within_class_variance, {}),
    "probe_accuracy": (of_labels, probe_accuracy, {}),
    "probe_accuracy, ridge": (of_labels, probe_accuracy, {"penalty": 0.01}),
    "f1_score": (of_labels, f1_score, {}),
    "f1_score, ridge": (of_labels, f1_score, {"penalty": 0.01}),
    "label_information": (of_labels, label_information, {}),
    "label_information, ridge": (of_labels, label_information, {"penalty": 0.01}),
    "label_information, strong ridge": (of_labels, label_information, {"penalty": 1.0}),
}
LEAST_SQUARES = ("ridge_r2", "probe_accuracy", "f1_score", "label_information")

of_all_metrics = pytest.mark.parametrize("case", CASES)
on_all_data = pytest.mark.parametrize("kind", KINDS)


def function_of(case: str) -> Function:
    wrap, function, options = CASES[case]
    wrapped: Function = wrap(function, **options)
    return wrapped


@cache
def expected(case: str, kind: str, dtype: str = "float64") -> Any:
    """Return the twin's value, in float64 whatever the data are rounded to."""
    wrap, function, options = CASES[case]
    x, y, labels = make(kind)
    x, y = (side.astype(dtype).astype("float64") for side in (x, y))
    return wrap(getattr(oracles, function.__name__), **options)(x, y, labels)


def assert_near(found: Any, wanted: Any, relative: float, absolute: float = 0.0) -> None:
    """Compare numbers, or vectors at the size of their largest entry.

    The eigenvalues of data of low rank end in zeros, which either side knows to the rounding of
    the largest one only.
    """
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert_near(found[key], wanted[key], relative, absolute)
        return
    allowed = relative * np.abs(wanted).max() + absolute
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=0, atol=allowed)


@of_all_metrics
@on_all_data
@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor])
def test_a_metric_agrees_with_its_twin(case: str, kind: str, library: Function) -> None:
    data = [*map(library, make(kind))]
    if kind == "wide" and case in LEAST_SQUARES:
        with pytest.raises(UndefinedError, match="too few fitting samples"):
            function_of(case)(*data)
        return
    assert_near(function_of(case)(*data), expected(case, kind), 1e-9, absolute=1e-15)


@of_all_metrics
@on_all_data
def test_float32_activations_read_the_same(case: str, kind: str) -> None:
    """The twin gets the rounded numbers: those at an offset of 1e3 lose three digits themselves."""
    if kind == "wide" and case in LEAST_SQUARES:
        return  # there is no value
    x, y, labels = make(kind)
    found = function_of(case)(x.astype("float32"), y.astype("float32"), labels)
    assert_near(found, expected(case, kind, "float32"), 1e-4, absolute=1e-6)


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize(
    ("n", "widths"),
    [
        pytest.param(150, (12, 9, 1, 30), id="cross-covariances"),
        pytest.param(40, (100, 7, 30, 64, 1), id="Gram matrices"),
        pytest.param(260, (300, 280), id="Gram matrices in panels"),
    ],
)
def test_the_matrix_of_all_pairs_agrees_with_each_pair(
    n: int, widths: tuple[int, ...], debiased: bool
) -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(n, 20))
    layers = [np.maximum(source @ rng.normal(size=(20, p)), 0) + 3 for p in widths]
    wanted = [[oracles.linear_cka(x, y, debiased) for x in layers] for y in layers]
    found = linear_cka_matrix(layers, debiased=debiased)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    single = [layer.astype("float32") for layer in layers]
    assert_near(linear_cka_matrix(single, debiased=debiased), np.array(wanted), 1e-4)


@on_all_data
@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float16", "float32"), ("i8", "f8")])
def test_layers_of_several_types_are_compared_as_they_are_stored(
    kind: str, dtypes: tuple[str, str]
) -> None:
    x, y, _ = make(kind)
    x, y = (8 * x).astype(dtypes[0]), y.astype(dtypes[1])
    exact = x.astype("float64"), y.astype("float64")
    assert linear_cka(x, y) == pytest.approx(oracles.linear_cka(*exact), rel=1e-4)
    wanted = oracles.ridge_r2(*exact, penalty=0.01)
    assert ridge_r2(x, y, penalty=0.01) == pytest.approx(wanted, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("n", range(5, 15))
@pytest.mark.parametrize("p", [3, 20])
def test_folds_of_unequal_size_are_held_out_as_by_refits(n: int, p: int) -> None:
    rng = np.random.default_rng(n)
    x, y, labels = rng.normal(size=(n, p)), rng.normal(size=(n, 4)), np.arange(n) % 3
    wanted = oracles.ridge_r2(x, y, penalty=0.01)
    assert ridge_r2(x, y, penalty=0.01) == pytest.approx(wanted, rel=1e-9)
    (statistics,) = statistics_of(x, labels=labels)
    scores = oracles.probe_scores(x, labels, penalty=0.01)
    np.testing.assert_allclose(statistics.held_out_scores(), scores, atol=1e-9)


@pytest.mark.parametrize("width", [3, 200])
def test_a_class_of_one_sample_is_unlikely_but_possible(width: int) -> None:
    """The folds that are fitted while it is held out know no sample of its class."""
    x = np.random.default_rng(0).normal(size=(101, width))
    labels = np.append(np.arange(100) % 3, 3)
    options = {"penalty": 0.01 if width > len(x) else 0.0}
    wanted = oracles.label_information(x, labels, **options)
    assert np.isfinite(wanted)
    assert label_information(x, labels, **options) == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert probe_accuracy(x, labels, **options) == oracles.probe_accuracy(x, labels, **options)
    assert f1_score(x, labels, **options) == pytest.approx(
        oracles.f1_score(x, labels, **options), rel=1e-12
    )


def test_the_twin_of_the_squared_trace_agrees_with_an_enumeration() -> None:
    x = np.random.default_rng(0).normal(size=(7, 3))
    enumerated = oracles.squared_trace_by_enumeration(x)
    assert oracles.squared_trace(x) == pytest.approx(enumerated, rel=1e-12)


def test_the_correction_of_binned_information_is_its_mean_over_all_pairings() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 1)), rng.normal(size=(6, 1))
    pairings = [y[list(order)] for order in itertools.permutations(range(6))]
    plain = [oracles.plug_in_information(oracles.joint_histogram(x, z, 3)) for z in pairings]
    wanted = plain[0] - np.mean(plain)
    assert pc1_binned(x, y, bins=3) == pytest.approx(wanted, rel=1e-9)


LABELS = np.array([0, 1, 0, 1, 0])
LEAST: list[tuple[Function, int]] = [
    (participation_ratio, 4),
    (partial(participation_ratio, debiased=False), 2),
    (eigenspectrum, 2),
    (gaussian_entropy, 3),
    (lambda x: linear_cka(x, x), 4),
    (lambda x: linear_cka(x, x, debiased=False), 2),
    (lambda x: ridge_r2(x, x), 5),
    (lambda x: probe_accuracy(x, LABELS[: len(x)]), 5),
    (lambda x: f1_score(x, LABELS[: len(x)]), 5),
    (lambda x: label_information(x, LABELS[: len(x)]), 5),
]


@pytest.mark.parametrize(("function", "least"), LEAST)
@pytest.mark.parametrize("width", [1, 9])
def test_too_few_samples_are_undefined_and_enough_are_not(
    function: Function, least: int, width: int
) -> None:
    x = np.random.default_rng(0).normal(size=(5, width))
    with pytest.raises(UndefinedError, match=f"at least {least} samples are needed"):
        function(x[: least - 1])
    assert np.isfinite(np.asarray(function(x[:least, :1]))).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_binned_information_of_what_is_not_finite_is_undefined(value: float) -> None:
    with pytest.raises(UndefinedError):
        pc1_binned(np.full((10, 2), value), np.eye(10))


WRONG = [
    (
        lambda: linear_cka(np.eye(5), np.eye(4)),
        r"as many samples everywhere, got shapes \[\(5, 5\)",
    ),
    (lambda: ridge_r2(np.eye(5), np.eye(5)[:4]), "as many samples everywhere"),
    (lambda: probe_accuracy(np.eye(9), LABELS[:8]), "labels of 9 samples, got"),
    (lambda: f1_score(np.eye(9), np.arange(9) - 1), "labels from 0 on"),
    (lambda: eigenspectrum(np.ones(5)), r"activations \(n, p\) or \(n, …\), got shape \(5,\)"),
    (lambda: mutual_information(np.eye(5), snr=-1), "snr: expected a number above 0"),
    (lambda: ridge_r2(np.eye(9), np.eye(9), penalty=-1), "penalty: expected a number above 0"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_wrong_arguments_of_plain_functions_are_told(call: Function, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_plain_functions_take_what_notebooks_have() -> None:
    x = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    fixed = x.detach().numpy().copy()
    fixed.flags.writeable = False
    assert participation_ratio(x) == participation_ratio(fixed)
    with pytest.raises(UndefinedError, match="NaN or infinity"):
        participation_ratio(fixed * np.nan)


def test_the_binned_estimator_conforms() -> None:
    assert check_metric(mutual_information_metric, estimator="pc1_binned") > 20
