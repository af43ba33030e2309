"""Tests of `cmp list`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.calls import assert_refused, call


def test_runs_are_listed_the_newest_first(here: Path, tmp_path: Path) -> None:
    for when, name in enumerate(("A", "C", "B")):
        shutil.copytree(here / name, tmp_path / name)
        os.utime(tmp_path / name / "params.yaml", (when, when))
    result = call("list", tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines()[3:] if line.strip()]
    assert [row[:4] for row in rows] == [
        ["B", "digits", "mlp", "0"],
        ["C", "digits", "greedy", "1"],
        ["A", "digits", "greedy", "0"],
    ]
    told = json.loads(call("list", tmp_path, "--json", "--where", "model=greedy").stdout)
    assert [Path(run["directory"]).name for run in told] == ["C", "A"]
    results = json.loads((here / "A" / "test_results.json").read_text())
    assert told[1]["test_acc"] == results["acc"]
    assert f"{results['acc']:.4f}" in rows[2]
    assert call("list", tmp_path, "--where", "seed=7").stdout == "no runs\n"


def test_the_lines_of_a_table_are_not_broken_in_a_pipe(tmp_path: Path, here: Path) -> None:
    name = "a" * 150
    shutil.copytree(here / "A", tmp_path / name)
    assert name in call("list", tmp_path).stdout


def test_values_that_json_has_not_are_texts(here: Path, tmp_path: Path) -> None:
    for name, value in (("A", ".inf"), ("C", "2020-01-01")):
        shutil.copytree(here / name, tmp_path / name)
        params = f"dataset: digits\nmodel: mlp\nextra: {value}\n"
        (tmp_path / name / "params.yaml").write_text(params)
    told = json.loads(call("list", tmp_path, "--json").stdout)
    assert {run["differs"]["extra"] for run in told} == {"inf", "2020-01-01"}


def test_a_folder_that_is_not_there_is_told() -> None:
    assert_refused("list nowhere", "there is no folder 'nowhere'; name the one that holds the runs")


def test_of_many_runs_the_newest_are_shown_and_it_is_said_of_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmp_core.cli.list._MOST_ROWS", 2)
    for when in range(5):
        params = tmp_path / f"run_{when}" / "params.yaml"
        params.parent.mkdir()
        params.write_text(f"dataset: digits\nmodel: mlp\nseed: {when}\n")
        os.utime(params, (when, when))
    *table, last = call("list", tmp_path).stdout.splitlines()
    assert [line.split()[0] for line in table if "run_" in line] == ["run_4", "run_3"]
    assert last.startswith("the newest 2 of 5 runs; ")
    assert len(json.loads(call("list", tmp_path, "--json").stdout)) == 5
    assert "run_0" in call("list", tmp_path, "--where", "seed=0").stdout
