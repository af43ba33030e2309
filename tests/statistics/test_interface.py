"""Tests of `cmp_core.statistics.interface`: what statistics rest on."""

from __future__ import annotations

import inspect

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
