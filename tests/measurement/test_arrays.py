"""Tests of `cmp_core.measurement.arrays`: activations at hand, measured as a run would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cmp_core import UsageError, measure_arrays
from cmp_core.measurement.metric import definition_of
from cmp_metrics.mutual_information import mutual_information_metric
from cmp_metrics.participation_ratio import participation_ratio, participation_ratio_metric
from tests.oracles import metrics as oracles

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 5))
Y = X @ rng.normal(size=(5, 4)) + rng.normal(size=(60, 4))
LABELS = (X[:, 0] > 0).astype(int)


def test_metrics_by_name_read_as_their_twins() -> None:
    rows = measure_arrays([X, Y], LABELS, "linear_cka, participation_ratio, probe_accuracy")
    values = {(row.metric, row.layer): row.value for row in rows if row.value and not row.pair}
    assert values["linear_cka", "layer_1"] == pytest.approx(oracles.linear_cka(X, Y), rel=1e-9)
    for layer, activations in (("layer_0", X), ("layer_1", Y)):
        found = values["participation_ratio", layer]
        assert found == pytest.approx(participation_ratio(activations), rel=1e-12)
        wanted = oracles.probe_accuracy(activations, LABELS)
        assert values["probe_accuracy", layer] == pytest.approx(wanted)
    assert len([row for row in rows if row.pair]) == 4


def test_layers_may_have_names_and_metrics_options() -> None:
    metric = definition_of(mutual_information_metric)("mi_8", snr=8.0)
    rows = measure_arrays({"conv": torch.from_numpy(X), "fc": Y}, metrics=metric)
    values = {row.layer: row.value for row in rows if row.metric == "mi_8_kt"}
    wanted = {
        name: oracles.mutual_information(a, 8.0)["kt"] for name, a in (("conv", X), ("fc", Y))
    }
    assert values == pytest.approx(wanted, rel=1e-9)


def test_folds_follow_the_ids_and_not_the_order() -> None:
    ids, order = rng.permutation(1000)[:60], rng.permutation(60)
    one = measure_arrays([X], LABELS, "probe_accuracy", sample_ids=ids)
    other = measure_arrays([X[order]], LABELS[order], "probe_accuracy", sample_ids=ids[order])
    assert one == other


def test_what_is_missing_has_its_reason() -> None:
    (row,) = measure_arrays([X], metrics="probe_accuracy")
    assert (row.value, row.reason) == (None, "layer_0 has no labels")
    assert {row.reason for row in measure_arrays([X[:0]], metrics="participation_ratio")} == {
        "there are no samples"
    }


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown metric 'linear_kca'; did you mean 'linear_cka'"):
        measure_arrays([X], metrics=["linear_kca"])


@pytest.mark.parametrize(
    ("layers", "labels", "ids", "message"),
    [
        ([], None, None, "activations of at least one layer, got none"),
        ([X[0]], None, None, r"activations \(n, p\) or \(n, …\), got shape \(5,\) of layer_0"),
        ([X, Y[1:]], None, None, r"as many samples everywhere, got shapes"),
        ([X], LABELS[1:], None, r"labels of 60 samples, got 59"),
        ([X], LABELS - 1, None, "labels from 0 on, got -1"),
        ([X], LABELS + 0.5, None, r"labels \(n,\) of whole numbers, got [01].5"),
        (
            [X],
            LABELS[:, None],
            None,
            r"labels \(n,\) of whole numbers, got shape \(60, 1\)",
        ),
        ([X], None, np.zeros(60, int), "60 different sample_ids, got 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    layers: list[Any], labels: Any, ids: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        measure_arrays(layers, labels, "participation_ratio", sample_ids=ids)


def test_metrics_are_given_in_any_way() -> None:
    decorated = participation_ratio_metric
    named = measure_arrays([X], metrics="participation_ratio")
    for given in (["participation_ratio"], decorated, [decorated], definition_of(decorated)()):
        assert measure_arrays([X], metrics=given) == named
    assert {row.metric for row in measure_arrays([X], LABELS)} >= {
        "participation_ratio",
        "probe_accuracy",
        "eigenspectrum",
    }


def test_a_layer_is_measured_as_its_flattened_array() -> None:
    metrics = "participation_ratio,probe_accuracy,eigenspectrum"
    stacked = np.stack([X, X**2], axis=2)
    found = measure_arrays([stacked], LABELS, metrics)
    assert found == measure_arrays([stacked.reshape(60, 10)], LABELS, metrics)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["linear_cka", "linear_cka"], "two metrics are called 'linear_cka'"),
        ([], "at least one metric, got none"),
        (None, "'None' is not declared to be a metric"),
        (LABELS, "is not declared to be a metric"),
        (
            [participation_ratio],
            "not the metric: write 'participation_ratio'",
        ),
    ],
)
def test_what_is_no_selection_of_metrics_is_refused(metrics: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measure_arrays([X], LABELS, metrics)


@pytest.mark.parametrize(
    ("swapped", "found"),
    [
        ("linear_cka", "'linear_cka'"),
        (["linear_cka"], "'linear_cka'"),
        (participation_ratio_metric, "participation_ratio_metric"),
        ([definition_of(participation_ratio_metric)()], "a metric"),
    ],
)
def test_metrics_in_the_place_of_labels_are_told(swapped: Any, found: str) -> None:
    told = rf"labels: expected whole numbers \(n,\), got {found}; the order is .*labels, metrics\)"
    with pytest.raises(UsageError, match=told):
        measure_arrays([X], swapped, LABELS)


def test_one_array_is_no_list_of_layers() -> None:
    for array in (X, torch.from_numpy(X)):
        with pytest.raises(UsageError, match=r"got one array \(60, 5\): write \[x\]"):
            measure_arrays(array, LABELS)
