"""Tests of `cmp recompute`: exit codes, and what its options mean."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cmp_core import load_run
from tests.cli.calls import assert_refused, call
from tests.run_files import lines
from tests.small_runs import stored


def test_the_values_are_those_of_the_log(finished_run: Path) -> None:
    result = call("recompute", finished_run, "--json", "--workers", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    found = {(r["epoch"], r["layer"]): r["value"] for r in rows if r["layer"] != "input"}
    assert found == {
        (entry["epoch"], layer): pytest.approx(values["accuracy"])
        for entry in lines(finished_run)
        if entry["phase"] == "val"
        for layer, values in entry["metrics"].items()
    }


def test_a_snapshot_that_cannot_be_read_costs_exit_code_2_and_no_other(
    finished_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    broken, *whole = stored(run)
    broken.write_bytes(b"not at all")
    result = call("recompute", run, "--json", "--workers", "1")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: '{broken}' cannot be read")
    told = {json.loads(line)["snapshot"] for line in result.stdout.splitlines()}
    assert told == set(map(str, whole))


def test_a_plugin_that_raises_costs_exit_code_3(finished_run: Path) -> None:
    Path("bad.py").write_text(
        "from cmp_core import hookimpl, metric\n"
        "@metric('bad')\ndef bad(view):\n    '''Raises.'''\n    raise ValueError('[no]')\n"
        "@hookimpl\ndef cmp_register_metrics(register):\n    register(bad)\n"
    )
    options = ["-p", "bad.py", "--metrics", "accuracy", "--workers", "1"]
    result = call("recompute", stored(finished_run)[0], *options)
    assert result.exit_code == 3
    assert "ValueError: [no]" in result.stderr
    assert "accuracy" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "missing argument 'PATH...'"),
        ("none", "'none' does not exist"),
        ("x.h5 --out rows.txt", "--out: expected a name that ends in .jsonl or .csv, got"),
        ("x.h5 --out none/rows.csv", "--out: there is no folder 'none'"),
        ("x.h5 --workers 0", "0 is not in the range x>=1"),
        ("x.h5 --metrics [margin", "--metrics is not valid YAML"),
    ],
)
def test_wrong_input_is_told_and_writes_nothing(options: str, message: str) -> None:
    assert_refused(f"recompute {options}", message)


def test_saved_values_are_drawn_reported_and_told(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    options = ["--metrics", "participation_ratio", "--save", "--workers", "1"]
    refused = call("plot", "heatmap", "run", "--metric", "participation_ratio")
    assert refused.exit_code == 2
    saved = call("recompute", "run", *options)
    assert (saved.exit_code, saved.stderr) == (0, "")
    assert saved.stdout.endswith("\nadded participation_ratio to run\n")
    drawn = call("plot", "heatmap", "run", "--metric", "participation_ratio", "--phase", "val")
    assert (drawn.exit_code, drawn.stderr) == (0, "")
    assert (run / "plots" / "heatmap_participation_ratio_val.png").exists()
    page = call("report", "run")
    assert (page.exit_code, page.stderr) == (0, "")
    text = (run / "report.html").read_text()
    assert "<th>participation_ratio (validation)</th>" in text
    note = "participation_ratio: recomputed from stored samples, n = 144 (val of epochs 0, 1, 2)."
    assert note in text
    told = json.loads((run / "answers.json").read_text())["greedy"]["compressing"]["evidence"]
    assert [(one["metric"], one["phase"], one["n"]) for one in told] == [
        ("participation_ratio", "val", 144)
    ]
    (run / "recomputed.jsonl").write_text("{")
    damaged = call("report", "run")
    assert damaged.exit_code == 0
    assert "recomputed.jsonl', line 1: left out, it is not whole JSON" in damaged.stderr


def test_values_are_saved_beside_json_and_a_file(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [Path(shutil.copytree(finished_run, tmp_path / name)) for name in ("a", "b")]
    broken = stored(runs[1])[0]
    broken.write_bytes(b"not at all")
    monkeypatch.chdir(tmp_path)
    options = ["--metrics", "margin", "--save", "--workers", "1"]
    printed = call("recompute", *runs, *options, "--json")
    assert printed.exit_code == 2
    assert printed.stderr.startswith(f"error: '{broken}' cannot be read")
    assert len({json.loads(line)["snapshot"] for line in printed.stdout.splitlines()}) == 5
    for run, expected in zip(runs, ([0, 1, 2], [1, 2]), strict=True):
        series = load_run(run).series("val", "layer_0", "margin")
        assert series is not None
        assert series.epochs.tolist() == expected
    label = "{name: margin, label: again}"
    written = call("recompute", runs[0], "--metrics", label, "--save", "--out", "rows.csv")
    assert written.stdout.endswith(f"in rows.csv\nadded again to {runs[0]}\n")
    assert Path("rows.csv").is_file()
    assert load_run(runs[0]).metric_info["again"].metric == "margin"


FAILING = """
from cmp_core import hookimpl, metric

@metric("mine", split="mean")
def mine(view):
    raise ValueError("no")

@hookimpl
def cmp_register_metrics(register):
    register(mine)
"""


@pytest.mark.parametrize(("metric", "added"), [("margin", "added margin to run\n"), ("mine", "")])
def test_a_metric_that_fails_is_not_added(
    finished_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    metric: str,
    added: str,
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FAILING)
    options = ["--metrics", metric, "-p", "mine.py", "--save", "--workers", "1"]
    done = call("recompute", "run", *options)
    assert done.exit_code == 3
    warning = f"nothing was added to '{run}' of metrics without a value at any layer: mine (3 of 3"
    assert done.stderr.count(warning) == 1
    assert "".join(line for line in done.stdout.splitlines(True) if "added" in line) == added
    found = load_run(run)
    assert [x for x in found.metric_info if found.is_recomputed(x)] == (["margin"] if added else [])


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("run", "", "save: expected the metrics to add to the run, got none"),
        ("run", "--metrics all", "has logged accuracy itself, and keeps these values; leave out"),
        ("lone.h5", "--metrics margin", "save: values are added to runs alone; run 'lone.h5' is a"),
        ("activations", "--metrics margin", "save: values are added to runs alone; 'activations'"),
        ("run lone.h5", "--metrics margin", "save: values are added to runs alone; run 'lone.h5'"),
    ],
)
def test_what_cannot_be_saved_is_refused(
    finished_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    options: str,
    message: str,
) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    shutil.copytree(finished_run / "activations", tmp_path / "activations")
    shutil.copy(stored(finished_run)[0], tmp_path / "lone.h5")
    monkeypatch.chdir(tmp_path)
    assert_refused(f"recompute {what} --save {options}", message)
