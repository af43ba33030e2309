"""The conformance kit: what every metric must hold, run against any of them.

In a test file of one's own:

    from cmp_core.testing import each_check

    @each_check(my_metric)
    def test_my_metric_conforms(check):
        check()

or, anywhere, `check_metric(my_metric)`. Both go through the engine's own measuring, on random
activations, so they find what a run would find.
"""

from __future__ import annotations

import copy
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np
import pluggy
import torch
from torch import Tensor

from cmp_core import hookspecs
from cmp_core.dispatch import Dispatcher
from cmp_core.events import LayerActivations, Part, Run
from cmp_core.hookspecs import PROJECT
from cmp_core.layer import Layer
from cmp_core.layer_view import LayerView
from cmp_core.measurer import Measurer
from cmp_core.measuring import MetricListener
from cmp_core.metric_contract import Metric, definition_of
from cmp_core.rows import INPUT, Row, Value
from cmp_core.split_statistics import SplitStatistics
from cmp_core.split_sums import SplitSums

CHUNK_SIZES = (1, 7, 128, 1000)
EXACT = 1e-9
"""Relative tolerance in float64 for values that must be equal but for rounding."""
ROUNDED = {torch.float32: 1e-4, torch.float16: 3e-2, torch.bfloat16: 1e-1}
"""Tolerance, relative and absolute, for activations that are stored in fewer digits."""


@attrs.frozen
class Check:
    """One property of one metric; calling it raises `AssertionError` where it does not hold."""

    metric: str
    name: str
    _run: Callable[[], None] = attrs.field(repr=False)

    def __call__(self) -> None:
        """Run the check."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                self._run()
            except AssertionError as error:
                error.add_note(str(self))
                raise
            except Exception as error:
                message = f"{self}: {type(error).__name__}: {error}"
                raise AssertionError(message) from error

    def __str__(self) -> str:
        return f"{self.metric}: {self.name}"


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
            failures.append(f"- {check.name}: {error}")
    if failures:
        listed = "\n".join(failures)
        raise AssertionError(
            f"{checks[0].metric}: {len(failures)} of {len(checks)} checks failed\n{listed}"
        )
    return len(checks)


def each_check(*factories: Any) -> Any:
    """Return a pytest decorator that runs a test once for every check, as its argument `check`."""
    import pytest

    checks = [check for factory in factories for check in metric_checks(factory)]
    return pytest.mark.parametrize("check", checks, ids=str)


def metric_checks(factory: Any, **options: Any) -> list[Check]:
    """Return the checks that apply to a metric, by what it declares.

    Args:
        factory: the function or class under `@metric`.
        options: of the metric.
    """
    metric = definition_of(factory)(**options)
    return [Check(metric.label, name, partial(run, metric)) for name, run in _checks(metric)]


def example_event(
    n: int = 50,
    widths: tuple[int, ...] = (6, 5),
    classes: int = 3,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    part: Part = "batch",
) -> LayerActivations:
    """Return random ReLU activations of n samples, with anchors and scores at every layer.

    Each layer is a random function of the one before. A chunk has the input as reference too.
    """
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    inputs = normal(n, 4)
    layers: list[Layer] = []
    for depth, width in enumerate(widths):
        below = layers[-1].activations if layers else inputs
        layers.append(
            Layer(
                name=f"layer_{depth}",
                depth=depth,
                module=f"layers.{depth}",
                activations=(below @ normal(below.shape[1], width) + normal(n, width)).relu(),
                scores=3 * normal(n, classes),
                anchors=normal(classes, width),
                anchor_kind="orthonormal",
            )
        )
    event = LayerActivations(
        source="live",
        phase="val",
        part=part,
        epoch=1,
        step=1,
        layers=tuple(layers),
        sample_ids=torch.arange(n),
        labels=torch.randint(0, classes, (n,), generator=g),
        inputs=inputs,
        num_classes=classes,
        reference=Layer(INPUT, -1, INPUT, inputs) if part != "batch" else None,
    )
    return event.map_tensors(lambda x: x.to(dtype) if x.is_floating_point() else x)


def measure_batch(metric: Metric, event: LayerActivations) -> list[Row]:
    """Measure an event as a training batch."""
    return list(_measurer(metric).batch(attrs.evolve(event, part="batch", reference=None)))


def measure_split(
    metric: Metric, event: LayerActivations, size: int = 1000, order: Tensor | None = None
) -> list[Row]:
    """Measure an event's samples as a split, in chunks of a size and in any order of positions."""
    order = torch.arange(event.n) if order is None else order

    def read(reading: int) -> Iterator[LayerActivations]:
        return (select(event, where, reading) for where in torch.split(order, size))

    ids, labels = event.sample_ids.cpu().numpy(), event.labels
    known = None if labels is None else labels.cpu().numpy()
    return list(_measurer(metric).split(ids, known, read))


def select(event: LayerActivations, where: Tensor, reading: int = 1) -> LayerActivations:
    """Return some samples of an event, by position, as a chunk."""

    def pick(layer: Layer) -> Layer:
        return attrs.evolve(
            layer,
            activations=layer.activations[where],
            scores=None if layer.scores is None else layer.scores[where],
        )

    return attrs.evolve(
        event,
        part="chunk",
        reading=reading,
        layers=tuple(map(pick, event.layers)),
        reference=None if event.reference is None else pick(event.reference),
        inputs=None if event.inputs is None else event.inputs[where],
        labels=None if event.labels is None else event.labels[where],
        sample_ids=event.sample_ids[where],
    )


def _measurer(metric: Metric, *plugins: object, policy: str = "raise") -> Measurer:
    """Return a measurer of one metric; the plugins are called before it."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    listener = MetricListener(metric)
    manager.register(listener, listener.name)
    for plugin in plugins:
        manager.register(plugin)
    run = Run(config=None, class_names=(), layer_names=())  # type: ignore[arg-type]
    return Measurer(Dispatcher(manager, run, policy), [listener])


# The checks. Each takes the metric, and raises AssertionError with what showed the mistake.

_Run = Callable[[Metric], None]


def _checks(metric: Metric) -> Iterator[tuple[str, _Run]]:
    definition = metric.definition
    yield "says in its docstring what it is", _has_a_summary
    for dtype, tolerance in ROUNDED.items():
        yield f"reads {dtype} activations", partial(_reads_dtype, dtype=dtype, tolerance=tolerance)
    for device in _devices():
        yield f"reads the same on {device}", partial(_reads_device, device=device)
    yield "keeps to its bounds", _keeps_to_bounds
    yield "changes no input", _changes_no_input
    yield "draws no random number", _draws_nothing
    for invariance in sorted(definition.invariances - {"symmetric"}):
        yield f"is invariant: {invariance}", partial(_is_invariant, invariance=invariance)
    if "symmetric" in definition.invariances:
        yield "is symmetric", _is_symmetric
    if definition.vectorized:
        yield "keeps layers that it is given at once apart", _keeps_layers_apart
    for name, damage in _DAMAGES.items():
        yield f"meets {name} with a value or a reason", partial(_meets, damage=damage)
    for value in (math.nan, math.inf):
        yield f"gives a reason where activations are {value}", partial(_gives_reason, value=value)
    if definition.coverage == "running":
        yield "has no value for a split, and says so", _has_no_value_for_a_split
        yield "goes on from its state", _goes_on_from_its_state
        return
    for size in CHUNK_SIZES:
        yield f"reads a split in chunks of {size} as at once", partial(_reads_chunks, size=size)
    if definition.is_stateful:
        yield from _monoid_checks()


def _monoid_checks() -> Iterator[tuple[str, _Run]]:
    yield "merge: the empty state changes nothing", _empty_is_identity
    yield "merge: is associative and commutative, and equals one pass", _merge_equals_one_pass
    yield "merge: changes neither side", _merge_changes_neither_side
    yield "state_dict: a state is restored", _state_is_restored


def _has_a_summary(metric: Metric) -> None:
    assert metric.definition.summary, "there is no docstring"


def _reads_chunks(metric: Metric, size: int) -> None:
    event = example_event(n=300, part="chunk")
    order = torch.randperm(300, generator=torch.Generator().manual_seed(size))
    split = _values(measure_split(metric, event, size, order))
    assert split, "no layer has a value for 300 random samples"
    _assert_equal(split, _values(measure_split(metric, event)), EXACT, "one chunk")
    batch = _values(measure_batch(metric, event))
    seen = {key: value for key, value in split.items() if key in batch}
    _assert_equal(seen, batch, EXACT, "the samples as a batch")


def _reads_dtype(metric: Metric, dtype: torch.dtype, tolerance: float) -> None:
    exact = example_event(n=200, part="chunk")
    rounded = exact.map_tensors(lambda x: x.to(dtype) if x.is_floating_point() else x)
    for found, expected in zip(_both_ways(metric, rounded), _both_ways(metric, exact), strict=True):
        _assert_equal(_values(found), _values(expected), tolerance, "float64")


def _reads_device(metric: Metric, device: str) -> None:
    event = example_event(n=200, dtype=torch.float32, part="chunk")
    moved = event.map_tensors(lambda x: x.to(device))
    for found, expected in zip(_both_ways(metric, moved), _both_ways(metric, event), strict=True):
        _assert_equal(_values(found), _values(expected), ROUNDED[torch.float32], "cpu")


def _keeps_to_bounds(metric: Metric) -> None:
    low, high = metric.definition.bounds
    for seed in range(20):
        for rows in _both_ways(metric, example_event(n=5 + seed, seed=seed, part="chunk")):
            # The bounds are those of the headline; a sub-value may have others.
            for row in (row for row in rows if row.metric == metric.label):
                for value in _numbers(row.value):
                    assert low - EXACT <= value <= high + EXACT, (
                        f"{value} at {row.layer} is outside of [{low}, {high}] for "
                        f"example_event(n={5 + seed}, seed={seed})"
                    )


def _changes_no_input(metric: Metric) -> None:
    event = example_event(part="chunk")
    before = event.copy()
    _both_ways(metric, event)
    for layer, old in zip(event.all_layers, before.all_layers, strict=True):
        for what in ("activations", "scores", "anchors"):
            tensor, same = getattr(layer, what), getattr(old, what)
            assert tensor is None or tensor.equal(same), f"{what} of {layer.name} were changed"


def _draws_nothing(metric: Metric) -> None:
    def state() -> list[Any]:
        return [torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())]

    before = state()
    _both_ways(metric, example_event(part="chunk"))
    assert state() == before, "the state of a global generator has changed"


def _is_invariant(metric: Metric, invariance: str) -> None:
    event = example_event(n=64, part="chunk")
    mapped = _mapped(event, invariance)
    for found, expected in zip(_both_ways(metric, mapped), _both_ways(metric, event), strict=True):
        _assert_equal(_values(found), _values(expected), EXACT, f"before the map '{invariance}'")


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
    forth = _values(measure_batch(metric, event))
    back = _values(measure_batch(metric, attrs.evolve(event, layers=swapped)))
    _assert_equal(back, forth, EXACT, "the layers the other way round")


def _keeps_layers_apart(metric: Metric) -> None:
    event = example_event(n=60, widths=(6, 6, 6), part="chunk")
    values = [_without_first(rows) for rows in _both_ways(metric, event)]
    assert any(values), "no layer but the first has a value for 60 random samples"
    for what, number in (("dead", 0.0), ("NaN", math.nan)):
        damaged = _with(event, partial(torch.full_like, fill_value=number))
        for rows, sound in zip(_both_ways(metric, damaged), values, strict=True):
            _assert_equal(_without_first(rows), sound, EXACT, f"a first layer that is not {what}")


def _without_first(rows: Sequence[Row]) -> dict[_Key, Value]:
    return _values([row for row in rows if "layer_0" not in (row.layer, row.other)])


def _with(event: LayerActivations, change: Callable[[Tensor], Tensor]) -> LayerActivations:
    """Return the event with the first layer's activations changed."""
    first, *others = event.layers
    first = attrs.evolve(first, activations=change(first.activations))
    return attrs.evolve(event, layers=(first, *others))


def _constant_units(activations: Tensor) -> Tensor:
    return torch.cat([torch.full_like(activations[:, :3], 0.1), activations[:, 3:]], dim=1)


def _one_class(event: LayerActivations) -> LayerActivations:
    return attrs.evolve(event, labels=torch.zeros_like(event.sample_ids))


_DAMAGES: Mapping[str, Callable[[], LayerActivations]] = {
    "a dead layer": lambda: _with(example_event(part="chunk"), torch.zeros_like),
    "a constant layer": lambda: _with(example_event(part="chunk"), lambda x: 0 * x + 0.1),
    "constant units": lambda: _with(example_event(part="chunk"), _constant_units),
    "one class": lambda: _one_class(example_event(part="chunk")),
    "no labels": lambda: attrs.evolve(example_event(part="chunk"), labels=None),
    "more classes than units": lambda: example_event(widths=(3, 2), classes=9, part="chunk"),
    "fewer samples than units": lambda: example_event(n=12, widths=(40, 30), part="chunk"),
    "3 samples": lambda: example_event(n=3, part="chunk"),
    "2 samples": lambda: example_event(n=2, part="chunk"),
    "1 sample": lambda: example_event(n=1, part="chunk"),
    "no samples": lambda: example_event(n=0, part="chunk"),
    "bare layers": lambda: _bare(example_event(part="chunk")),
}


def _bare(event: LayerActivations) -> LayerActivations:
    layers = tuple(attrs.evolve(x, scores=None, anchors=None) for x in event.layers)
    return attrs.evolve(event, layers=layers, inputs=None, labels=None)


def _meets(metric: Metric, damage: Callable[[], LayerActivations]) -> None:
    event = damage()
    for rows in _both_ways(metric, event):
        for row in rows:
            assert (row.value is None) == (row.reason is not None), row
            assert all(map(math.isfinite, _numbers(row.value))), row
            assert event.n > 0 or row.value is None, f"there are no samples, but {row}"


def _gives_reason(metric: Metric, value: float) -> None:
    event = _with(example_event(part="chunk"), lambda x: torch.full_like(x, value))
    for rows in _both_ways(metric, event):
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
        assert _is_same(one.values, other.values), f"{other} is not {one}"


def _is_same(one: Any, other: Any) -> bool:
    return one is other or torch.as_tensor(one).equal(torch.as_tensor(other))


# States of classes


def _shard_views(metric: Metric, shards: Sequence[Tensor]) -> list[tuple[LayerView, ...]]:
    """Return what a class sees of some shards of one split at its last layer."""
    event = example_event(n=90, part="chunk")
    sums = SplitSums(metric.definition.sums, event.sample_ids, event.labels, event.num_classes)
    if metric.definition.sums:
        sums.update(event.all_layers, event.sample_ids, event.labels)
    fitted = SplitStatistics(sums)
    chunks = [
        attrs.evolve(select(event, where, metric.definition.readings[0]), fitted=fitted)
        for where in shards
    ]
    return [metric.views_of(LayerView(chunk, chunk.layers[-1])) for chunk in chunks]


def _states(metric: Metric, shards: Sequence[Tensor]) -> list[Any]:
    """Return the state of a class for each of some shards of one split."""
    states = []
    for views in _shard_views(metric, shards):
        states.append(metric.new_state())
        states[-1].update(*views)
    return states


def _shards() -> list[Tensor]:
    order = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    return list(torch.split(order, [20, 30, 40]))


def _computed(metric: Metric, state: Any) -> list[float]:
    """Return a copy's value, as numbers; a state that scores in a second pass is fitted first."""
    state = copy.deepcopy(state)
    if metric.definition.passes == 2:
        event = example_event(n=90, part="chunk")
        state.fit()
        state.score(*metric.views_of(LayerView(event, event.layers[-1])))
    value = state.compute()
    parts = value.values() if isinstance(value, Mapping) else [value]
    return [x for part in parts for x in torch.as_tensor(part).double().reshape(-1).tolist()]


def _assert_same(metric: Metric, found: Any, expected: Any, what: str) -> None:
    a, b = _computed(metric, found), _computed(metric, expected)
    is_same = len(a) == len(b) and all(
        math.isclose(x, y, rel_tol=EXACT, abs_tol=1e-12) for x, y in zip(a, b, strict=True)
    )
    assert is_same, f"{what}: {a} is not {b}"


def _empty_is_identity(metric: Metric) -> None:
    (state,) = _states(metric, [torch.arange(90)])
    _assert_same(metric, metric.new_state().merge(state), state, "empty merged with a state")
    _assert_same(metric, state.merge(metric.new_state()), state, "a state merged with empty")


def _merge_equals_one_pass(metric: Metric) -> None:
    a, b, c = _states(metric, _shards())
    (whole,) = _states(metric, [torch.arange(90)])
    _assert_same(metric, a.merge(b).merge(c), whole, "(a b) c, for the samples in one pass")
    _assert_same(metric, a.merge(b.merge(c)), whole, "a (b c), for the samples in one pass")
    _assert_same(metric, c.merge(b).merge(a), whole, "(c b) a, for the samples in one pass")


def _merge_changes_neither_side(metric: Metric) -> None:
    a, b, _ = _states(metric, _shards())
    *_, more = _shard_views(metric, _shards())
    before = [copy.deepcopy(state) for state in (a, b)]
    for merged in (a.merge(b), a.merge(metric.new_state()), metric.new_state().merge(a)):
        merged.update(*more)
    for state, old, side in zip((a, b), before, ("left", "right"), strict=True):
        _assert_same(
            metric, state, old, f"the {side} side, after merge and an update of the result"
        )


def _state_is_restored(metric: Metric) -> None:
    (state,) = _states(metric, [torch.arange(90)])
    restored = metric.new_state()
    restored.load_state_dict(copy.deepcopy(state.state_dict()))
    _assert_same(metric, restored, state, "the restored state")


# Comparing

_Key = tuple[str, str, str | None, bool]


def _both_ways(metric: Metric, event: LayerActivations) -> list[list[Row]]:
    """Return the rows of an event as a batch, and as a split in chunks of 7."""
    ways = [measure_batch(metric, event)]
    if event.part == "chunk":
        ways.append(measure_split(metric, event, size=7))
    return ways


def _values(rows: Sequence[Row]) -> dict[_Key, Value]:
    return {
        (row.layer, row.metric, row.other, row.pair): row.value
        for row in rows
        if row.value is not None
    }


def _numbers(value: Value | None) -> tuple[float, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _assert_equal(
    found: Mapping[_Key, Value], expected: Mapping[_Key, Value], tolerance: float, to_what: str
) -> None:
    assert found.keys() == expected.keys(), f"other values are missing than for {to_what}"
    for key, value in expected.items():
        a, b = _numbers(found[key]), _numbers(value)
        size = max(map(abs, b), default=0.0)
        allowed = tolerance * max(size, tolerance if tolerance == EXACT else 1.0)
        is_near = len(a) == len(b) and all(abs(x - y) <= allowed for x, y in zip(a, b, strict=True))
        assert is_near, f"{key[1]} at {key[0]} reads {a} and, for {to_what}, {b}"


def _devices() -> list[str]:
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return ["cuda"] * torch.cuda.is_available() + mps
