"""Tests of `cmp_core.statistics.interface`: the cache, and what statistics rest on."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor

from cmp_core import statistics_of
from cmp_core.errors import UndefinedError
from cmp_core.statistics.cache import StatisticsCache, cached
from cmp_core.statistics.interface import SUMS, LayerStatistics
from cmp_core.statistics.second_moments import SecondMoments
from cmp_core.testing import example_event
from tests.splits import split_statistics


class Squares(StatisticsCache):
    """Counts how often it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[float, bool]] = []

    @cached
    def of(self, number: float, negative: bool = False) -> Tensor:
        """Return the square of a number."""
        self.calls.append((number, negative))
        return torch.tensor(-number * number if negative else number * number)


def test_a_statistic_is_computed_once_for_each_set_of_arguments_and_guarded() -> None:
    squares = Squares()
    assert [float(squares.of(3)), float(squares.of(3)), float(squares.of(3, negative=True))] == [
        9,
        9,
        -9,
    ]
    assert squares.calls == [(3, False), (3, True)]
    assert [guard.what for guard in squares.guards.guarded] == ["statistics.of"] * 2
    assert squares.of(3) is squares.guards.guarded[0].tensor


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


def test_every_second_moment_has_its_line_in_the_layer() -> None:
    engine = {"scales", "inner", "log_det", "shrunk_log_det"}
    engine |= {"require_layer", "require_pair", "hsic", "mean_log_kernel_density"}
    for name, method in vars(SecondMoments).items():
        if callable(method) and not name.startswith("_") and name not in engine:
            assert hasattr(LayerStatistics, name), name
            assert getattr(LayerStatistics, name).__doc__ == method.__doc__


def test_too_few_samples_are_undefined_and_not_zero() -> None:
    (one,) = statistics_of(torch.ones(1, 3))
    with pytest.raises(UndefinedError, match="at least 2 samples are needed, there are 1"):
        one.eigenvalues()
    with pytest.raises(UndefinedError, match="at least 4 samples are needed, there are 1"):
        one.squared_norm()
