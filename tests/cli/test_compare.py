"""Tests of `cmp compare`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from cmp_core import load_run
from cmp_core.analysis import words
from cmp_core.analysis.questions import QUESTIONS
from cmp_core.plotting.plot import select_plots
from cmp_core.plugins.loader import load_plugins
from tests.cli.calls import assert_refused, call


@pytest.mark.usefixtures("_inside")
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("compare A folder", "is not a run directory"),
        ("compare A unlogged", "has no log.jsonl"),
        ("compare A B --metric margin", "unknown option"),
        ("compare A B --labels a", "expected a label for each of the 2 runs, got 1"),
        ("compare", "missing argument 'RUN...'"),
        ("compare A B --dpi 100000", "100000 is not in the range"),
        ("compare A B --format jpg", "'jpg' is not one of"),
        ("compare A", "give two different runs or more"),
        ("compare A A/", "give two different runs or more"),
        ("compare A folder/../A", "give two different runs or more"),
        ("compare A link", "give two different runs or more"),
        ("compare A B --out file", "Directory 'file' is a file"),
        ("compare A B --out file/below", "is a file; choose another place"),
        ("compare unpredicted B", "test_predictions.npz' cannot be read: "),
    ],
)
def test_wrong_input_is_told_in_a_sentence_and_writes_nothing(command: str, message: str) -> None:
    assert_refused(command, message)


def test_runs_of_different_depth_are_compared(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [
        one
        for one in select_plots(load_plugins(built_ins=("cmp_plots",)))
        if one.label in ("architecture_comparison", "research_questions", "training_curves")
    ]
    monkeypatch.setattr("cmp_core.plotting.plot.load_plots", lambda: few)
    result = call("compare", here / "A", here / "B", "--out", "figures", "--dpi", "30")
    assert (result.exit_code, result.stderr) == (0, "")
    table, *_ = result.stdout.partition("greedy:\n")
    rows = {row[0]: row[1:] for x in table.splitlines() if (row := re.split(r" {2,}", x.strip()))}
    a, b = (load_run(here / name) for name in ("A", "B"))
    assert rows["test accuracy"] == ["greedy", "mlp"]
    assert rows["seeds"] == ["0", "0"]
    for layer, accuracy in b.test_accuracies.items():
        both = [a.test_accuracies.get(layer), accuracy]
        known = [x for x in both if x is not None]
        half_widths = [t.ppf(0.975, 199) * np.sqrt(x * (1 - x) / 199) for x in known]
        assert rows[layer] == list(map(words.within, known, half_widths))
    layers = [name for name in rows if re.fullmatch(r"layer_\d|head", name)]
    assert layers == [*(f"layer_{i}" for i in range(6)), "head"]
    for title in QUESTIONS.values():
        assert result.stdout.count(f"{title} one seed\n") == 2
    effect = 100 * (b.test_accuracies["head"] - a.test_accuracies["layer_3"])
    *_, last = (x for x in result.stdout.splitlines() if x.startswith(" accuracy, points"))
    told = re.split(r" {2,}", last.strip())[-1].partition(" ")[0].rstrip("*")
    assert float(told.replace("−", "-")) == pytest.approx(effect, abs=0.05)
    names = {path.name for path in Path("figures").iterdir()}
    assert f"{len(names)} pictures in figures" in result.stdout
    assert {"research_questions.png", "architecture_comparison_margin.png"} < names
    assert "basic_training_curves.png" not in names  # it compares nothing
