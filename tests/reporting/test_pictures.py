"""Tests of `cmp_core.reporting.pictures`: which plots a page shows."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from cmp_core import PlotView, load_run, plot
from cmp_core.reporting.pictures import Pictures
from cmp_core.runs.replicates import RunSet
from tests.synthetic_runs import write_run

TRAITS: dict[str, dict[str, Any]] = {
    "answering": {"answers": True},
    "comparing": {"answers": True, "runs": "several"},
    "telling": {"in_report": True},
    "other": {},
}


@pytest.fixture
def runs(tmp_path: Path) -> RunSet:
    return RunSet((load_run(write_run(tmp_path)),))


def made(name: str, drawn: list[str], error: BaseException | None = None) -> Any:
    def implementation(view: PlotView) -> Figure:
        drawn.append(name)
        if error is not None:
            raise error
        return Figure((1, 1))

    return plot(name, file=name, **TRAITS[name])(implementation).plot_definition()


def test_a_page_shows_what_declares_it(runs: RunSet) -> None:
    drawn: list[str] = []
    pictures = Pictures([made(name, drawn) for name in TRAITS])
    view = PlotView(runs, question="predictive")
    shown = [pictures.of_answer(view), pictures.of_differences(runs), pictures.of_outcome(runs)]
    assert drawn == ["answering", "comparing", "telling"]
    for (address,) in shown:
        kind, _, content = address.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert b"prefers-color-scheme: dark" in base64.b64decode(content)
    assert pictures.failures == []


def test_a_plot_that_raises_costs_its_own_picture(runs: RunSet) -> None:
    pictures = Pictures([made("telling", [], SystemExit("gone"))])
    assert pictures.of_outcome(runs) == []
    assert [failure.error for failure in pictures.failures] == ["SystemExit: gone"]
