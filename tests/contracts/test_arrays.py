"""Every metric and function over arrays as people have them, against the same numbers in float64.

`CMP_EXAMPLES=20000 pytest tests/contracts/test_arrays.py` tries more of them than the default.
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

import cmp_metrics
from cmp_core import UndefinedError, measure_arrays
from cmp_core.measurement.metric import definition_of
from cmp_core.plugins.loader import load_plugins
from cmp_metrics import (
    accuracy,
    ace_regularizer,
    alignment,
    cross_entropy,
    diagonal_entropy,
    eigenspectrum,
    f1_score,
    gaussian_entropy,
    label_information,
    linear_cka,
    linear_cka_matrix,
    margin,
    mutual_information,
    participation_ratio,
    pc1_binned,
    probe_accuracy,
    ridge_r2,
    within_class_variance,
)
from tests import shipped
from tests.contracts.arrays import Case, Floats, cases
from tests.oracles import metrics as oracles

EXAMPLES = int(os.environ.get("CMP_EXAMPLES", "30"))
any_arrays = settings(
    max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

REGISTRY = load_plugins(shipped.EXAMPLES).registry
METRICS = [definition_of(REGISTRY.get("metric", n).factory)() for n in REGISTRY.names("metric")]
# What each plain function is called with; of scores and anchors, units stand for classes.

Function = Callable[[Any, Any, Any], Any]

OF_ACTIVATIONS: Mapping[str, Function] = {
    "eigenspectrum": lambda x, y, labels: eigenspectrum(x),
    "f1_score": lambda x, y, labels: f1_score(x, labels),
    "f1_score, ridge": lambda x, y, labels: f1_score(x, labels, penalty=0.01),
    "gaussian_entropy": lambda x, y, labels: gaussian_entropy(x),
    "label_information": lambda x, y, labels: label_information(x, labels),
    "label_information, ridge": lambda x, y, labels: label_information(x, labels, penalty=0.01),
    "linear_cka": lambda x, y, labels: linear_cka(x, y),
    "linear_cka_matrix": lambda x, y, labels: linear_cka_matrix([x, y]).flatten(),
    "mutual_information": lambda x, y, labels: mutual_information(x),
    "participation_ratio": lambda x, y, labels: participation_ratio(x),
    "pc1_binned": lambda x, y, labels: pc1_binned(x, y),
    "probe_accuracy": lambda x, y, labels: probe_accuracy(x, labels),
    "probe_accuracy, ridge": lambda x, y, labels: probe_accuracy(x, labels, penalty=0.01),
    "ridge_r2": lambda x, y, labels: ridge_r2(x, y),
    "within_class_variance": lambda x, y, labels: within_class_variance(x, labels),
    "ridge_r2, ridge": lambda x, y, labels: ridge_r2(x, y, penalty=0.01),
}
OF_SCORES: Mapping[str, Function] = {
    "accuracy": lambda x, y, labels: accuracy(x, labels),
    "ace_regularizer": lambda x, y, labels: ace_regularizer(x, x[:, ::-1]),
    "alignment": lambda x, y, labels: alignment(x, x[:8], labels % len(x[:8])),
    "cross_entropy": lambda x, y, labels: cross_entropy(x, labels),
    "diagonal_entropy": lambda x, y, labels: diagonal_entropy(np.maximum(x[0], 0)),
    "margin": lambda x, y, labels: margin(x, x[:8], labels % len(x[:8])),
}


def _of_plugin(name: str) -> Any:
    return getattr(importlib.import_module(f"cmp_plugin_{name}"), name)


OF_PLUGINS: Mapping[str, Function] = {
    "calibrated_cka": lambda x, y, labels: _of_plugin("calibrated_cka")(x, y),
    "effective_rank": lambda x, y, labels: _of_plugin("effective_rank")(x),
    "mutual_knn": lambda x, y, labels: _of_plugin("mutual_knn")(x, y, k=3),
    "neural_collapse": lambda x, y, labels: _of_plugin("neural_collapse")(x, labels),
    "procrustes": lambda x, y, labels: _of_plugin("procrustes")(x, y),
    "two_nn": lambda x, y, labels: _of_plugin("two_nn")(x),
}


def test_every_function_is_tried_and_exported() -> None:
    tried = {*OF_ACTIVATIONS, *OF_SCORES}
    for info in pkgutil.iter_modules(cmp_metrics.__path__):
        module = importlib.import_module(f"cmp_metrics.{info.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            is_own = function.__module__ == module.__name__ and not name.startswith(("_", "cmp_"))
            if is_own and not hasattr(function, "metric_definition"):
                assert name in tried, name
                assert getattr(cmp_metrics, name) is function


# The same numbers


def numbers(function: Function, x: Any, y: Any, labels: Any) -> list[float] | None:
    """Return a function's values as numbers; none where it says that there is none."""
    try:
        value = function(x, y, labels)
    except UndefinedError:
        return None
    parts = value.values() if isinstance(value, dict) else np.atleast_1d(value)
    return [float(part) for part in parts]


def assert_same(
    found: list[float] | None, wanted: list[float] | None, tolerance: float, what: str
) -> None:
    assert (found is None) == (wanted is None), f"{what}: {found} where {wanted} was wanted"
    if found is not None and wanted is not None:
        size = tolerance * max([1.0, *(abs(value) for value in wanted if math.isfinite(value))])
        assert found == pytest.approx(wanted, rel=tolerance, abs=size, nan_ok=True), what


@any_arrays
@given(case=cases())
def test_functions_read_arrays_of_any_type_scale_layout_and_class_names(case: Case) -> None:
    (x, y), (exact_x, exact_y), labels = case.stored, case.exact, case.labels
    for name, function in ({**OF_ACTIVATIONS, **OF_PLUGINS}).items():
        wanted = numbers(function, exact_x, exact_y, labels)
        if wanted is not None and name == "gaussian_entropy":
            wanted = [wanted[0] + case.exponent * math.log(2) * exact_x.shape[1]]
        if wanted is not None and name == "eigenspectrum":
            wanted = [math.ldexp(value, 2 * case.exponent) for value in wanted]
        assert_same(numbers(function, x, y, case.named), wanted, 1e-9, name)


@any_arrays
@given(case=cases())
def test_functions_of_scores_read_arrays_of_any_type_and_layout(case: Case) -> None:
    x = case.stored[0]
    labels = case.labels % x.shape[1]
    same = np.ascontiguousarray(x.astype(np.float64))
    for name, function in OF_SCORES.items():
        wanted = numbers(function, same, None, labels)
        named = labels.astype(case.named.dtype if case.named.dtype != bool else np.int64)
        assert_same(numbers(function, x, None, named), wanted, 2e-5, name)


def by_place(layers: Any, labels: Any) -> dict[tuple[Any, ...], list[float] | None]:
    rows = measure_arrays(layers, labels, METRICS)
    return {
        (row.metric, row.layer, row.other, row.pair): None
        if row.value is None
        else [float(value) for value in np.atleast_1d(row.value)]
        for row in rows
    }


@any_arrays
@given(case=cases())
def test_metrics_measure_arrays_of_any_type_scale_layout_and_class_names(case: Case) -> None:
    found, exact = by_place(case.stored, case.named), by_place(case.exact, case.labels)
    assert found.keys() == exact.keys()
    widths = {f"layer_{i}": x.shape[1] for i, x in enumerate(case.exact)}
    for place, wanted in exact.items():
        name, layer = place[0], place[1]
        if wanted is not None and name == "gaussian_entropy":
            wanted = [wanted[0] + case.exponent * math.log(2) * widths[layer]]
        if wanted is not None and name == "eigenspectrum":
            wanted = [math.ldexp(value, 2 * case.exponent) for value in wanted]
        assert_same(found[place], wanted, 1e-9, str(place))


# Against other ways to compute the same


def pair_statistics(x: Floats, y: Floats) -> float:
    """HSIC₁ by U-centred Gram matrices in extended precision, Székely & Rizzo 2014."""
    n = len(x)

    def kernel(z: Floats) -> Any:
        k = z.astype(np.longdouble)
        k = (k - k[1]) @ (k - k[1]).T
        np.fill_diagonal(k, 0)
        sums = k.sum(axis=1) / (n - 2)
        k = k - sums - sums[:, None] + k.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(k, 0)
        return k

    return float((kernel(x) * kernel(y)).sum() / (n * (n - 3)))


def squared_trace(x: Floats) -> float:
    """The mean of ¼ ‖xᵢ-xⱼ‖² ‖x_k-x_l‖² over distinct samples, in extended precision."""
    z, n = x.astype(np.longdouble), len(x)
    d = ((z[:, None] - z[None]) ** 2).sum(axis=2)
    distinct = d.sum() ** 2 - 4 * (d.sum(axis=1) ** 2).sum() + 2 * (d**2).sum()
    return float(distinct / 4 / (n * (n - 1) * (n - 2) * (n - 3)))


@any_arrays
@given(case=cases())
def test_large_samples_offsets_and_constant_units_leave_the_right_values(case: Case) -> None:
    (x, y), labels = case.exact, case.labels
    spread = [float(z.std(axis=0).max()) for z in (x, y)]
    assume(len(x) >= 6 and min(spread) > 1e-6)
    (xx, yy), xy = (pair_statistics(z, z) for z in (x, y)), pair_statistics(x, y)
    if min(xx, yy) > 0:
        found = numbers(OF_ACTIVATIONS["linear_cka"], x, y, labels)
        assert found is None or found == pytest.approx([xy / math.sqrt(xx * yy)], abs=1e-5)
    trace = squared_trace(x)
    if min(xx, trace) > 0:
        found = numbers(OF_ACTIVATIONS["participation_ratio"], x, y, labels)
        assert found is None or found == pytest.approx([trace / xx], rel=1e-5)
    assert mutual_information(x) == pytest.approx(oracles.mutual_information(x), rel=1e-6, abs=1e-6)
    wanted = oracles.ridge_r2(x, y, penalty=0.01)
    assert ridge_r2(x, y, penalty=0.01) == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    if len(np.unique(labels)) > 1:
        information = label_information(x, labels, penalty=0.01)
        wanted = oracles.label_information(x, labels, penalty=0.01)
        assert information == pytest.approx(wanted, rel=1e-6, abs=1e-6)
