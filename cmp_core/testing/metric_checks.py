"""What every metric must hold, by what it declares."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from cmp_core.errors import text_of
from cmp_core.events.activations import LayerActivations
from cmp_core.events.rows import INPUT, Row, Value
from cmp_core.layers.layer import Layer
from cmp_core.measurement.listener import MetricListener
from cmp_core.measurement.metric import Metric, definition_of
from cmp_core.plugins.global_state import GlobalState
from cmp_core.testing.check import Check
from cmp_core.testing.compare import EXACT, Key, assert_equal, both_ways, numbers_of, values_of
from cmp_core.testing.events import DAMAGES, change_first, damaged_event, example_event, select
from cmp_core.testing.measure import measure_batch, measure_split, unfenced
from cmp_core.testing.state_checks import STATE_CHECKS

CHUNK_SIZES = (1, 7, 128, 1000)
ROUNDED = {torch.float32: 1e-4, torch.float16: 3e-2, torch.bfloat16: 1e-1}
"""Tolerance, relative and absolute, for activations that are stored in fewer digits."""

_Listed = tuple[str, str, Callable[[Metric], None]]
"""What holds, the input on which it is tried as Python, and what raises where it does not."""


def metric_checks(factory: Any, **options: Any) -> list[Check]:
    """Return the checks that apply to a metric, by what it declares.

    Args:
        factory: the function or class under `@metric`.
        options: of the metric.
    """
    metric = definition_of(factory)(**options)
    # A slow one has no values on batches in a run, but must be right about them here.
    metric = attrs.evolve(metric, definition=attrs.evolve(metric.definition, slow=False))
    return [
        Check(metric.label, name, partial(run, metric), tried)
        for name, tried, run in _checks(metric)
    ]


def check_metric(factory: Any, **options: Any) -> int:
    """Run all checks on a metric and return how many there were.

    Args:
        factory: the function or class under `@metric`.
        options: of the metric.

    Raises:
        AssertionError: some do not hold; the message lists them, each with what showed it.

    >>> from cmp_metrics.participation_ratio import participation_ratio_metric
    >>> check_metric(participation_ratio_metric) > 20
    True
    """
    checks = metric_checks(factory, **options)
    failures = []
    for check in checks:
        try:
            check()
        except AssertionError as error:
            failures.append(f"- {check.name}: {text_of(error)}")
    if failures:
        listed = "\n".join(failures)
        raise AssertionError(
            f"{checks[0].subject}: {len(failures)} of {len(checks)} checks failed\n{listed}"
        )
    return len(checks)


def _checks(metric: Metric) -> Iterator[_Listed]:
    definition = metric.definition
    split, samples = 'example_event(part="chunk")', 'example_event(n=200, part="chunk")'
    yield "says in its docstring what it is", "", _has_a_summary
    for size in () if definition.split == "running" else CHUNK_SIZES:
        what = f"reads a split in chunks of {size} as at once"
        yield what, 'example_event(n=300, part="chunk")', partial(_reads_chunks, size=size)
    for dtype, tolerance in ROUNDED.items():
        reads = partial(_reads_dtype, dtype=dtype, tolerance=tolerance)
        yield f"reads {dtype} activations", f"{samples}, as {dtype}", reads
    for device in _devices():
        reads = partial(_reads_device, device=device)
        yield f"reads the same on {device}", f"{samples}, on {device}", reads
    for name, change in _STRAINS.items():
        tried = f"{samples}, as torch.float32, {name}"
        yield f"reads float32 as float64: {name}", tried, partial(_reads_strain, change=change)
    if "scale" in definition.invariances:
        for exponent in _EXPONENTS:
            tried = f"{samples}, as torch.float32, times 2.0**{exponent}"
            reads = partial(_reads_scale, exponent=exponent)
            yield f"reads the same at a scale of 2^{exponent}", tried, reads
    tried = 'example_event(part="chunk") without scores and anchors, and with num_classes=40'
    yield "is the same with classes that no sample has", tried, _ignores_absent_classes
    yield "keeps to its bounds", split, _keeps_to_bounds
    yield "changes no input", split, _changes_no_input
    yield "draws no random number", split, _draws_nothing
    yield "changes no global state", split, _changes_no_global_state
    for invariance in sorted(definition.invariances - {"symmetric"}):
        tried = f'example_event(n=64, part="chunk"), and after the map {invariance}'
        yield f"is invariant: {invariance}", tried, partial(_is_invariant, invariance=invariance)
    if "symmetric" in definition.invariances:
        yield "is symmetric", "example_event(n=60, widths=(6, 6))", _is_symmetric
    what = "keeps layers apart"
    yield what, 'example_event(n=60, widths=(6, 6, 6), part="chunk")', _keeps_layers_apart
    for name in DAMAGES:
        tried = f'damaged_event("{name}")'
        yield f"meets {name} with a value or a reason", tried, partial(_meets, damage=name)
    for value in (math.nan, math.inf):
        tried = f"{split}, whose first layer is {value}"
        what = f"gives a reason where activations are {value}"
        yield what, tried, partial(_gives_reason, value=value)
    if definition.split == "running":
        yield "has no value for a split, and says so", split, _has_no_value_for_a_split
        yield "goes on from its state", "three of example_event()", _goes_on_from_its_state
    elif definition.split == "state":
        for name, run in STATE_CHECKS.items():
            yield name, 'example_event(n=90, part="chunk"), in shards of 20, 30 and 40', run


def _has_a_summary(metric: Metric) -> None:
    assert metric.definition.summary, "there is no docstring"


def _reads_chunks(metric: Metric, size: int) -> None:
    event = example_event(n=300, part="chunk")
    order = torch.randperm(300, generator=torch.Generator().manual_seed(size))
    rows = measure_split(metric, event, size, order)
    split = values_of(rows)
    reasons = "; ".join(dict.fromkeys(f"{row.layer}: {row.reason}" for row in rows if row.reason))
    hidden = [layer for layer, *_ in split if layer != INPUT]
    assert hidden, f"no hidden layer has a value for 300 random samples ({reasons})"
    assert_equal(split, values_of(measure_split(metric, event)), EXACT, "one chunk")
    if metric.definition.fits:  # by least squares over a split, by ridge regression on a batch
        return
    batch = values_of(measure_batch(metric, event))
    seen = {key: value for key, value in split.items() if key in batch}
    assert_equal(seen, batch, EXACT, "the samples as a batch")


def _reads_dtype(metric: Metric, dtype: torch.dtype, tolerance: float) -> None:
    exact = example_event(n=200, part="chunk")
    rounded = exact.map_tensors(lambda x: x.to(dtype) if x.is_floating_point() else x)
    for found, expected in zip(both_ways(metric, rounded), both_ways(metric, exact), strict=True):
        assert_equal(values_of(found), values_of(expected), tolerance, "float64")


def _one_large_sample(activations: Tensor) -> Tensor:
    factors = torch.ones_like(activations[:, :1])
    factors[:1] = 1000
    return activations * factors


_STRAINS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "one sample a thousand times as large": _one_large_sample,
    "an offset of a thousand": lambda x: x + 1000,
}
"""What takes digits away from sums of squares in float32."""

_EXPONENTS = (-100, 100)
"""Scales within the range of float32 at which the squares of activations are not."""


def _reads_strain(metric: Metric, change: Callable[[Tensor], Tensor]) -> None:
    event = example_event(n=200, dtype=torch.float32, part="chunk")
    event = _with_activations(event, change)
    exact = event.map_tensors(lambda x: x.double() if x.is_floating_point() else x)
    for found, expected in zip(both_ways(metric, event), both_ways(metric, exact), strict=True):
        assert_equal(values_of(found), values_of(expected), ROUNDED[torch.float32], "float64")


def _reads_scale(metric: Metric, exponent: int) -> None:
    event = example_event(n=200, dtype=torch.float32, part="chunk")
    scaled = _with_activations(event, lambda x: x * 2.0**exponent, also_anchors=True)
    for found, expected in zip(both_ways(metric, scaled), both_ways(metric, event), strict=True):
        assert_equal(values_of(found), values_of(expected), EXACT, "a scale of 1")


def _ignores_absent_classes(metric: Metric) -> None:
    event = example_event(part="chunk")
    layers = tuple(attrs.evolve(x, scores=None, anchors=None) for x in event.layers)
    event = attrs.evolve(event, layers=layers)
    more = attrs.evolve(event, num_classes=40)
    for found, expected in zip(both_ways(metric, more), both_ways(metric, event), strict=True):
        assert_equal(values_of(found), values_of(expected), EXACT, "3 classes")


def _with_activations(
    event: LayerActivations, change: Callable[[Tensor], Tensor], *, also_anchors: bool = False
) -> LayerActivations:
    """Return the event with the activations of every layer changed, the reference among them."""

    def changed(layer: Layer) -> Layer:
        anchors = layer.anchors
        if also_anchors and anchors is not None:
            anchors = change(anchors)
        return attrs.evolve(layer, activations=change(layer.activations), anchors=anchors)

    return attrs.evolve(
        event,
        layers=tuple(map(changed, event.layers)),
        reference=None if event.reference is None else changed(event.reference),
    )


def _reads_device(metric: Metric, device: str) -> None:
    event = example_event(n=200, dtype=torch.float32, part="chunk")
    moved = event.map_tensors(lambda x: x.to(device))
    for found, expected in zip(both_ways(metric, moved), both_ways(metric, event), strict=True):
        assert_equal(values_of(found), values_of(expected), ROUNDED[torch.float32], "cpu")


def _keeps_to_bounds(metric: Metric) -> None:
    low, high = metric.definition.bounds
    for seed in range(20):
        for rows in both_ways(metric, example_event(n=5 + seed, seed=seed, part="chunk")):
            # The bounds are those of the headline; a sub-value may have others.
            for row in (row for row in rows if row.metric == metric.label):
                for value in numbers_of(row.value):
                    assert low - EXACT <= value <= high + EXACT, (
                        f"{value} at {row.layer} is outside of [{low}, {high}] for "
                        f"example_event(n={5 + seed}, seed={seed})"
                    )


def _changes_no_input(metric: Metric) -> None:
    event = example_event(part="chunk").copy()
    both_ways(metric, event, unfenced(metric))
    what = event.modified()
    assert what is None, f"{what} were changed"


def _draws_nothing(metric: Metric) -> None:
    def state() -> list[Any]:
        return [torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())]

    before = state()
    both_ways(metric, example_event(part="chunk"), unfenced(metric))
    assert state() == before, "the state of a global generator has changed"


def _changes_no_global_state(metric: Metric) -> None:
    state = GlobalState()
    try:
        both_ways(metric, example_event(part="chunk"), unfenced(metric))
    finally:
        changed = state.restore()
    assert not changed, f"it changed {', '.join(changed)}"


def _is_invariant(metric: Metric, invariance: str) -> None:
    event = example_event(n=64, part="chunk")
    mapped = _mapped(event, invariance)
    found, expected = ([measure_split(metric, one, size=7)] for one in (mapped, event))
    if invariance != "affine":  # which is a promise about splits alone
        found, expected = (both_ways(metric, one) for one in (mapped, event))
    for rows, wanted in zip(found, expected, strict=True):
        assert_equal(values_of(rows), values_of(wanted), EXACT, f"before the map '{invariance}'")


def _mapped(event: LayerActivations, invariance: str) -> LayerActivations:
    """Return the event after a map; every layer is mapped in its own way."""
    g = torch.Generator().manual_seed(1)
    if invariance == "permute_samples":
        return select(event, torch.randperm(event.n, generator=g))

    def change(tensor: Tensor, seed: int) -> Tensor:
        width = tensor.shape[1]
        g.manual_seed(seed)
        if invariance == "scale":
            return (seed + 7) * tensor
        if invariance == "permute_units":
            return tensor[:, torch.randperm(width, generator=g)]
        gaussian = torch.randn(width, width, generator=g, dtype=torch.float64)
        basis: Tensor = torch.linalg.qr(gaussian).Q
        if invariance == "affine":
            stretched = basis * torch.logspace(-1, 1, width, dtype=torch.float64)
            return tensor @ stretched + gaussian[0]
        return tensor @ basis

    def change_layer(layer: Layer) -> Layer:
        seed = layer.depth + 1
        anchors = None if layer.anchors is None else change(layer.anchors, seed)
        return attrs.evolve(layer, activations=change(layer.activations, seed), anchors=anchors)

    return attrs.evolve(
        event,
        layers=tuple(map(change_layer, event.layers)),
        reference=None if event.reference is None else change_layer(event.reference),
    )


def _is_symmetric(metric: Metric) -> None:
    first, second = example_event(n=60, widths=(6, 6)).layers
    swapped = (
        attrs.evolve(second, name="layer_0", depth=0),
        attrs.evolve(first, name="layer_1", depth=1),
    )
    event = example_event(n=60, widths=(6, 6))
    forth = values_of(measure_batch(metric, event))
    assert forth, "no pair of layers has a value for 60 random samples"
    back = values_of(measure_batch(metric, attrs.evolve(event, layers=swapped)))
    assert_equal(back, forth, EXACT, "the layers the other way round")


def _keeps_layers_apart(metric: Metric) -> None:
    event = example_event(n=60, widths=(6, 6, 6), part="chunk")
    values = [_without_first(rows) for rows in both_ways(metric, event)]
    assert any(values), "no layer but the first has a value for 60 random samples"
    for what, number in (("dead", 0.0), ("NaN", math.nan)):
        damaged = change_first(event, partial(torch.full_like, fill_value=number))
        for rows, sound in zip(both_ways(metric, damaged), values, strict=True):
            assert_equal(_without_first(rows), sound, EXACT, f"a first layer that is not {what}")


def _without_first(rows: Sequence[Row]) -> dict[Key, Value]:
    return values_of([row for row in rows if "layer_0" not in (row.layer, row.other)])


def _meets(metric: Metric, damage: str) -> None:
    event = damaged_event(damage)
    for rows in both_ways(metric, event):
        for row in rows:
            assert (row.value is None) == (row.reason is not None), row
            assert all(map(math.isfinite, numbers_of(row.value))), row
            assert event.n > 0 or row.value is None, f"there are no samples, but {row}"


def _gives_reason(metric: Metric, value: float) -> None:
    event = change_first(example_event(part="chunk"), lambda x: torch.full_like(x, value))
    for rows in both_ways(metric, event):
        assert any(row.layer == "layer_0" for row in rows), "there is no row for layer_0"
        for row in rows:
            assert "layer_0" not in (row.layer, row.other) or row.value is None, row
            assert row.reason is None or "error" not in row.reason, row


def _has_no_value_for_a_split(metric: Metric) -> None:
    rows = measure_split(metric, example_event(part="chunk"))
    assert rows, "there are no rows"
    assert all(row.value is None and row.reason for row in rows), rows


def _goes_on_from_its_state(metric: Metric) -> None:
    listener, again = MetricListener(metric), MetricListener(metric)
    events = [example_event(seed=seed) for seed in range(3)]
    for event in events[:2]:
        listener.cmp_layer_activations(event)
    again.load_state_dict(copy.deepcopy(listener.state_dict()))
    answers = [side.cmp_layer_activations(events[2]) or [] for side in (listener, again)]
    for one, other in zip(*answers, strict=True):
        assert (one.layer, one.reason) == (other.layer, other.reason), f"{other} is not {one}"
        assert _is_same(one.value, other.value), f"{other} is not {one}"


def _is_same(one: Any, other: Any) -> bool:
    return one is other or torch.as_tensor(one).equal(torch.as_tensor(other))


def _devices() -> list[str]:
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return ["cuda"] * torch.cuda.is_available() + mps
