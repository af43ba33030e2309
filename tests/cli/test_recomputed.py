"""Tests of what `cmp recompute` prints and writes, of values that are known by hand."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest

from tests.cli.calls import call

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
