"""Tests of `cmp_core.measurement.host`: values on the host, and why some are missing."""

from __future__ import annotations

import math

import pytest
import torch

from cmp_core.events.results import MetricResult, SampleMean, SampleValues
from cmp_core.layers.layer import Layer
from cmp_core.measurement.host import Extremes, host_values, on_host


def layer(values: list[list[float]], name: str = "a") -> Layer:
    return Layer(name, 0, "", torch.tensor(values))


def test_extremes_of_parts_are_those_of_the_whole() -> None:
    first, second = layer([[1.0, -3.0]]), layer([[2.0, 0.5], [-1.0, 7.0]])
    whole = layer([[1.0, -3.0], [2.0, 0.5], [-1.0, 7.0]])
    merged = Extremes.of(first).merge(Extremes.of(second))
    assert [x.item() for x in merged.values] == [-3.0, 7.0]
    assert [x.item() for x in Extremes.of(whole).values] == [-3.0, 7.0]


def test_values_of_many_kinds_come_back_in_their_order() -> None:
    tensors = [torch.tensor(1.0), torch.arange(3), torch.tensor(2, dtype=torch.int64)]
    assert host_values(tensors) == [1.0, (0.0, 1.0, 2.0), 2.0]


def test_means_count_the_samples_that_have_a_value() -> None:
    results = [
        MetricResult("a", "of_total", 4, value=SampleMean(torch.tensor([6.0, 3.0]))),
        MetricResult("a", "of_samples", 4, value=SampleValues(torch.tensor([1.0, math.nan, 3.0]))),
    ]
    rows = on_host(results, {"a": Extremes.of(layer([[1.0]]))})
    assert [(row.value, row.n) for row in rows] == [(2.0, 3), (2.0, 2)]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([[1.0, 2.0]], "the variance is 0"),
        ([[0.0, 0.0]], "a is dead: all its activations are 0"),
        ([[math.inf, 0.0]], "activations or scores of a hold NaN or infinity"),
    ],
)
def test_what_is_not_finite_has_the_reason_that_explains_it(
    values: list[list[float]], reason: str
) -> None:
    result = MetricResult("a", "m", 1, value=torch.tensor(math.nan), undefined="the variance is 0")
    (row,) = on_host([result], {"a": Extremes.of(layer(values))})
    assert (row.value, row.reason) == (None, reason)
