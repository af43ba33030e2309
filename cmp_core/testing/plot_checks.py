"""What every plot must hold: it draws runs of all sizes, and the same ones the same each time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from cmp_core.errors import UndefinedError
from cmp_core.plotting.plot import Plot
from cmp_core.plotting.render import render
from cmp_core.plugins.registry import definition_of
from cmp_core.runs.record import load_run
from cmp_core.runs.replicates import RunSet
from cmp_core.testing.check import Check
from cmp_core.testing.runs import write_example_run

_RUNS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "one run": ({},),
    "several seeds": ({"seed": 0}, {"seed": 1}, {"seed": 2}),
    "two experiments": ({"model": "greedy"}, {"model": "mlp"}),
    "runs of 2 and of 20 layers": ({"depth": 2}, {"depth": 20}),
}
"""Sets of runs that must be drawn, as arguments of `write_example_run`."""

_MOST_VIEWS = 3
"""Of a plot that is drawn once for every metric, so many are."""


def plot_checks(factory: Any) -> list[Check]:
    """Return the checks of a plot.

    Args:
        factory: the function under `@plot`.
    """
    plot: Plot = definition_of(factory, "plot")()
    checks = [Check(plot.label, "says in its docstring what it shows", partial(_has_summary, plot))]
    for name, arguments in _RUNS.items():
        tried = ", ".join(f"write_example_run(folder, **{one})" for one in arguments)
        draws = partial(_draws_the_same_again, plot, name)
        checks.append(Check(plot.label, f"draws {name}, or gives a reason", draws, tried))
    checks.append(Check(plot.label, "draws any of these", partial(_draws_something, plot)))
    return checks


def check_plot(factory: Any) -> int:
    """Run all checks on a plot and return how many there were.

    Args:
        factory: the function under `@plot`.

    Raises:
        AssertionError: one does not hold.
    """
    checks = plot_checks(factory)
    for check in checks:
        check()
    return len(checks)


def _has_summary(plot: Plot) -> None:
    assert plot.definition.summary, "there is no docstring"


def _draws_the_same_again(plot: Plot, runs: str) -> None:
    for once, again in zip(_pictures(plot, runs), _pictures(plot, runs), strict=True):
        assert once == again, "drawing the same runs again gives another picture"


def _draws_something(plot: Plot) -> None:
    assert any(any(_pictures(plot, runs)) for runs in _RUNS), "there is a reason against each"


def _pictures(plot: Plot, runs: str) -> Iterator[bytes]:
    """Yield the first pictures that there are of some runs."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [write_example_run(Path(folder), **arguments) for arguments in _RUNS[runs]]
        with suppress(UndefinedError):  # it compares runs, and there is one
            for view in islice(plot.views(RunSet(tuple(map(load_run, paths)))), _MOST_VIEWS):
                with suppress(UndefinedError):
                    yield render(plot, view, "svg")
