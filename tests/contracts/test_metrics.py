"""What every registered metric must hold, found through the registry and none by name."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
import torch

from cmp_core.config_io import shipped_folder
from cmp_core.dispatch import Dispatcher
from cmp_core.events import LayerActivations, Run
from cmp_core.measurer import Measurer
from cmp_core.measuring import MetricListener
from cmp_core.metric_contract import LayerView, MetricDefinition, definition_of
from cmp_core.plugins import load_plugins
from cmp_core.rows import Row
from tests.conftest import make_event

EXAMPLES = [f"cmp:{path.stem}" for path in shipped_folder("examples", "plugins").glob("[!_]*.py")]
REGISTRY = load_plugins(EXAMPLES).registry
METRICS = [definition_of(REGISTRY.get("metric", name).factory) for name in REGISTRY.names("metric")]

every_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


def measurer(metric: MetricDefinition, *plugins: object, policy: str = "raise") -> Measurer:
    """A measurer of one metric; the plugins are called before it."""
    manager = load_plugins().manager
    listener = MetricListener(metric())
    manager.register(listener, listener.name)
    for plugin in plugins:
        manager.register(plugin)
    run = Run(config=None, class_names=(), layer_names=())
    return Measurer(Dispatcher(manager, run, policy), [listener])


def measure(metric: MetricDefinition, event: LayerActivations) -> list[Row]:
    return list(measurer(metric).batch(attrs.evolve(event, part="batch")))


def measure_in_chunks(
    metric: MetricDefinition, event: LayerActivations, size: int, order: torch.Tensor
) -> list[Row]:
    def read(reading: int) -> list[LayerActivations]:
        return [select(event, where, reading) for where in order.split(size)]

    return list(measurer(metric).split(event.sample_ids.numpy(), read))


def select(event: LayerActivations, where: torch.Tensor, reading: int = 1) -> LayerActivations:
    """Some samples of an event as a chunk."""
    n = event.n
    rows = event.map_tensors(lambda tensor: tensor[where] if len(tensor) == n else tensor)
    return attrs.evolve(rows, part="chunk", reading=reading)


def values(rows: list[Row]) -> dict[tuple[str, str], float]:
    return {(row.layer, row.metric): row.value for row in rows if row.value is not None}


@every_metric
def test_declares_what_it_is(metric: MetricDefinition) -> None:
    assert metric.summary
    low, high = metric.bounds
    assert low < high
    assert metric.name == metric().label


@every_metric
@pytest.mark.parametrize("size", [1, 7, 128, 1000])
def test_chunks_and_order_do_not_change_a_split(metric: MetricDefinition, size: int) -> None:
    event = make_event(n=300, part="chunk")
    order = torch.randperm(300, generator=torch.Generator().manual_seed(size))
    chunked = values(measure_in_chunks(metric, event, size, order))
    whole = values(measure(metric, event))
    assert chunked
    assert whole.keys() == chunked.keys()
    for key, value in whole.items():
        assert chunked[key] == pytest.approx(value, rel=1e-9, abs=1e-12)


@every_metric
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_lower_precision_reads_about_the_same(metric: MetricDefinition, dtype: torch.dtype) -> None:
    exact = make_event(n=200)
    n, labels = exact.n, exact.labels
    rounded = exact.map_tensors(lambda t: t.to(dtype) if t.is_floating_point() else t)
    assert rounded.labels is labels
    assert rounded.n == n
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}[dtype]
    found, expected = values(measure(metric, rounded)), values(measure(metric, exact))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=tolerance, abs=tolerance)


@every_metric
def test_values_lie_within_the_declared_bounds(metric: MetricDefinition) -> None:
    low, high = metric.bounds
    for seed in range(20):
        for value in values(measure(metric, make_event(n=5 + seed, seed=seed))).values():
            assert low - 1e-9 <= value <= high + 1e-9


@every_metric
def test_inputs_and_generators_are_left_alone(metric: MetricDefinition) -> None:
    event = make_event()
    before, state = event.copy(), torch.get_rng_state()
    measure(metric, event)
    assert event.modified() is None
    assert torch.get_rng_state().equal(state)
    for layer, old in zip(event.layers, before.layers, strict=True):
        assert layer.activations.equal(old.activations)


def transformed(event: LayerActivations, invariance: str) -> LayerActivations:
    """The event after a map that the metric says it does not see."""
    g = torch.Generator().manual_seed(1)
    if invariance == "permute_samples":
        return attrs.evolve(select(event, torch.randperm(event.n, generator=g)), part="batch")

    def change(tensor: torch.Tensor | None) -> torch.Tensor | None:
        if tensor is None:
            return None
        width = tensor.shape[1]
        g.manual_seed(width)
        if invariance == "scale":
            return 7 * tensor
        if invariance == "permute_units":
            return tensor[:, torch.randperm(width, generator=g)]
        assert invariance == "orthogonal"
        gaussian = torch.randn(width, width, generator=g, dtype=tensor.dtype)
        return tensor @ torch.linalg.qr(gaussian).Q

    layers = tuple(
        attrs.evolve(layer, activations=change(layer.activations), anchors=change(layer.anchors))
        for layer in event.layers
    )
    return attrs.evolve(event, layers=layers)


@every_metric
def test_declared_invariances_hold(metric: MetricDefinition) -> None:
    event = make_event(n=64)
    expected = values(measure(metric, event))
    for invariance in metric.invariances - {"symmetric"}:
        found = values(measure(metric, transformed(event, invariance)))
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, rel=1e-9, abs=1e-12), invariance


def with_activations(event: LayerActivations, value: float) -> LayerActivations:
    """The event with the first layer's activations filled with a value."""
    first, *others = event.layers
    first = attrs.evolve(first, activations=torch.full_like(first.activations, value))
    return attrs.evolve(event, layers=(first, *others))


@every_metric
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_broken_activations_give_a_reason(metric: MetricDefinition, value: float) -> None:
    rows = measure(metric, with_activations(make_event(), value))
    broken = [row for row in rows if "layer_0" in (row.layer, row.other)]
    assert broken
    for row in broken:
        assert row.value is None
        assert row.reason == "activations or scores of layer_0 hold NaN or infinity"
    assert any(row.layer == "layer_1" for row in rows)


@every_metric
def test_broken_scores_give_a_reason(metric: MetricDefinition) -> None:
    event = make_event()
    assert event.layers[0].scores is not None
    event.layers[0].scores[3, 1] = math.inf
    rows = measure(metric, event.copy())
    broken = [row for row in rows if "layer_0" in (row.layer, row.other)]
    assert {row.value for row in broken} == {None}


def state_of(metric: MetricDefinition, event: LayerActivations) -> Any:
    """The state of a stateful metric at the first layer after one chunk."""
    state = metric().new_state()
    if event.n:
        state.update(LayerView(event, event.layers[0]))
    return state


@pytest.mark.parametrize(
    "metric", [m for m in METRICS if m.is_stateful], ids=lambda metric: metric.name
)
def test_states_are_a_monoid(metric: MetricDefinition) -> None:
    event = make_event(n=90)
    parts = [select(event, where) for where in torch.arange(90).split(30)]
    a, b, c = (state_of(metric, part) for part in parts)
    whole = float(state_of(metric, event).compute())
    assert float(a.merge(b).merge(c).compute()) == pytest.approx(whole, rel=1e-12)
    assert float(a.merge(b.merge(c)).compute()) == pytest.approx(whole, rel=1e-12)
    assert float(c.merge(a).merge(b).compute()) == pytest.approx(whole, rel=1e-12)
    for state, part in zip((a, b, c), parts, strict=True):
        own = float(state_of(metric, part).compute())
        assert float(state.compute()) == own, "merge changed a side"
        empty = metric().new_state()
        assert float(empty.merge(state).compute()) == float(state.merge(empty).compute()) == own
        again = metric().new_state()
        again.load_state_dict(state.state_dict())
        assert float(again.compute()) == own


@every_metric
@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_samples_give_a_value_or_a_reason(metric: MetricDefinition, n: int) -> None:
    for row in measure(metric, make_event(n=n)):
        assert (row.value is None) == (row.reason is not None)
        if n == 0:
            assert row.value is None
        if row.value is not None:
            assert math.isfinite(row.value)


@every_metric
def test_a_dead_layer_gives_a_reason_or_a_meant_value(metric: MetricDefinition) -> None:
    rows = measure(metric, with_activations(make_event(), 0.0))
    for row in rows:
        assert row.value is None or math.isfinite(row.value)
        if row.layer == "layer_0" and "anchors" in metric.needs:
            assert row.reason == "layer_0 is dead: all its activations are 0"
