"""Tests of `cmp_core.statistics.batch`: offsets, scales, half precision, constant units."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from cmp_core.layers.layer import Layer
from cmp_core.statistics.arrays import statistics_of
from cmp_core.statistics.batch import LARGEST_GRAM, MixedMoments
from cmp_core.statistics.folds import Folds
from cmp_core.statistics.interface import LayerStatistics
from cmp_core.statistics.split import SplitAccumulator, SplitStatistics
from tests.oracles import metrics as oracles

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

FORMS = {"Gram": (40, 100, 70), "scatter": (150, 12, 9)}
"""n, p, q: Gram matrices where a layer has at least as many units as samples, else scatters."""


@cache
def layers(form: str) -> tuple[Array, Array, Labels]:
    """Return rectified activations, a function of them with noise, and labels they tell of."""
    n, p, q = FORMS[form]
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(n, p)), 0)
    y = x @ rng.normal(size=(p, q)) / math.sqrt(p) + rng.normal(size=(n, q))
    return x, y, (x @ rng.normal(size=(p, 4))).argmax(1)


FLOAT32 = {
    "offset 1e3": lambda x: x + 1e3,
    "offset -1e3": lambda x: x - 1e3,
    "scale 1e-6": lambda x: x * 1e-6,
    "scale 1e6": lambda x: x * 1e6,
    "scales 1e-3 to 1e3": lambda x: x * np.logspace(-3, 3, x.shape[1]),
}


STORED: dict[str, tuple[Callable[[Array], Array], torch.dtype]] = {
    **{f"float32, {name}": (change, torch.float32) for name, change in FLOAT32.items()},
    "float16": (lambda x: x, torch.float16),
    "float16, offset 10": (lambda x: x + 10, torch.float16),
    "bfloat16": (lambda x: x, torch.bfloat16),
    "bfloat16, offset 10": (lambda x: x + 10, torch.bfloat16),
}


def stored(form: str, how: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the layers as a network would hold them; what rounding took is gone for twins too."""
    (x, y, labels), (change, dtype) = layers(form), STORED[how]
    x, y = change(x), change(y)
    return torch.from_numpy(x).to(dtype), torch.from_numpy(y).to(dtype), torch.from_numpy(labels)


def log_det(twin: float, x: Array) -> float:
    return 2 * twin - x.shape[1] * math.log(2 * math.pi * math.e)


Statistic = Callable[[LayerStatistics, LayerStatistics], Any]


STATISTICS: dict[str, tuple[Statistic, Callable[[Array, Array, Labels], Any]]] = {
    "mean": (lambda a, b: a.mean(), lambda x, y, labels: x.mean(0)),
    "unit_variances": (lambda a, b: a.unit_variances(), lambda x, y, labels: x.var(0)),
    "variance": (lambda a, b: a.variance(), lambda x, y, labels: x.var(0).sum()),
    "squared_norm": (lambda a, b: a.squared_norm(), lambda x, y, labels: oracles.hsic(x, x)),
    "squared_trace": (
        lambda a, b: a.squared_trace(),
        lambda x, y, labels: oracles.squared_trace(x),
    ),
    "hsic": (lambda a, b: a.hsic(b), lambda x, y, labels: oracles.hsic(x, y)),
    "eigenvalues": (lambda a, b: a.eigenvalues(), lambda x, y, labels: oracles.eigenspectrum(x)),
    "shrinkage": (lambda a, b: a.shrinkage(), lambda x, y, labels: ledoit_wolf(x)[1]),
    "shrunk_log_det": (
        lambda a, b: a.shrunk_log_det(),
        lambda x, y, labels: log_det(oracles.gaussian_entropy(x), x),
    ),
    "channel_log_det": (
        lambda a, b: a.channel_log_det(4.0),
        lambda x, y, labels: 2 * oracles.mutual_information(x)["gaussian"],
    ),
    "mean_log_kernel_density": (
        lambda a, b: -a.mean_log_kernel_density(0.25, 1.0),
        lambda x, y, labels: [oracles.mutual_information(x)[name] for name in ("kt", "lower")],
    ),
    "deviations": (lambda a, b: a.deviations(), lambda x, y, labels: x - x.mean(0)),
    "held_out_errors": (
        lambda a, b: a.held_out_errors(b),
        lambda x, y, labels: oracles.squared_errors(x, y, 0.01, labels),
    ),
    "held_out_scores": (
        lambda a, b: a.held_out_scores(),
        lambda x, y, labels: oracles.probe_scores(x, labels, 0.01),
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", STORED)
@pytest.mark.parametrize("name", STATISTICS)
def test_a_statistic_is_that_of_the_stored_numbers(form: str, how: str, name: str) -> None:
    measure, twin = STATISTICS[name]
    x, y, labels = stored(form, how)
    found = np.asarray(measure(*statistics_of(x, y, labels=labels)))
    wanted = np.asarray(twin(x.double().numpy(), y.double().numpy(), labels.numpy()))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_a_training_batch_in_float32_is_predicted_as_in_float64() -> None:
    """128 samples of 1,024 rectified units, the shape of a common batch."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(128, 1024)), 0).astype("float32")
    y = np.maximum(x @ rng.normal(size=(1024, 64)), 0).astype("float32")
    first, second = statistics_of(x, y)
    exact, target = statistics_of(x.astype("float64"), y.astype("float64"))
    wanted = exact.held_out_errors(target).numpy()
    np.testing.assert_allclose(first.held_out_errors(second).numpy(), wanted, rtol=1e-4)


def in_chunks(x: Tensor, size: int) -> LayerStatistics:
    """Return the statistics of a split of one layer, read in chunks."""
    ids = torch.arange(len(x))
    split = SplitAccumulator(frozenset({"own"}), Folds(ids, None), 0, left_out={})
    for where in ids.split(size):
        split.update([Layer("layer", 0, "", x[where])], ids[where], None)
    return SplitStatistics(split)["layer"]


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0.0, 0.1, -1234.5, 1e-7])
@pytest.mark.parametrize("form", [*FORMS, "split"])
def test_a_constant_unit_has_exactly_no_variance(
    form: str, value: float, dtype: torch.dtype
) -> None:
    x = torch.from_numpy(layers("scatter" if form == "split" else form)[0]).to(dtype)
    x[:, [0, 4]] = value
    statistics = in_chunks(x, 7) if form == "split" else statistics_of(x)[0]
    variances, means = statistics.unit_variances(), statistics.mean()
    assert variances[[0, 4]].tolist() == [0.0, 0.0]
    assert means[[0, 4]].tolist() == x[0, [0, 4]].double().tolist()
    np.testing.assert_allclose(variances, x.double().numpy().var(0), rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(means, x.double().numpy().mean(0), rtol=1e-5)
    if form != "Gram":
        assert not statistics.scatter()[[0, 4]].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_a_constant_layer_has_exactly_no_variance(form: str, dtype: torch.dtype) -> None:
    n, p, _ = FORMS[form]
    (statistics,) = statistics_of(torch.full((n, p), 0.1, dtype=dtype))
    for value in (statistics.variance(), statistics.squared_norm(), statistics.squared_trace()):
        assert float(value) == 0
    assert not statistics.eigenvalues().any()


def test_large_float16_activations_of_both_signs_have_a_variance_over_a_split() -> None:
    x = torch.tensor([[6e4], [-6e4], [0.0]], dtype=torch.float16)
    wanted = x.double().numpy().var()
    assert float(statistics_of(x)[0].variance()) == pytest.approx(wanted, rel=1e-6)
    assert float(in_chunks(x, 3).variance()) == pytest.approx(wanted, rel=1e-6)


def test_each_layer_of_many_samples_takes_its_own_form() -> None:
    n, rng = LARGEST_GRAM + 6, np.random.default_rng(0)
    narrow = rng.normal(size=(n, 5)) + 2
    wide = narrow @ rng.normal(size=(5, n + 10)) + rng.normal(size=(n, n + 10))
    first, second = statistics_of(narrow, wide)
    moments = first._all.moments
    assert isinstance(moments, MixedMoments)
    shapes = [tuple(moments.scatter(i).shape) for i in (0, 1)]
    assert shapes == [(5, 5), (n, n)]
    assert float(moments.own().squares[0]) == pytest.approx(float(moments.inner().own.squares[0]))
    for x, found in ((narrow, first), (wide, second)):
        assert float(found.variance()) == pytest.approx(x.var(axis=0).sum(), rel=1e-9)
        assert found.mean().numpy() == pytest.approx(x.mean(axis=0), rel=1e-9, abs=1e-9)
        wanted = 2 * oracles.gaussian_entropy(x) - x.shape[1] * np.log(2 * np.pi * np.e)
        assert float(found.shrunk_log_det()) == pytest.approx(wanted, rel=1e-9)
    errors = oracles.squared_errors(narrow, wide, 0.01)
    assert first.held_out_errors(second).numpy() == pytest.approx(errors, rel=1e-6)
    assert float(first.hsic(second)) == pytest.approx(oracles.hsic(narrow, wide), rel=1e-6)
    assert torch.stack([first.shrinkage(), second.shrinkage()]).isfinite().all()
