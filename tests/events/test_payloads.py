"""Tests of `cmp_core.events.payloads`: what events without tensors have in common."""

from __future__ import annotations

import attrs
import pytest

from cmp_core.config.schema import Config
from cmp_core.events.payloads import EpochStarted, Run, StepFinished


def test_a_run_counts_its_classes() -> None:
    assert Run(Config(), ("cat", "dog", "mouse"), ("layer_0",)).num_classes == 3


def test_an_event_without_tensors_cannot_be_modified_and_is_its_own_copy() -> None:
    event = EpochStarted(epoch=2, steps=40)
    assert event.modified() is None
    assert event.copy() is event
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.epoch = 3  # type: ignore[misc]


def test_a_step_that_was_not_measured_has_no_rows() -> None:
    assert StepFinished(epoch=1, iter=1, step=1, loss=0.5, acc=1.0, n=8).rows == ()
