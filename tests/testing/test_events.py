"""Tests of `cmp_core.testing.events`: activations to measure."""

from __future__ import annotations

import pytest
import torch

from cmp_core.testing import damaged_event, example_event, select
from cmp_core.testing.events import DAMAGES, change_first


def test_an_example_is_as_large_as_asked_for_and_the_same_each_time() -> None:
    event = example_event(n=7, widths=(3, 2, 4), classes=5, seed=1, part="chunk")
    assert [layer.activations.shape for layer in event.layers] == [(7, 3), (7, 2), (7, 4)]
    for layer in event.layers:
        assert (layer.activations >= 0).all()
        assert layer.scores is not None
        assert layer.scores.shape == (7, 5)
    again = example_event(n=7, widths=(3, 2, 4), classes=5, seed=1, part="chunk")
    other = example_event(n=7, widths=(3, 2, 4), classes=5, seed=2, part="chunk")
    first = event.layers[0].activations
    assert first.equal(again.layers[0].activations)
    assert not first.equal(other.layers[0].activations)


def test_only_a_split_has_a_reference() -> None:
    assert example_event().reference is None
    chunk = example_event(part="chunk")
    assert chunk.reference is not None
    assert chunk.reference.activations is chunk.inputs


def test_numbers_have_the_type_asked_for_and_ids_stay_whole() -> None:
    event = example_event(dtype=torch.float16)
    assert event.layers[0].activations.dtype == torch.float16
    assert event.sample_ids.dtype == torch.int64


def test_selected_samples_are_the_same_everywhere_and_anchors_are_whole() -> None:
    whole = example_event(part="chunk")
    where = torch.tensor([4, 0, 9])
    part = select(whole, where, pass_index=2)
    assert (part.part, part.pass_index, part.sample_ids.tolist()) == ("chunk", 2, [4, 0, 9])
    assert part.labels is not None
    assert whole.labels is not None
    assert part.labels.equal(whole.labels[where])
    for some, every in zip(part.all_layers, whole.all_layers, strict=True):
        assert some.activations.equal(every.activations[where])
        assert (some.anchors is None) == (every.anchors is None)
        if some.anchors is not None and every.anchors is not None:
            assert some.anchors.equal(every.anchors)


def test_a_changed_layer_leaves_the_others_alone() -> None:
    event = example_event()
    changed = change_first(event, torch.zeros_like)
    assert not changed.layers[0].activations.any()
    assert changed.layers[1] is event.layers[1]
    assert event.layers[0].activations.any()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damage_is_what_it_is_called(damage: str) -> None:
    event = damaged_event(damage)
    first = event.layers[0].activations
    holds = {
        "a dead layer": lambda: not first.any(),
        "a constant layer": lambda: first.unique().numel() == 1 and first.any(),
        "constant units": lambda: (first.std(0) == 0).sum() == 3 and first.std() > 0,
        "one class": lambda: event.labels is not None and event.labels.unique().numel() == 1,
        "no labels": lambda: event.labels is None,
        "more classes than units": lambda: event.num_classes > first.shape[1],
        "fewer samples than units": lambda: event.n < first.shape[1],
        "3 samples": lambda: event.n == 3,
        "2 samples": lambda: event.n == 2,
        "1 sample": lambda: event.n == 1,
        "no samples": lambda: event.n == 0,
        "bare layers": lambda: event.layers[0].scores is event.inputs is event.labels is None,
    }
    assert holds[damage]()
