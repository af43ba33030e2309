from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pluggy
import pytest

from cmp_core import hookimpl
from cmp_core.errors import PluginError
from cmp_core.events import hookspecs
from cmp_core.events.activations import LayerActivations, SplitFinished
from cmp_core.events.payloads import Run
from cmp_core.plugins.dispatch import Dispatcher
from cmp_core.testing import example_event
from tests.splits import split_statistics

RUN = Run(config=None, class_names=("a", "b"), layer_names=())


class Listener:
    """Does what it is told with an event, and remembers what it saw."""

    def __init__(self, act: Callable[[LayerActivations], Any] = lambda event: None) -> None:
        self.act = act
        self.seen: list[float] = []

    @hookimpl
    def cmp_layer_activations(self, event: LayerActivations) -> Any:
        self.seen.append(event.layers[0].activations.sum().item())
        return self.act(event)


def dispatcher(policy: str, **plugins: object) -> Dispatcher:
    manager = pluggy.PluginManager("cmp")
    manager.add_hookspecs(hookspecs)
    for name, plugin in reversed(plugins.items()):  # pluggy calls the last one first
        manager.register(plugin, name)
    return Dispatcher(manager, RUN, policy)


def fail(error: BaseException) -> Callable[[LayerActivations], Any]:
    def act(event: LayerActivations) -> None:
        raise error

    return act


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(4), AssertionError()])
def test_a_plugin_that_raises_is_switched_off_and_the_others_answer(error: BaseException) -> None:
    bad, good = Listener(fail(error)), Listener(lambda event: "answer")
    subject = dispatcher("disable", bad=bad, good=good)
    for _ in range(2):
        assert subject.emit("cmp_layer_activations", example_event()) == {"good": "answer"}
    assert (len(bad.seen), len(good.seen)) == (1, 2)
    assert subject.is_disabled(bad)
    (failure,) = subject.failures
    assert (failure.plugin, failure.hook, failure.disabled) == (
        "bad",
        "cmp_layer_activations",
        True,
    )
    assert failure.error.startswith(type(error).__name__)
    assert "in act" in failure.traceback


def test_warn_keeps_the_plugin_on() -> None:
    bad = Listener(fail(ValueError("no")))
    subject = dispatcher("warn", bad=bad)
    for _ in range(2):
        subject.emit("cmp_layer_activations", example_event())
    assert len(bad.seen) == 2
    (failure,) = subject.failures  # the same error stands there once
    assert (failure.count, failure.disabled) == (2, False)
    assert subject.failure_counts() == {"bad": 2}
    assert not subject.is_disabled(bad)


def test_raise_stops_the_run_and_names_the_plugin() -> None:
    subject = dispatcher("raise", bad=Listener(fail(ValueError("no"))))
    with pytest.raises(PluginError, match="'bad' raised in cmp_layer_activations: ValueError: no"):
        subject.emit("cmp_layer_activations", example_event())
    assert "in act" in subject.failures[0].traceback


def test_a_keyboard_interrupt_always_passes() -> None:
    subject = dispatcher("disable", bad=Listener(fail(KeyboardInterrupt())))
    with pytest.raises(KeyboardInterrupt):
        subject.emit("cmp_layer_activations", example_event())


WRITES = {
    "activations of layer_0": lambda e: e.layers[0].activations.zero_(),
    "scores of layer_1": lambda e: e.layers[1].scores.add_(1),
    "anchors of layer_0": lambda e: e.layers[0].anchors.mul_(2),
    "inputs": lambda e: e.inputs.zero_(),
    "labels": lambda e: e.labels.fill_(0),
    "statistics.log_q": lambda e: e.statistics["layer_0"].log_q.exp_(),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_plugin_that_writes_into_the_event_is_caught_and_the_others_see_it_whole(
    what: str,
) -> None:
    def act(event: LayerActivations) -> None:
        WRITES[what](event)

    early, bad, late = Listener(), Listener(act), Listener()
    subject = dispatcher("disable", early=early, bad=bad, late=late)
    event = example_event()
    expected = event.layers[0].activations.sum().item()
    subject.emit("cmp_layer_activations", event)
    assert early.seen == late.seen == [expected]
    assert subject.is_disabled(bad)
    assert f"it changed {what} in place" in subject.failures[0].error


def test_a_plugin_that_writes_and_then_raises_fails_once_for_what_it_raised() -> None:
    def act(event: LayerActivations) -> None:
        event.layers[0].activations.zero_()
        raise ValueError("afterwards")

    bad, late = Listener(act), Listener()
    subject = dispatcher("disable", bad=bad, late=late)
    event = example_event()
    expected = event.layers[0].activations.sum().item()
    subject.emit("cmp_layer_activations", event)
    assert [failure.error for failure in subject.failures] == ["ValueError: afterwards"]
    assert late.seen == [expected]


def test_two_that_write_are_both_caught() -> None:
    def act(event: LayerActivations) -> None:
        event.layers[0].activations.zero_()

    last = Listener()
    subject = dispatcher("disable", a=Listener(act), b=Listener(act), last=last)
    event = example_event()
    expected = event.layers[0].activations.sum().item()
    subject.emit("cmp_layer_activations", event)
    assert [failure.plugin for failure in subject.failures] == ["a", "b"]
    assert last.seen == [expected]


def test_essential_plugins_come_last_and_are_not_isolated() -> None:
    calls: list[str] = []
    subject = dispatcher("disable", other=Listener(lambda e: calls.append("other")))
    subject.add_essential(Listener(lambda e: calls.append("first added")))
    subject.add_essential(Listener(lambda e: calls.append("second added")))
    subject.emit("cmp_layer_activations", example_event())
    assert calls == ["other", "first added", "second added"]
    subject.add_essential(Listener(fail(OSError("disk full"))))
    calls.clear()
    with pytest.raises(OSError, match="disk full"):
        subject.emit("cmp_layer_activations", example_event())
    assert len(calls) == 3  # the others were called all the same


def test_only_others_count_as_listeners() -> None:
    subject = dispatcher("disable")
    subject.add_essential(Listener())
    assert not subject.has_listeners("cmp_layer_activations")


def test_an_implementation_may_take_any_subset_of_the_arguments() -> None:
    class Both:
        @hookimpl
        def cmp_layer_activations(self, run: Run, event: LayerActivations) -> Any:
            return run.num_classes, event.n

    class Neither:
        @hookimpl
        def cmp_layer_activations(self) -> Any:
            return "called"

    subject = dispatcher("raise", both=Both(), neither=Neither())
    event = example_event(n=3)
    answers = subject.emit("cmp_layer_activations", event)
    assert answers == {"both": (2, 3), "neither": "called"}


def test_the_subset_of_a_split_is_guarded_as_well() -> None:
    class Reader:
        @hookimpl
        def cmp_split_finished(self, event: SplitFinished) -> Any:
            assert event.subset is not None
            return event.subset.layers[0].activations.sum().item()

    class Writer:
        @hookimpl
        def cmp_split_finished(self, event: SplitFinished) -> Any:
            assert event.subset is not None
            event.subset.layers[0].activations.zero_()

    subset = example_event()
    expected = subset.layers[0].activations.sum().item()
    subject = dispatcher("disable", writer=Writer(), reader=Reader())
    event = SplitFinished(
        source="live",
        phase="val",
        epoch=1,
        step=1,
        n=50,
        layers=subset.layers,
        reference=None,
        num_classes=3,
        statistics=split_statistics(frozenset(), subset),
        subset=subset,
    )
    assert subject.emit("cmp_split_finished", event)["reader"] == expected
    assert subject.failures[0].plugin == "writer"
