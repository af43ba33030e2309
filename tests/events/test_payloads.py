"""Tests of `cmp_core.events.payloads`: what events without tensors have in common."""

from __future__ import annotations

import attrs
import pytest

from cmp_core.config.schema import Config
from cmp_core.events.payloads import Run, StepFinished
from cmp_core.events.rows import Row


def test_a_run_counts_its_classes() -> None:
    assert Run(Config(), ("cat", "dog", "mouse"), ("layer_0",)).num_classes == 3


def test_an_event_without_tensors_is_copied_with_its_rows() -> None:
    row = Row("layer_0", "accuracy", 0.5, n=4)
    event = StepFinished(epoch=2, iter=1, step=40, loss=1.0, acc=0.5, n=4, rows=(row,))
    assert event.modified() is None
    copy = event.copy()
    object.__setattr__(copy, "acc", 1.0)
    object.__setattr__(copy.rows[0], "value", 1.0)
    assert (event.acc, event.rows, row.value) == (0.5, (row,), 0.5)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.epoch = 3  # type: ignore[misc]


def test_a_step_that_was_not_measured_has_no_rows() -> None:
    assert StepFinished(epoch=1, iter=1, step=1, loss=0.5, acc=1.0, n=8).rows == ()
