"""Tests of `cmp_core.plotting.processes`: many pictures, drawn by several processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cmp_core.errors import DataError
from cmp_core.plotting import processes
from cmp_core.plotting.plot import Plot, PlotView, plot
from cmp_core.plotting.render import Drawn, Task, draw, render, tasks
from cmp_core.plugins.loader import load_plugins
from cmp_core.plugins.registry import definition_of
from cmp_core.runs.record import load_run
from cmp_core.runs.replicates import RunSet
from tests.synthetic_runs import write_run

DEPTH = 10

PLUGIN = """
import os, sys
from pathlib import Path
from matplotlib import pyplot as plt
from cmp_core import DataError, UndefinedError, hookimpl, plot

@plot("mine", file="mine_{metric}_{layer}")
def mine(view):
    print("drawing", file=sys.stderr)
    if view.layer == "layer_3":
        raise UndefinedError(f"no {view.metric} today")
    if (view.metric, view.layer) == ("margin", "layer_5"):
        raise ZeroDivisionError("no luck")
    figure, axes = plt.subplots(figsize=(1, 1))
    axes.set_title(view.layer)
    (Path(os.environ["DRAWERS"]) / str(os.getpid())).touch()
    return figure

@plot("fatal", file="fatal_{metric}_{layer}")
def fatal(view):
    if str(os.getpid()) != os.environ["WAITS"]:
        os._exit(1)
    return mine(view)

@plot("damaged", file="damaged_{metric}_{layer}")
def damaged(view):
    raise DataError("the file is damaged")

@hookimpl
def cmp_register_plots(register):
    register(mine)
    register(fatal)
    register(damaged)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> RunSet:
    return RunSet((load_run(write_run(tmp_path_factory.mktemp("runs"), depth=DEPTH)),))


@pytest.fixture
def todo(
    runs: RunSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], list[Task]]:
    """Twenty pictures of a plot in a plugin's file, drawn by two processes."""
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "drawers").mkdir()
    monkeypatch.setenv("DRAWERS", str(tmp_path / "drawers"))
    monkeypatch.setenv("WAITS", str(os.getpid()))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr(processes, "cpu_count", lambda: 2)
    registry = load_plugins([str(tmp_path / "mine.py")], built_ins=()).registry

    def pictures(name: str) -> list[Task]:
        definition = definition_of(registry.get("plot", name).factory, "plot")
        layers = [f"layer_{i}" for i in range(DEPTH)]
        return tasks([definition(metric=["accuracy", "margin"], layer=layers)], runs)

    return pictures


def drawers(tmp_path: Path) -> set[int]:
    return {int(path.name) for path in (tmp_path / "drawers").iterdir()}


def test_pictures_reasons_and_failures_are_those_of_one_process(
    todo: Callable[[str], list[Task]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pictures = todo("mine")
    drawn = list(draw(pictures, tmp_path / "plots", dpi=20))
    assert len(drawers(tmp_path)) == 2
    assert os.getpid() not in drawers(tmp_path)
    by_view = {(d.task.view.metric, d.task.view.layer): d for d in drawn if d.task.view}
    assert len(by_view) == len(drawn) == DEPTH + 6  # the plot is given up at its failure
    assert by_view["accuracy", "layer_3"].reason == "no accuracy today"
    failure = by_view["margin", "layer_5"].failure
    assert failure is not None
    assert (failure.plugin, failure.error) == ("mine", "ZeroDivisionError: no luck")
    assert "in mine" in failure.traceback
    written = {path.name for path in (tmp_path / "plots").iterdir()}
    assert written == {d.path.name for d in drawn if d.path}
    assert len(written) == len(drawn) - 3
    assert capfd.readouterr().err == "drawing\n"
    one = by_view["accuracy", "layer_7"]
    assert one.task.view is not None
    assert one.path is not None
    assert one.path.read_bytes() == render(one.task.plot, one.task.view, dpi=20)


def test_what_a_process_that_dies_was_to_draw_is_drawn_here(
    todo: Callable[[str], list[Task]], tmp_path: Path
) -> None:
    drawn = list(draw(todo("fatal"), tmp_path / "plots", dpi=20))
    assert drawers(tmp_path) == {os.getpid()}
    assert len(list((tmp_path / "plots").iterdir())) == len([d for d in drawn if d.path]) == 13


def test_a_damaged_file_ends_all_of_it(todo: Callable[[str], list[Task]], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file is damaged"):
        list(draw(todo("damaged"), tmp_path / "plots"))


def test_a_plot_that_cannot_be_sent_and_few_pictures_are_drawn_here(
    todo: Callable[[str], list[Task]], runs: RunSet, tmp_path: Path
) -> None:
    mine = todo("mine")[0].plot.definition.implementation

    def local(view: PlotView) -> Any:
        return mine(view)

    of_mine: Plot = plot("local", file="local_{metric}_{layer}")(local).plot_definition()
    few = todo("mine")[:3]
    own = [Task(of_mine, task.view) for task in todo("mine")]
    for pictures in (few, own):
        drawn: list[Drawn] = list(draw(pictures, tmp_path / "plots", dpi=20))
        assert drawn[0].path is not None
    assert drawers(tmp_path) == {os.getpid()}
