"""Tests of what `cmp recompute` prints and writes, of values that are known by hand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from tests.cli.calls import call
from tests.crashing import CRASHED, let_crash
from tests.small_runs import posix

PLUGIN = """
from cmp_core import UndefinedError, hookimpl, metric

@metric("largest")
def largest(view):
    '''The largest activation, and all of the first sample.'''
    if view.name == "low":
        raise UndefinedError("it is [low]")
    return {"": view.activations.max(), "first": view.activations[0]}

@hookimpl
def cmp_register_metrics(register):
    register(largest)
"""


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    """A snapshot of two layers, and a metric of them."""
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file.attrs.update(format="cmp-activations", format_version=1, phase="test", epoch=2, step=7)
        for depth, name in enumerate(("low", "high")):
            layer = file.create_group(f"layers/{name}")
            layer.attrs["depth"] = depth
            layer["activations"] = [[0.5, 1.5, 2.0], [3.25, 0.0, 1.0]]
    (tmp_path / "largest.py").write_text(PLUGIN)
    named = ["-p", tmp_path / "largest.py", "--metrics", "largest"]
    return ["recompute", tmp_path / "mine.h5", *named]


def test_a_table_has_numbers_the_lengths_of_vectors_and_reasons(arguments: list[object]) -> None:
    result = call(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert shown[0] == f"{arguments[1]}: test, epoch 2, step 7".split()
    assert ["metric", "low", "high"] in shown
    assert ["largest", "–", "3.25"] in shown
    assert ["largest_first", "(3)"] in shown
    assert shown[-1] == ["–", "largest", "(low):", "it", "is", "[low]"]


def test_json_and_csv_have_a_row_for_each_value(arguments: list[object]) -> None:
    rows = [json.loads(line) for line in call(*arguments, "--json").stdout.splitlines()]
    assert [(row["layer"], row["metric"], row["value"], row["reason"]) for row in rows] == [
        ("low", "largest", None, "it is [low]"),
        ("high", "largest", 3.25, None),
        ("high", "largest_first", [0.5, 1.5, 2.0], None),
    ]
    written = call(*arguments, "--out", "rows.csv")
    assert written.stdout == "3 rows of 1 of 1 snapshot in rows.csv\n"
    head, *lines = Path("rows.csv").read_text().splitlines()
    assert head.split(",") == list(rows[0])
    assert [line.count(",3.25,") for line in lines] == [0, 1, 0]


# Bad files


@posix
@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_bad_files_cost_their_rows_and_are_named_at_the_end(
    arguments: list[object], monkeypatch: pytest.MonkeyPatch, extra: list[str]
) -> None:
    let_crash(monkeypatch, "cmp_core.measurement.recompute")
    command, good, *named = arguments
    assert isinstance(good, Path)
    alone = call(command, good, *named, *extra)
    crashing, outside, fifo = (good.with_name(f"{x}.h5") for x in ("crashing", "outside", "fifo"))
    shutil.copy(good, crashing)
    shutil.copy(good, outside)
    os.mkfifo(fifo)
    with h5py.File(outside, "a") as file:
        file["more"] = h5py.ExternalLink(str(fifo), "/")
    result = call(command, crashing, good, outside, fifo, *named, *extra)
    assert (result.exit_code, result.stdout) == (2, alone.stdout)
    told = result.stderr.splitlines()
    assert told[0] == f"error: '{crashing}': {CRASHED}"
    assert told[1].startswith(f"error: '{outside}': /more: expected data in the file itself, got")
    assert told[2] == f"error: '{fifo}' is a FIFO, a socket or a device, not a file"
    assert len(told) == 3


@posix
def test_rows_of_good_files_are_written_beside_bad_ones(
    arguments: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    let_crash(monkeypatch, "cmp_core.measurement.recompute")
    command, good, *named = arguments
    shutil.copy(str(good), tmp_path / "crashing.h5")
    target = tmp_path / "rows.jsonl"
    result = call(command, tmp_path / "crashing.h5", good, *named, "--out", target)
    assert result.exit_code == 2
    assert result.stdout.startswith("3 rows of 1 of 2 snapshots in ")
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert {row["snapshot"] for row in rows} == {str(good)}


def test_what_a_plugin_warns_of_is_told_once(arguments: list[object], tmp_path: Path) -> None:
    plugin = tmp_path / "largest.py"
    plugin.write_text("import sys\nprint('a warning', file=sys.stderr)\n" + PLUGIN)
    shutil.copy(str(arguments[1]), tmp_path / "other.h5")
    command, *rest = arguments
    result = call(command, tmp_path / "other.h5", *rest)
    assert (result.exit_code, result.stderr) == (0, "a warning\n")


def test_the_command_imports_no_torch(arguments: list[object]) -> None:
    """A server of children does, once."""
    asked = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))"
    code = f"{asked}; from cmp_core.cli import cli; cli()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False"
