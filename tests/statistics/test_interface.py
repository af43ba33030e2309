"""Tests of `cmp_core.statistics.interface`: what statistics rest on."""

from __future__ import annotations

import inspect

import pytest

from cmp_core import UsageError
from cmp_core.statistics.interface import SUMS, LayerStatistics
from cmp_core.testing import example_event
from tests.splits import split_statistics


def test_everything_that_a_layer_may_be_asked_says_what_it_is() -> None:
    for name, statistic in vars(LayerStatistics).items():
        if not name.startswith("_"):
            assert inspect.getdoc(statistic), name


def test_what_is_summed_for_a_statistic_suffices() -> None:
    """Each statistic over a split from the sums that it says it rests on, and no others."""
    event = example_event(n=40, part="chunk")
    arguments = {"channel_log_det": (4.0,)}
    for name, wanted in SUMS.items():
        split = split_statistics(wanted, event)
        other = [split["layer_1"]] if name == "hsic" else []
        value = getattr(split["layer_0"], name)(*other, *arguments.get(name, ()))
        assert value.isfinite().all(), name


def test_layers_of_different_samples_are_not_compared() -> None:
    first, second = (example_event(n=n).statistics for n in (40, 50))
    with pytest.raises(UsageError, match="layer_0 and layer_1 are of different events"):
        first["layer_0"].hsic(second["layer_1"])
    with pytest.raises(UsageError, match="are of different events"):
        first["layer_0"].held_out_errors(second["layer_1"])
