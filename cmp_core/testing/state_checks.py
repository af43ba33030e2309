"""What the state of a metric that is a class must hold: it is a monoid, and can be stored."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from cmp_core.events.activations import LayerView
from cmp_core.measurement.metric import Metric
from cmp_core.statistics.classes import Classes
from cmp_core.statistics.fits import Fitting
from cmp_core.statistics.folds import Folds
from cmp_core.testing.compare import EXACT
from cmp_core.testing.events import example_event, select


def _shard_views(metric: Metric, shards: Sequence[Tensor]) -> list[LayerView]:
    """Return what a class sees of some shards of one split at a layer."""
    event = example_event(n=90, part="chunk")
    # A layer that has the neighbour which the metric needs.
    place = 0 if metric.definition.neighbour == "next" else -1
    ids, labels = event.sample_ids, event.labels
    assert labels is not None  # example events have them
    folds, classes = Folds(ids, labels), Classes(event.num_classes, labels)
    fitting = Fitting(metric.definition.fits, event.n, classes, folds, ids.device)
    fitting.update(event.all_layers, ids, labels)
    fits = fitting.fits()
    chunks = [attrs.evolve(select(event, where), folds=folds, fits=fits) for where in shards]
    return [LayerView(chunk, chunk.layers[place]) for chunk in chunks]


def _new_state(metric: Metric) -> Any:
    return metric.definition.implementation(**metric.options)


def _states(metric: Metric, shards: Sequence[Tensor]) -> list[Any]:
    """Return the state of a class for each of some shards of one split."""
    states = []
    for view in _shard_views(metric, shards):
        states.append(_new_state(metric))
        states[-1].update(view)
    return states


def _shards() -> list[Tensor]:
    order = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    return list(torch.split(order, [20, 30, 40]))


def _computed(metric: Metric, state: Any) -> list[float]:
    """Return a copy's value, as numbers; a state of two passes takes the second one first."""
    state = copy.deepcopy(state)
    if metric.definition.passes == 2:
        event = example_event(n=90, part="chunk")
        state.fit()
        state.score(LayerView(event, event.layers[-1]))
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
    _assert_same(metric, _new_state(metric).merge(state), state, "empty merged with a state")
    _assert_same(metric, state.merge(_new_state(metric)), state, "a state merged with empty")


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
    for merged in (a.merge(b), a.merge(_new_state(metric)), _new_state(metric).merge(a)):
        merged.update(more)
    for state, old, side in zip((a, b), before, ("left", "right"), strict=True):
        _assert_same(
            metric, state, old, f"the {side} side, after merge and an update of the result"
        )


def _state_is_restored(metric: Metric) -> None:
    (state,) = _states(metric, [torch.arange(90)])
    restored = _new_state(metric)
    restored.load_state_dict(copy.deepcopy(state.state_dict()))
    _assert_same(metric, restored, state, "the restored state")


STATE_CHECKS: Mapping[str, Callable[[Metric], None]] = {
    "merge: the empty state changes nothing": _empty_is_identity,
    "merge: is associative and commutative, and equals one pass": _merge_equals_one_pass,
    "merge: changes neither side": _merge_changes_neither_side,
    "state_dict: a state is restored": _state_is_restored,
}
