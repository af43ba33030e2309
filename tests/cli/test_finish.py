"""How `cmp run` ends: pictures, the report, and the verdicts."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cmp_core.analysis.questions import QUESTIONS
from tests.cli.calls import PLOT, QUICK, call, directory


def test_a_run_ends_with_pictures_a_report_and_verdicts() -> None:
    metrics = ["--metrics", "accuracy,linear_cka"]
    result = call("run", *QUICK, *metrics, "--plots", "{name: heatmap, metric: accuracy}")
    assert (result.exit_code, result.stderr) == (0, "")
    run = directory(result)
    assert [path.name for path in (run / "plots").iterdir()] == ["heatmap_accuracy_val.png"]
    assert f"files in {run}: report.html, 1 picture in plots\n" in result.stdout
    lines = result.stdout.splitlines()
    for title in QUESTIONS.values():
        assert any(re.match(rf"{re.escape(title)} (one seed|no evidence)$", x) for x in lines)
    assert "one seed is described; several test the questions" in result.stdout
    assert "<h1>greedy on digits</h1>" in (run / "report.html").read_text()


def test_a_run_is_compared_and_its_research_plots_alone_are_drawn(here: Path) -> None:
    options = ["--research-only", "--compare", here / "B", "--show", "--metrics", "accuracy"]
    result = call("run", *QUICK, *options)
    assert result.exit_code == 0
    assert "--show: there is no display to open windows on" in result.stderr
    run = directory(result)
    assert [path.name for path in (run / "plots").iterdir()] == ["research_questions.png"]
    page = (run / "report.html").read_text()
    assert "<h1>greedy and mlp on digits</h1>" in page
    assert "files in" in result.stdout


def test_several_runs_are_drawn_side_by_side_at_the_end_of_one(here: Path) -> None:
    plots = "{name: architecture_comparison, metric: accuracy},training_curves"
    options = ["--compare", here / "B", "--metrics", "accuracy", "--plots", plots]
    result = call("run", *QUICK, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    names = {path.name for path in (directory(result) / "plots").iterdir()}
    assert names == {"architecture_comparison_accuracy.png", "basic_training_curves.png"}


def test_a_plot_that_raises_at_the_end_of_a_run_costs_exit_code_3() -> None:
    Path("my_plot.py").write_text(PLOT.format(answers=True, first="raise SystemExit(0)"))
    result = call("run", *QUICK, "--metrics", "accuracy", "--plots", "mine", "-p", "my_plot.py")
    assert result.exit_code == 3
    run = directory(result)
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: plugin mine was switched off in drawing: SystemExit: 0 ")
    assert "raise SystemExit(0)" in (run / "plugin_errors.log").read_text()
    assert f"files in {run}: report.html\n" in result.stdout
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
