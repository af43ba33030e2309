"""Tests of `cmp_core.measurement.measurer`: splits, subsets, and values on the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cmp_core import LayerView, hookimpl, metric
from cmp_core.config.schema import Config
from cmp_core.events.activations import LayerActivations
from cmp_core.events.payloads import Run
from cmp_core.events.rows import Row
from cmp_core.measurement.measurer import Measurer
from cmp_core.measurement.memory import SUBSET_SIZE
from cmp_core.measurement.metric import definition_of
from cmp_core.plugins.loader import new_manager
from cmp_core.testing import example_event, measure_batch, measure_split, select
from cmp_core.testing.measure import measurer_of


@metric("ids")
def mean_id(view: LayerView) -> Tensor:
    """Mean sample id, of those that are seen at once."""
    return view.sample_ids.double().mean()


def measure(implementation: object, event: LayerActivations) -> list[Row]:
    return measure_batch(definition_of(implementation)(), event)


def in_chunks(
    implementation: object, event: LayerActivations, size: int = 64, order: Tensor | None = None
) -> list[Row]:
    return measure_split(definition_of(implementation)(), event, size, order)


def test_a_function_sees_a_split_whole_up_to_the_subset() -> None:
    small = in_chunks(mean_id, example_event(n=300, part="chunk"))
    assert [(row.value, row.n) for row in small] == [(149.5, 300)] * 3
    large = example_event(n=3 * SUBSET_SIZE, part="chunk")
    rows = in_chunks(mean_id, large)
    shuffled = in_chunks(mean_id, large, 999, torch.arange(large.n).flip(0))
    assert {row.n for row in rows} == {SUBSET_SIZE}
    assert rows == shuffled


@pytest.mark.parametrize("value", [np.float32(2.5), np.int64(2), 2, torch.tensor(2.5)])
def test_any_kind_of_number_is_a_value(value: Any) -> None:
    @metric("number")
    def number(view: LayerView) -> Any:
        """A number."""
        return value

    assert {row.value for row in measure(number, example_event())} == {float(value)}


WRITES = {
    "anchors of the subset": lambda event: [x.anchors.zero_() for x in event.layers],
    "a statistic": lambda event: event.statistics["layer_0"].log_q.fill_(torch.nan),
    "activations of the subset": lambda event: event.layers[0].activations.fill_(7.0),
}


@pytest.mark.parametrize("what", WRITES)
@pytest.mark.parametrize("hook", ["cmp_layer_activations", "cmp_split_finished"])
def test_a_plugin_that_writes_changes_no_number_of_a_metric(what: str, hook: str) -> None:
    @metric("sums")
    def sums(view: LayerView) -> Mapping[str, Tensor]:
        """Depends on everything, and gives out a view of the activations."""
        return {"": view.anchors.sum() + view.activations.sum(), "row": view.activations[0]}

    class Writer:
        @hookimpl
        def cmp_layer_activations(self, event: Any) -> None:
            if hook == "cmp_layer_activations":
                WRITES[what](event)

        @hookimpl
        def cmp_split_finished(self, event: Any) -> None:
            if hook == "cmp_split_finished":
                WRITES[what](event.subset)

    def values(*plugins: object) -> list[Row]:
        subject = measurer_of(definition_of(sums)(), *plugins, policy="disable")
        event = example_event(part="chunk")
        parts = [select(event.copy(), where) for where in torch.arange(50).split(20)]
        return [
            row
            for row in subject.split(
                event.sample_ids.numpy(), event.labels.numpy(), lambda _: parts
            )
            if row.layer != "input"
        ]

    assert values(Writer()) == values()


def test_a_value_does_not_stand_in_the_place_of_another() -> None:
    @metric("two", split="mean")
    def two(view: LayerView) -> Mapping[str, Tensor]:
        """Two values."""
        ones = torch.ones(len(view.sample_ids))
        return {"": ones, "low": ones}

    metrics = [definition_of(two)(), definition_of(mean_id)(label="two_low")]
    subject = Measurer(metrics, Run(Config(), (), ()), new_manager())
    told = "another metric yields 'two_low' at layer_0 too: give one of them another label"
    rows = {row.reason or row.value for row in subject.batch(example_event())}
    assert rows == {1.0, f"error: UsageError: {told}"}
    (failure,) = subject.dispatcher.failures
    assert failure.plugin == "metric:two_low"
