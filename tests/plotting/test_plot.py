"""Tests of `cmp_core.plotting.plot`: declarations, options, and what is drawn of some runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmp_core import load_run, plot
from cmp_core.errors import ConfigError, UndefinedError, UsageError
from cmp_core.plotting.plot import Plot, select_plots
from cmp_core.plugins.loader import Plugins, new_manager
from cmp_core.plugins.registry import Registry
from cmp_core.runs.replicates import RunSet
from tests.synthetic_runs import write_run


def declared(file: str, **traits: Any) -> Plot:
    def function(view: Any) -> Any:
        """Draws nothing."""

    made: Plot = plot("mine", file=file, **traits)(function).plot_definition()  # type: ignore[attr-defined]
    return made


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> RunSet:
    return RunSet((load_run(write_run(tmp_path_factory.mktemp("runs"), depth=2)),))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("", "expected a name, without suffix"),
        ("a_{metrc}", "unknown choice 'metrc'; did you mean"),
    ],
)
def test_a_file_name_that_cannot_be_made_is_refused(file: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        declared(file)


def test_it_is_drawn_once_for_each_of_what_stands_in_braces(runs: RunSet) -> None:
    views = list(declared("{metric}{normalized}").views(runs))
    assert len(views) == 2 * len(runs.headlines)
    names = [
        declared("{phase}_{layer}").file_name(v) for v in declared("{phase}_{layer}").views(runs)
    ]
    assert names == ["val_layer_1"]


def test_a_plot_of_several_runs_says_what_it_lacks(runs: RunSet) -> None:
    with pytest.raises(UndefinedError, match="it compares runs, and there is one"):
        list(declared("mine", runs="several").views(runs))


def test_a_long_file_name_ends_in_a_hash_and_stays_different(runs: RunSet) -> None:
    names = set()
    for ending in ("a", "b"):
        subject = declared("x" * 300 + ending)
        (view,) = subject.views(runs)
        names.add(subject.file_name(view))
    assert len(names) == 2
    assert all(len(name.encode()) < 220 for name in names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": "a"}, "unknown option 'metrics'; did you mean 'metric'"),
        ({"phase": "vall"}, "unknown phase 'vall'; did you mean 'val'"),
        ({"metric": []}, "metric: expected a name or a list of names"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        declared("{metric}_{phase}").definition(**options)


def test_two_plots_of_one_file_name_are_refused(tmp_path: Path) -> None:
    registry = Registry()
    for name in ("one", "other"):

        @plot(name, file="same")
        def function(view: Any) -> Any:
            """Draws nothing."""

        registry.add("plot", name, function, plugin=name, origin=f"{name}.py")
    with pytest.raises(ConfigError, match="'one' and 'other' write files of one name, same"):
        select_plots(Plugins(new_manager(), registry))
