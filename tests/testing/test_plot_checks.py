"""Tests of `cmp_core.testing.plot_checks`: what a plot must hold, by plots that do not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from matplotlib.figure import Figure

from cmp_core import UndefinedError, plot
from cmp_core.testing import check_plot, plot_checks


def a_plot(draw: Callable[[Any], Any], summary: str = "It.", runs: Any = "any") -> Any:
    draw.__doc__ = summary
    return plot("mine", file="mine", runs=runs)(draw)


def failed(declared: Any) -> list[str]:
    """The names of the checks that fail."""
    names = []
    for check in plot_checks(declared):
        try:
            check()
        except AssertionError:
            names.append(check.name)
    return names


def only_several(view: Any) -> Figure:
    if len(view.runs) < 2:
        raise UndefinedError("it compares runs")
    return Figure((1, 1))


@pytest.mark.parametrize("runs", ["any", "several"])
def test_a_plot_may_have_a_reason_against_some_runs(runs: str) -> None:
    declared = a_plot(only_several, runs=runs)
    assert check_plot(declared) == len(plot_checks(declared)) == 6


def test_one_that_never_draws_fails_for_that_alone() -> None:
    def never(view: Any) -> Figure:
        raise UndefinedError("never")

    assert failed(a_plot(never)) == ["draws any of these"]


def test_one_that_says_nothing_of_itself_fails_for_that_alone() -> None:
    assert failed(a_plot(lambda view: Figure((1, 1)), summary="")) == [
        "says in its docstring what it shows"
    ]


def test_one_that_draws_something_else_each_time_fails() -> None:
    numbers = count()

    def restless(view: Any) -> Figure:
        figure = Figure((1, 1))
        figure.text(0, 0, str(next(numbers)))
        return figure

    declared = a_plot(restless)
    with pytest.raises(AssertionError, match="drawing the same runs again gives another picture"):
        check_plot(declared)
