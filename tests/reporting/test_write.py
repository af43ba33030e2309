"""Tests of `cmp_core.reporting.write`: the page as the function and the command write it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import cmp_core.reporting.write
from cmp_core import load_run, report
from cmp_core.errors import UsageError
from cmp_core.plotting.plot import Plot, load_plots
from tests.cli.calls import call
from tests.synthetic_runs import write_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two runs of different models in the current folder."""
    monkeypatch.chdir(tmp_path)
    return [write_run(tmp_path, model=model) for model in ("greedy", "mlp")]


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cmp_core.reporting.write, "load_plots", list)


def page(path: Path) -> str:
    """A page without the time at which it was written."""
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", path.read_text())


def test_the_page_is_that_of_the_command(runs: list[Path]) -> None:
    names = [run.name for run in runs]
    assert report(names, "mine.html") == Path("mine.html")
    assert call("report", *names, "--out", "theirs.html").exit_code == 0
    assert page(Path("mine.html")) == page(Path("theirs.html"))
    assert page(Path("mine.html")).count("data:image/svg") > 4
    assert Path("mine.answers.json").read_text() == Path("theirs.answers.json").read_text()


@pytest.mark.usefixtures("_quick")
def test_it_goes_into_the_only_run_or_the_current_folder(runs: list[Path]) -> None:
    assert report([runs[0]]) == runs[0] / "report.html"
    assert list(json.loads((runs[0] / "answers.json").read_text())) == ["greedy"]
    assert report([load_run(run) for run in runs], labels=["a", "b"]) == Path.cwd() / "report.html"
    assert list(json.loads(Path("answers.json").read_text())) == ["a", "b"]


@pytest.mark.usefixtures("_quick")
def test_where_the_answers_cannot_be_written_there_is_no_page(runs: list[Path]) -> None:
    (runs[0] / "answers.json").mkdir()
    with pytest.raises(OSError, match=r"answers\.json"):
        report([runs[0]])
    assert not (runs[0] / "report.html").exists()


@pytest.mark.usefixtures("_quick")
def test_wrong_places_are_refused_and_nothing_is_written(runs: list[Path]) -> None:
    before = sorted(Path().rglob("*"))
    for path, message in (
        ("none/page.html", "cannot write 'none/page.html': there is no folder 'none'"),
        (".", "expected the name of a file, got the folder"),
        (runs[0] / "log.jsonl" / "page.html", "there is no folder"),
    ):
        with pytest.raises(UsageError, match=message):
            report(runs, path)
    with pytest.raises(UsageError, match="nope' does not exist"):
        report(["nope"])
    with pytest.raises(UsageError, match="at least one run"):
        report([])
    assert sorted(Path().rglob("*")) == before


def test_a_plot_that_raises_is_warned_of(
    runs: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (plot,) = [one for one in load_plots() if one.label == "research_questions"]

    def broken(view: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(
        cmp_core.reporting.write,
        "load_plots",
        lambda: [Plot(type(plot.definition)("mine", broken, "mine", answers=True), "mine")],
    )
    assert "three questions" in report(runs[:1]).read_text()
    assert "warning: plugin mine raised in the report: ZeroDivisionError" in capsys.readouterr().err
