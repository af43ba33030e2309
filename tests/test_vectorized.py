"""Metrics that are given several layers at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from cmp_core import LayerView, UndefinedError, UsageError, metric
from cmp_core.layer_view import StackedView
from cmp_core.metric_contract import definition_of
from cmp_core.stacked_statistics import StackedStatistics
from cmp_core.testing import check_metric, example_event, measure_batch


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


def test_a_reason_concerns_all_layers_of_the_call() -> None:
    @metric("never", vectorized=True)
    def never(view: LayerView) -> Tensor:
        """Never defined."""
        raise UndefinedError("not today")

    values = _values(never, (6, 6))
    assert values == {"never layer_0": "not today", "never layer_1": "not today"}


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
    found = first.statistics.hsic(second.statistics, debiased=False)
    assert found.equal(torch.stack([a.hsic(b, debiased=False) for a, b in pairs]))
    inner = first.statistics.inner(second.statistics)
    assert inner.squares.equal(torch.stack([a.inner(b).squares for a, b in pairs]))
    assert first.statistics.folds().equal(each[0].folds())
    assert (first.statistics.n, first.statistics.width) == (9, 12)


def test_several_layers_have_no_one_depth() -> None:
    event = example_event(widths=(6, 6))
    with pytest.raises(UsageError, match="no one depth"):
        _ = StackedView([LayerView(event, layer) for layer in event.layers]).depth
