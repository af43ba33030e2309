"""Tests of `cmp recompute`: exit codes, and what its options mean."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

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
        ("", "Missing argument 'PATH...'"),
        ("none", "'none' does not exist"),
        ("x.h5 --out rows.txt", "--out: expected a name that ends in .jsonl or .csv, got"),
        ("x.h5 --out none/rows.csv", "--out: there is no folder 'none'"),
        ("x.h5 --workers 0", "0 is not in the range x>=1"),
        ("x.h5 --metrics [margin", "--metrics is not valid YAML"),
    ],
)
def test_wrong_input_is_told_and_writes_nothing(options: str, message: str) -> None:
    assert_refused(f"recompute {options}", message)
