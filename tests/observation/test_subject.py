"""Tests of `cmp_core.observation.subject`: from forward passes to events."""

from __future__ import annotations

import random
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import nn

from cmp_core.errors import UsageError
from cmp_core.events.activations import LayerActivations
from cmp_core.observation.batches import Batch
from cmp_core.observation.subject import POSITIONS, Subject
from tests.observation.models import Net, Twice, hooks_on, samples


def subject(model: nn.Module, layers: Any = "*", reduce: Any = "mean", **options: Any) -> Subject:
    asked = {"output": "auto", "anchors": "class_mean", "num_classes": None} | options
    return Subject(model, layers, reduce, **asked)


def event_of(own: Subject, *inputs: Any, labels: Any = None) -> LayerActivations:
    n = len(inputs[0])
    batch = Batch(inputs, {}, labels, torch.arange(n) + 100)
    with own.evaluating():
        here, outputs = own.forward(batch)
    own.begin(outputs, labels)
    return own.event(outputs, here, "val", "chunk", epoch=2, step=7)


def test_an_event_has_the_layers_in_order_and_the_output_by_identity() -> None:
    x, y = samples()
    own = subject(Net())
    event = event_of(own, x, labels=y)
    assert [layer.name for layer in event.layers] == ["first", "second", "drop", "logits"]
    assert [layer.depth for layer in event.layers] == [0, 1, 2, 3]
    assert own.output == "logits"
    assert own.num_classes == 3
    assert event.layers[-1].scores is event.layers[-1].activations
    assert event.layers[0].scores is None  # there are no class means yet
    assert event.reference is not None
    assert torch.equal(event.reference.activations, x)
    assert (event.epoch, event.step, event.phase) == (2, 7, "val")


@pytest.mark.parametrize(
    ("options", "output", "classes"),
    [
        ({}, "logits", 3),
        ({"output": None}, None, 3),
        ({"output": "second"}, "second", 8),
        ({"num_classes": 5}, None, 5),  # it returns three numbers
        ({"output": None, "num_classes": 4}, None, 4),
    ],
)
def test_which_layer_is_the_output_is_told_or_seen(
    options: dict[str, Any], output: str | None, classes: int
) -> None:
    x, y = samples()
    own = subject(Net(), **options)
    names = [layer.name for layer in event_of(own, x, labels=y).layers]
    assert (own.output, own.num_classes) == (output, classes)
    if output is not None:
        assert names[-1] == output


@pytest.mark.parametrize(
    ("width", "is_output", "doubts"),
    [(2, False, 0), (3, True, 0), (4, True, 0), (6, True, 0), (7, False, 1)],
)
def test_what_is_returned_is_the_output_if_it_is_as_wide_as_there_are_classes(
    width: int, is_output: bool, doubts: int
) -> None:
    """Labels may lack classes: it is at most twice as wide as there are classes of labels."""
    x, y = samples()
    own = begun(Net(classes=width), x, y)
    assert (own.output == "logits") == is_output
    assert len(own.doubts) == doubts
    if is_output:
        assert own.num_classes == width


def begun(model: nn.Module, x: Any, y: Any, **options: Any) -> Subject:
    own = subject(model, **options)
    with own.evaluating():
        _, outputs = own.forward(Batch((x,), {}, y, torch.arange(60)))
    own.begin(outputs, y)
    return own


class Returns(Net):
    """Returns what a function makes of the logits and the second layer."""

    def __init__(self, form: Any) -> None:
        super().__init__(width=3)
        self._form = form

    def forward(self, x: torch.Tensor) -> Any:
        hidden = self.second(self.first(x).relu())
        return self._form(self.logits(self.drop(hidden)), hidden)


@pytest.mark.parametrize(
    ("form", "output"),
    [
        (lambda logits, _: logits.log_softmax(1), "logits"),
        (lambda logits, _: logits.softmax(1), "logits"),
        (lambda logits, hidden: (logits, hidden), "logits"),
        (lambda logits, hidden: {"embedding": hidden, "scores": logits}, "second"),
        (lambda logits, _: logits / 3, None),
        (lambda _, hidden: hidden.relu(), None),
    ],
)
def test_the_output_is_the_first_that_is_returned_or_gives_what_is_returned(
    form: Any, output: str | None
) -> None:
    x, y = samples()
    torch.manual_seed(0)
    assert begun(Returns(form), x, y).output == output


def test_labels_that_come_later_add_classes_where_nothing_tells_their_number() -> None:
    x, y = samples()
    own = begun(Net(classes=7), x, y, layers=["first", "second"])
    assert (own.output, own.num_classes) == (None, 3)
    own.see(2)
    assert own.num_classes == 3
    own.see(5)
    assert own.num_classes == 6
    told = begun(Net(classes=3), x, y)
    told.see(5)
    assert told.num_classes == 3


def test_calls_of_one_module_are_layers_of_their_own() -> None:
    own = subject(Twice())
    event = event_of(own, torch.randn(6, 4), labels=torch.arange(6) % 3)
    assert [layer.name for layer in event.layers] == ["shared:0", "shared:1", "last"]
    assert [layer.module for layer in event.layers] == ["shared", "shared", "last"]


def test_positions_are_samples_with_ids_of_their_own() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1))
    own = subject(model, reduce="samples")
    x, y = torch.randn(3, 1, 2, 2), torch.tensor([0, 1, 1])
    event = event_of(own, x, labels=y)
    assert event.n == 12
    assert event.layers[1].activations.shape == (12, 4)
    assert event.labels is not None
    assert event.labels.tolist() == [0] * 4 + [1] * 8
    expected = [(100 + i) * POSITIONS + j for i in range(3) for j in range(4)]
    assert event.sample_ids.tolist() == expected
    assert event.reference is None
    pooled = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2))
    with pytest.raises(UsageError, match="the same positions in every layer"):
        event_of(subject(pooled, reduce="samples"), x, labels=y)


def test_evaluating_leaves_modes_and_generators_as_they_were() -> None:
    model = Net().train()
    model.second.eval()
    modes = [module.training for module in model.modules()]
    own = subject(model)
    torch.manual_seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()

    def broken() -> None:
        with own.evaluating():
            assert not any(module.training for module in model.modules())
            assert not torch.is_grad_enabled()
            torch.rand(3), np.random.rand(3), random.random()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
    assert hooks_on(model) == 0


def test_other_layers_than_in_the_first_pass_are_told() -> None:
    class Sometimes(Twice):
        once = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.shared(x if self.once else self.shared(x)))

    model, x = Sometimes(), torch.randn(6, 4)
    own = subject(model)
    event_of(own, x, labels=torch.arange(6) % 3)
    model.once = True
    batch = Batch((x,), {}, None, torch.arange(6))
    with own.evaluating():
        here, outputs = own.forward(batch)
    with pytest.raises(UsageError, match="other layers ran than in the first pass"):
        own.event(outputs, here, "val", "chunk", 0, 0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [(torch.tensor([0, 1, 5]), "expected labels below 3"), (None, None)],
)
def test_labels_must_be_of_the_classes(labels: Any, message: str | None) -> None:
    own = subject(Net(), num_classes=3)
    x = torch.randn(3, 5)
    if message is None:
        assert event_of(own, x).labels is None
    else:
        with pytest.raises(UsageError, match=message):
            event_of(own, x, labels=labels)


def test_another_first_dimension_is_told() -> None:
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.turn = nn.Flatten(0, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.turn(x)

    with pytest.raises(UsageError, match=r"expected 3 samples in every layer, got turn \(12, 5\)"):
        event_of(subject(First()), torch.randn(3, 4, 5), labels=torch.tensor([0, 1, 2]))


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(UsageError, match="output: unknown layer 'logit'; did you mean 'logits'"):
        subject(Net(), output="logit")


def test_half_precision_keeps_its_type() -> None:
    own = subject(Net().bfloat16(), layers="first")
    event = event_of(own, torch.randn(4, 5).bfloat16(), labels=torch.tensor([0, 1, 2, 0]))
    assert event.layers[0].activations.dtype == torch.bfloat16
    assert attrs.evolve(event).n == 4
