"""Tests of `cmp_core.events.activations`: samples selected, copied and guarded; views."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from cmp_core.errors import UndefinedError, UsageError
from cmp_core.events.activations import LayerActivations, LayerView, Part, SplitFinished
from cmp_core.statistics.classes import Classes
from cmp_core.statistics.fits import Fitting
from cmp_core.statistics.folds import Groups
from cmp_core.testing import example_event
from tests.splits import split_statistics

TENSORS = ("activations", "scores", "anchors")
OF_SAMPLES = ("inputs", "labels", "sample_ids")


def tensors_of(event: LayerActivations) -> list[Any]:
    found = [getattr(layer, what) for layer in event.all_layers for what in TENSORS]
    return [x for x in (*found, *(getattr(event, what) for what in OF_SAMPLES)) if x is not None]


def scored_event(part: Part) -> LayerActivations:
    """Return a batch, or samples of a split in groups, scored by fits to others."""
    event, others = example_event(n=200, part=part), example_event(n=100, part="fit", seed=1)
    if part == "batch":
        return event
    assert event.labels is not None
    assert others.labels is not None
    classes = Classes(event.num_classes, event.labels, others.labels)
    fitting = Fitting(frozenset({"labels"}), others.n, classes, None, event.sample_ids.device)
    fitting.update(others.all_layers, others.sample_ids, others.labels)
    groups = Groups(event.sample_ids)
    return attrs.evolve(event, fits=fitting.fits(), groups=groups)


def finished(event: LayerActivations, *wanted: str) -> SplitFinished:
    """The end of a split whose only chunk is an event."""
    return SplitFinished(
        source="live",
        phase="val",
        epoch=1,
        step=1,
        n=event.n,
        layers=event.layers,
        reference=event.reference,
        num_classes=event.num_classes,
        statistics=split_statistics(frozenset(wanted), event),
    )


def test_selected_samples_are_those_of_the_positions_in_tensors_of_their_own() -> None:
    event, where = example_event(part="chunk"), torch.tensor([7, 0, 3])
    before = event.copy()
    some = event.select(where, "subset")
    assert (some.part, some.n, some.epoch) == ("subset", 3, event.epoch)
    for what in OF_SAMPLES:
        assert getattr(some, what).equal(getattr(event, what)[where])
    for layer, every in zip(some.all_layers, event.all_layers, strict=True):
        assert (layer.name, layer.depth) == (every.name, every.depth)
        assert layer.activations.equal(every.activations[where])
    for tensor in tensors_of(some):
        tensor.zero_()
    for tensor, old in zip(tensors_of(event), tensors_of(before), strict=True):
        assert tensor.equal(old)


def test_what_is_not_there_is_not_selected() -> None:
    event = attrs.evolve(example_event(), labels=None, inputs=None)
    some = event.select(torch.tensor([1]), "chunk")
    assert (some.labels, some.inputs, some.reference) == (None, None, None)


def test_a_tensor_that_stands_twice_is_changed_once() -> None:
    event = example_event()
    shared = attrs.evolve(event.layers[0], name="layer_1", depth=1)
    twice = attrs.evolve(event, layers=(event.layers[0], shared))
    calls: list[int] = []

    def change(tensor: torch.Tensor) -> torch.Tensor:
        calls.append(id(tensor))
        return tensor.clone()

    changed = twice.map_tensors(change)
    assert len(calls) == len(set(calls))
    assert changed.layers[0].activations is changed.layers[1].activations


WRITES: dict[str, Callable[[LayerActivations], Any]] = {
    "activations of layer_1": lambda e: e.layers[1].activations.add_(1),
    "scores of layer_0": lambda e: e.layers[0].scores.zero_(),  # type: ignore[union-attr]
    "anchors of layer_0": lambda e: e.layers[0].anchors[0].fill_(1),  # type: ignore[index]
    "labels": lambda e: e.labels.zero_(),  # type: ignore[union-attr]
    "sample_ids": lambda e: e.sample_ids.add_(1),
    "statistics.log_q": lambda e: e.statistics["layer_0"].log_q.zero_(),
    "statistics.inner": lambda e: (
        e.statistics["layer_0"].hsic(e.statistics["layer_1"])
        and e.statistics.moments.inner().squares.zero_()
    ),
    "statistics.variance": lambda e: (
        e.statistics.of("layer_0", is_rescaled=True).variance().zero_()
    ),
}


@pytest.mark.parametrize("n", [4, 50], ids=["Gram matrices", "sums"])
@pytest.mark.parametrize("part", ["batch", "subset"])
@pytest.mark.parametrize("name", ["scatter", "eigenvalues", "mean", "unit_variances"])
@pytest.mark.parametrize("is_rescaled", [True, False])
def test_a_write_into_a_statistic_is_found_or_harmless(
    is_rescaled: bool, name: str, part: Part, n: int
) -> None:
    event = example_event(n=n, part=part)
    statistics = event.statistics.of("layer_0", is_rescaled=is_rescaled)
    assert_found_or_harmless(getattr(statistics, name), event.modified)


@pytest.mark.parametrize("is_rescaled", [True, False])
@pytest.mark.parametrize("name", ["scatter", "eigenvalues", "variance", "shrunk_log_det"])
def test_a_write_into_a_statistic_of_a_split_is_found_or_harmless(
    name: str, is_rescaled: bool
) -> None:
    split = finished(example_event(part="chunk"), "own")
    statistics = split.statistics.of("layer_0", is_rescaled=is_rescaled)
    assert_found_or_harmless(getattr(statistics, name), split.modified)


def assert_found_or_harmless(
    statistic: Callable[[], Tensor], modified: Callable[[], str | None]
) -> None:
    """A value in the activations' own units is a copy; a cached one is guarded."""
    before = statistic().clone()
    statistic().add_(1)
    assert str(modified()).startswith("statistics.") or statistic().equal(before)


@pytest.mark.parametrize("what", WRITES)
def test_a_write_is_found_and_a_copy_has_not_seen_it(what: str) -> None:
    event = example_event()
    copy = event.copy()
    assert event.modified() is None
    assert copy.modified() is None
    WRITES[what](event)
    assert event.modified() == what
    assert copy.statistics["layer_0"].variance() > 0


def test_a_write_into_the_statistics_or_the_subset_of_a_split_is_found() -> None:
    event = example_event(part="chunk")
    subset = event.select(torch.arange(9), "subset")
    split = attrs.evolve(finished(event, "own"), subset=subset)
    variance = split.statistics.of("layer_0", is_rescaled=True).variance
    expected = variance().clone()
    variance().fill_(3)
    assert split.modified() == "statistics.variance"
    assert split.copy().modified() is None
    assert variance().equal(expected)
    subset.layers[0].activations.zero_()
    assert attrs.evolve(finished(event), subset=subset).modified() == "activations of layer_0"


@pytest.mark.parametrize("part", ["batch", "chunk", "subset"])
def test_an_event_is_freed_with_the_last_reference_to_it(part: Part) -> None:
    gc.disable()  # a reference cycle would wait for the collector
    try:
        event = scored_event(part)
        first = event.statistics["layer_0"]
        tensors = [weakref.ref(first.log_q), weakref.ref(event.layers[0].activations)]
        for own in (event, event.by_half_fits, *event.by_group):
            if own is not None:
                own.statistics["layer_1"].held_out_scores()
        del first, own
        assert all(tensor() is not None for tensor in tensors)
        del event
        assert all(tensor() is None for tensor in tensors)
    finally:
        gc.enable()


@pytest.mark.parametrize("part", ["chunk", "subset"])
def test_the_groups_of_samples_have_the_statistics_of_these(part: Part) -> None:
    event = scored_event(part)
    halves = event.by_half_fits
    assert event.groups is not None
    assert halves is not None
    group_of = event.groups.of(event.sample_ids)
    for i, group in enumerate(event.by_group):
        assert group is not None
        assert group.by_half_fits is not None
        where = group_of == i
        for own, of_all in ((group, event), (group.by_half_fits, halves)):
            for name in ("input", "layer_0", "layer_1"):
                found, wanted = own.statistics[name], of_all.statistics[name]
                assert_close(found.held_out_scores(), wanted.held_out_scores()[where])
        first = group.statistics["layer_0"]
        assert_close(first.log_q, event.statistics["layer_0"].log_q[where])
        if part == "subset":
            rows = group.layers[0].activations
            wanted_variance = rows.var(dim=0, correction=0).sum()
            assert_close(first.variance(), wanted_variance)


def test_statistics_are_had_of_the_reference_and_the_layers_by_name() -> None:
    statistics = example_event(part="subset").statistics
    assert list(statistics) == ["input", "layer_0", "layer_1"]
    assert len(statistics) == 3
    assert "input" in statistics
    assert "layer_7" not in statistics
    assert statistics["input"].width == 4
    assert statistics.get("layer_7") is None
    assert statistics.get("layer_1").width == 5
    with pytest.raises(UsageError, match="one of input, layer_0, layer_1, got 'layer_7'"):
        statistics["layer_7"]


# Views


def test_a_view_gives_what_the_layer_has_and_a_reason_for_what_it_lacks() -> None:
    event = example_event(part="chunk")
    assert event.reference is not None
    view, reference = (LayerView(event, layer) for layer in (event.layers[0], event.reference))
    assert (view.name, view.depth, view.n, view.width, view.num_classes) == ("layer_0", 0, 50, 6, 3)
    assert view.scores is event.layers[0].scores
    assert view.inputs is event.inputs
    with pytest.raises(UndefinedError, match="input has no scores"):
        _ = reference.scores
    with pytest.raises(UndefinedError, match="the input is a reference and has no neighbours"):
        _ = reference.next


def test_neighbours_are_those_of_depth_and_the_ends_have_none_on_one_side() -> None:
    event = example_event(widths=(3, 4, 5))
    first, middle, last = (LayerView(event, layer) for layer in event.layers)
    assert (middle.previous.name, middle.next.name) == ("layer_0", "layer_2")
    assert (middle.name_of("next"), last.name_of("next"), first.name_of(None)) == (
        "layer_2",
        None,
        None,
    )
    with pytest.raises(UndefinedError, match="layer_0 is the first layer"):
        _ = first.previous
    with pytest.raises(UndefinedError, match="layer_2 is the last layer"):
        _ = last.next
    gap = attrs.evolve(event, layers=(event.layers[0], event.layers[2]))
    with pytest.raises(UndefinedError, match="the layer beside layer_0 was not stored"):
        _ = LayerView(gap, gap.layers[0]).next


@pytest.mark.parametrize("what", ["activations", "scores", "labels", "sample_ids", "inputs"])
def test_a_finished_split_has_no_samples(what: str) -> None:
    split = finished(example_event(part="chunk"), "own")
    view = LayerView(split, split.layers[0])
    assert view.statistics.variance() > 0
    with pytest.raises(UsageError, match="under split='moments' a function sees a split through"):
        getattr(view, what)
    with pytest.raises(UsageError, match="a statistic of single samples was asked for"):
        _ = view.statistics.log_q
    with pytest.raises(UsageError, match="declare split='subset'"):
        view.statistics.mean_log_kernel_density(1.0)


def test_a_chunk_alone_has_no_statistic_of_all_samples() -> None:
    event = example_event(part="chunk")
    assert LayerView(event, event.layers[0]).statistics.log_q.shape == (50, 3)
    with pytest.raises(UsageError, match="means nothing for one chunk of a split"):
        LayerView(event, event.layers[0]).statistics.variance()


HIDDEN_WRITES: dict[str, Callable[[Tensor], object]] = {
    "NumPy view": lambda tensor: tensor.numpy().__imul__(-1),
    "NumPy sort": lambda tensor: tensor.numpy().sort(axis=0),
    "data": lambda tensor: tensor.data.add_(1),
    "set_": lambda tensor: tensor.set_(tensor.new_zeros(2)),
    "resize_": lambda tensor: tensor.resize_(3),
    "other data": lambda tensor: setattr(tensor, "data", torch.zeros(2)),
    "no memory": lambda tensor: tensor.untyped_storage().resize_(0),
}


@pytest.mark.parametrize("how", HIDDEN_WRITES)
def test_a_write_that_the_version_counters_miss_is_found_in_a_copy(how: str) -> None:
    event = example_event()
    tensors: dict[str, Callable[[LayerActivations], Tensor]] = {
        "activations of layer_0": lambda e: e.layers[0].activations,
        "scores of layer_1": lambda e: e.layers[1].scores,
        "anchors of layer_0": lambda e: e.layers[0].anchors,
        "inputs": lambda e: e.inputs,
        "sample_ids": lambda e: e.sample_ids,
        "statistics.cosines": lambda e: e.statistics["layer_0"].cosines,
    }
    for what, of in tensors.items():
        shown, before = event.copy(), of(event).clone()
        assert of(shown).equal(before)
        assert shown.modified() is None
        if not (how == "NumPy sort" and what == "sample_ids"):  # which are sorted
            HIDDEN_WRITES[how](of(shown))
            found = shown.modified()
            assert found == what  # pytest must not print tensors without memory
        assert of(event).equal(before)


def test_nan_is_equal_to_itself_and_a_zero_differs_from_its_negative() -> None:
    event = example_event()
    event.layers[0].activations[0, 0] = torch.nan
    event.layers[0].activations[0, 1] = 0.0
    shown = event.copy()
    assert shown.modified() is None
    shown.layers[0].activations.numpy()[0, 1] = -0.0
    assert shown.modified() == "activations of layer_0"
