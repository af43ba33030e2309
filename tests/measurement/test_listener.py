"""Tests of `cmp_core.measurement.listener`: how metrics of every spelling are measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from cmp_core import LayerView, UndefinedError, metric
from cmp_core.errors import PluginError
from cmp_core.events.activations import LayerActivations
from cmp_core.events.rows import Row, log_form
from cmp_core.measurement.metric import definition_of
from cmp_core.testing import example_event, measure_batch, measure_split


@metric("spectrum")
def spectrum(view: LayerView) -> Tensor:
    """Singular values, largest first."""
    return torch.linalg.svdvals(view.activations)


@metric("overlap", scope="pair")
def overlap(first: LayerView, second: LayerView) -> float:
    """Inner product of the layers' mean activations, summed over units."""
    return float(first.activations.mean() * second.activations.sum())


@metric("nothing", needs=("previous",), scope="consecutive")
def nothing(view: LayerView) -> float:
    """Never defined."""
    raise UndefinedError("there is nothing")


@metric("extremes", split="mean")
def extremes(view: LayerView, *, factor: float = 1.0) -> Mapping[str, Tensor]:
    """Largest and smallest unit."""
    return {"": factor * view.activations.amax(1), "low": factor * view.activations.amin(1)}


@metric("residual", passes=2)
class Residual:
    """Mean squared distance to the mean activation: fits first, then scores."""

    def __init__(self) -> None:
        self.total: Any = 0
        self.n = 0
        self.squares: Any = 0

    def update(self, view: LayerView) -> None:
        self.total = self.total + view.activations.double().sum(0)
        self.n += len(view.sample_ids)

    def fit(self) -> None:
        self.mean = self.total / self.n

    def score(self, view: LayerView) -> None:
        self.squares = self.squares + (view.activations - self.mean).square().sum()

    def compute(self) -> Tensor:
        return self.squares / self.n

    def merge(self, other: Residual) -> Residual:
        merged = Residual()
        merged.total, merged.n = self.total + other.total, self.n + other.n
        merged.squares = self.squares + other.squares
        return merged

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def measure(implementation: object, event: LayerActivations) -> list[Row]:
    return measure_batch(definition_of(implementation)(), event)


def in_chunks(
    implementation: object, event: LayerActivations, size: int = 64, order: Tensor | None = None
) -> list[Row]:
    return measure_split(definition_of(implementation)(), event, size, order)


def test_two_passes_over_a_split_equal_the_variance() -> None:
    event = example_event(n=200, part="chunk")
    for rows in (in_chunks(Residual, event), measure(Residual, event)):
        layers = {layer.name: layer for layer in event.all_layers}
        for row in rows:
            expected = layers[row.layer].activations.var(0, correction=0).sum().item()
            assert row.value == pytest.approx(expected, rel=1e-12)
            assert row.n == 200


def test_a_vector_is_a_tuple_and_a_list_in_the_log() -> None:
    rows = measure(spectrum, example_event(n=20, widths=(3,)))
    assert len(rows[0].value) == 3
    assert log_form(rows, ("layer_0",), 20)["vectors"]["layer_0"]["spectrum"] == list(rows[0].value)


def test_a_pair_metric_gives_the_value_with_the_previous_layer_and_a_matrix() -> None:
    event = example_event(part="chunk")
    first, second = (layer.activations for layer in event.layers)
    names = ("layer_0", "layer_1")
    forth, back = float(first.mean() * second.sum()), float(second.mean() * first.sum())
    for rows in (measure(overlap, event), in_chunks(overlap, event)):
        form = log_form(rows, names, event.n)
        assert form["metrics"] == {"layer_1": {"overlap": pytest.approx(forth)}}
        assert form["missing"] == {"layer_0": {"overlap": "layer_0 is the first layer"}}
    assert form["pairs"]["overlap"][0][1] == pytest.approx(forth)
    assert form["pairs"]["overlap"][1][0] == pytest.approx(back)


def test_an_undefined_value_gives_its_reason() -> None:
    reasons = {row.layer: row.reason for row in in_chunks(nothing, example_event(part="chunk"))}
    assert reasons == {
        "input": "the input is a reference and has no neighbours",
        "layer_0": "layer_0 is the first layer",
        "layer_1": "there is nothing",
    }


def test_what_a_layer_lacks_is_the_reason() -> None:
    @metric("needy", needs=("anchors",))
    def needy(view: LayerView) -> float:
        """Never called."""
        raise AssertionError

    event = example_event()
    bare = tuple(attrs.evolve(layer, anchors=None) for layer in event.layers)
    rows = measure(needy, attrs.evolve(event, layers=bare))
    assert [row.reason for row in rows] == ["layer_0 has no anchors", "layer_1 has no anchors"]


def test_sub_values_take_the_label() -> None:
    names = [row.metric for row in measure(extremes, example_event(widths=(4,)))]
    assert names == ["extremes", "extremes_low"]


def test_samples_without_a_value_are_left_out_of_the_mean_and_of_n() -> None:
    @metric("logarithm", split="mean")
    def logarithm(view: LayerView) -> Tensor:
        """Defined for some samples."""
        return torch.where(view.sample_ids < 30, view.sample_ids.double(), torch.nan)

    event = example_event(n=100, widths=(4,), part="chunk")
    for rows in (measure(logarithm, event), in_chunks(logarithm, event)):
        assert {(row.value, row.n) for row in rows} == {(14.5, 30)}


def test_a_mean_must_return_one_value_per_sample() -> None:
    @metric("wrong", split="mean")
    def wrong(view: LayerView) -> Tensor:
        """Returns the mean."""
        return view.activations.mean()

    with pytest.raises(
        Exception, match=r"expected one real number per sample, shape \(50,\), got .* \(\)"
    ):
        measure(wrong, example_event())


@pytest.mark.parametrize("value", ["a text", None, torch.zeros(2, 2), {"x": [1]}, {}])
def test_a_value_that_cannot_be_logged_is_the_metric_s_own_error(value: Any) -> None:
    @metric("odd")
    def odd(view: LayerView) -> Any:
        """Returns what it should not."""
        return value

    with pytest.raises(PluginError, match=r"expected a real number, a 0-d tensor|empty mapping"):
        measure(odd, example_event())


@metric("parts")
def parts(view):
    """One number, and one that is not there."""
    return {"": view.activations.mean(), "lacking": UndefinedError("there is no such thing")}


def test_one_of_several_values_may_be_missing_for_a_reason_of_its_own() -> None:
    for rows in (
        measure_batch(definition_of(parts)(), example_event()),
        measure_split(definition_of(parts)(), example_event(part="chunk")),
    ):
        missing = {row.layer: row.reason for row in rows if row.metric == "parts_lacking"}
        assert set(missing.values()) == {"there is no such thing"}
        assert all(row.value is not None for row in rows if row.metric == "parts")
