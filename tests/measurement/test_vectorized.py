"""Metrics that are given several layers at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np
import pluggy
import pytest
import torch
from torch import Tensor

from cmp_core import Config, LayerView, UsageError, load_config, metric
from cmp_core.events import hookspecs
from cmp_core.events.payloads import LayerActivations, Run
from cmp_core.events.view import StackedView
from cmp_core.measurement.listener import MetricListener
from cmp_core.measurement.measurer import Measurer
from cmp_core.measurement.metric import definition_of
from cmp_core.measurement.selection import select_metrics
from cmp_core.plugins.dispatch import Dispatcher
from cmp_core.plugins.loader import load_plugins
from cmp_core.statistics.stacked import StackedStatistics
from cmp_core.testing import check_metric, example_event, measure_batch, select


def _values(function: Any, widths: tuple[int, ...]) -> dict[str, Any]:
    rows = measure_batch(definition_of(function)(), example_event(widths=widths))
    return {f"{row.metric} {row.layer}": row.value or row.reason for row in rows}


def test_layers_of_one_width_come_together_and_keep_their_own_values() -> None:
    calls = []

    @metric("level", vectorized=True)
    def level(view: LayerView) -> Mapping[str, Tensor]:
        """Mean activation."""
        calls.append((view.name, tuple(view.activations.shape), tuple(view.sample_ids.shape)))
        return {"": view.activations.mean(dim=(-2, -1)), "units": view.activations.mean(dim=-2)}

    values = _values(level, (6, 5, 6))
    assert calls == [("layer_0, layer_2", (2, 50, 6), (50,)), ("layer_1", (1, 50, 5), (50,))]
    for layer in example_event(widths=(6, 5, 6)).layers:
        x = layer.activations
        assert values[f"level {layer.name}"] == pytest.approx(x.mean().item(), rel=1e-12)
        units = pytest.approx(x.mean(dim=0).tolist(), rel=1e-12)
        assert values[f"level_units {layer.name}"] == units
    check_metric(level)


def test_a_neighbour_of_another_width_makes_another_group() -> None:
    names = []

    @metric("step", scope="consecutive", needs=("next",), vectorized=True)
    def step(view: LayerView) -> Tensor:
        """Ratio of mean activations."""
        names.append((view.name, view.next.name))
        means = [x.activations.mean(dim=(-2, -1)) for x in (view.next, view)]
        return means[0] / means[1]

    values = _values(step, (6, 6, 6, 5))
    assert names == [("layer_0, layer_1", "layer_1, layer_2"), ("layer_2", "layer_3")]
    assert values["step layer_3"] == "layer_3 is the last layer"
    layers = example_event(widths=(6, 6, 6, 5)).layers
    means = [layer.activations.mean().item() for layer in layers]
    for i in range(3):
        assert values[f"step layer_{i}"] == pytest.approx(means[i + 1] / means[i], rel=1e-12)


def test_every_neighbour_that_is_needed_decides_about_the_group() -> None:
    @metric("around", needs=("previous.activations", "next.next.activations"), vectorized=True)
    def around(view: LayerView) -> Tensor:
        """Mean activations of three layers."""
        sums = [x.activations.mean(dim=(-2, -1)) for x in (view.previous, view, view.next.next)]
        return sums[0] + sums[1] + sums[2]

    event = example_event(widths=(5, 6, 6, 6, 6, 7))
    rows = measure_batch(definition_of(around)(), event)
    means = [layer.activations.mean().item() for layer in event.layers]
    assert [row.layer for row in rows] == [layer.name for layer in event.layers]
    for i in (1, 2, 3):
        expected = means[i - 1] + means[i] + means[i + 2]
        assert rows[i].value == pytest.approx(expected, rel=1e-12)
    assert rows[4].reason == "layer_5 is the last layer"


def test_the_trouble_of_one_layer_is_its_own() -> None:
    @metric("picky", vectorized=True)
    def picky(view: LayerView) -> Tensor:
        """Mean score; what it needs is not declared."""
        return view.scores.mean(dim=(-2, -1))

    event = example_event(widths=(6, 6, 6))
    bare = attrs.evolve(event.layers[1], scores=None)
    event = attrs.evolve(event, layers=(event.layers[0], bare, event.layers[2]))
    rows = {row.layer: row for row in measure_batch(definition_of(picky)(), event)}
    assert rows["layer_1"].reason == "layer_1 has no scores"
    assert rows["layer_0"].value is not None
    assert rows["layer_2"].value is not None


def test_a_chunk_without_scores_costs_that_layer_alone() -> None:
    event = example_event(n=30, widths=(6, 6), part="chunk")

    def read(_: int) -> Iterator[LayerActivations]:
        for start in range(0, 30, 10):
            chunk = select(event, torch.arange(start, start + 10))
            if start == 10:
                bare = attrs.evolve(chunk.layers[0], scores=None)
                chunk = attrs.evolve(chunk, layers=(bare, chunk.layers[1]))
            yield chunk

    (accuracy,) = select_metrics(load_plugins(), load_config(metrics=["accuracy"]))
    listener = MetricListener(accuracy)
    manager = pluggy.PluginManager("cmp")
    manager.add_hookspecs(hookspecs)
    manager.register(listener, listener.name)
    dispatcher = Dispatcher(manager, Run(Config(), tuple("012"), ("layer_0", "layer_1")), "raise")
    rows = {
        row.layer: row for row in Measurer(dispatcher, [listener]).split(np.arange(30), None, read)
    }
    assert rows["layer_0"].reason == "layer_0 has no scores"
    scores = event.layers[1].scores
    assert scores is not None
    expected = (scores.argmax(dim=1) == event.labels).double().mean().item()
    assert rows["layer_1"].value == pytest.approx(expected)


@pytest.mark.parametrize(
    "value", [1.0, torch.tensor(1.0), torch.ones(3), torch.ones(2, 2, 2)], ids=str
)
def test_a_value_without_its_layers_is_refused(value: Any) -> None:
    @metric("flat", vectorized=True)
    def flat(view: LayerView) -> Any:
        """Forgets the layers."""
        return value

    with pytest.raises(Exception, match=r"for 2 layers at once a tensor \(2,\) or \(2, p\)"):
        _values(flat, (6, 6))


def test_the_kit_finds_layers_that_are_mixed() -> None:
    @metric("mixed", vectorized=True)
    def mixed(view: LayerView) -> Tensor:
        """Is relative to the other layers."""
        means = view.activations.mean(dim=(-2, -1))
        return means / means.mean()

    with pytest.raises(AssertionError, match="keeps layers that it is given at once apart"):
        check_metric(mixed)


def test_stacked_statistics_are_those_of_the_layers() -> None:
    event = example_event(n=9, widths=(12, 12, 12))
    views = [LayerView(event, layer) for layer in event.layers]
    first, second = StackedView(views[:2]), StackedView(views[1:])
    each, others = [v.statistics for v in views[:2]], [v.statistics for v in views[1:]]
    assert isinstance(first.statistics, StackedStatistics)
    pairs = list(zip(each, others, strict=True))
    for name in ("log_q", "cosines", "peak"):
        stacked = torch.stack([getattr(s, name) for s in each])
        assert getattr(first.statistics, name).equal(stacked)
    for name in ("mean", "eigenvalues", "shrunk_log_det", "held_out_scores", "variance"):
        stacked = torch.stack([getattr(s, name)() for s in each])
        assert getattr(first.statistics, name)().equal(stacked)
    found = first.statistics.hsic(other=second.statistics, debiased=False)
    assert found.equal(torch.stack([a.hsic(b, debiased=False) for a, b in pairs]))
    inner = first.statistics.inner(second.statistics)
    assert inner.squares.equal(torch.stack([a.inner(b).squares for a, b in pairs]))
    assert first.statistics.folds().equal(each[0].folds())
    assert (first.statistics.n, first.statistics.width) == (9, 12)
    assert first.statistics.layer == "layer_0, layer_1"
    assert copy.copy(first.statistics).variance().equal(first.statistics.variance())


def test_several_layers_have_no_one_depth() -> None:
    event = example_event(widths=(6, 6))
    with pytest.raises(UsageError, match="no one depth"):
        _ = StackedView([LayerView(event, layer) for layer in event.layers]).depth
