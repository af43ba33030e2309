"""Tests of `cmp plugins`: the list, and the new one."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from cmp_core.plugins.scaffold import USAGE
from tests.cli.calls import assert_refused, call


def told(*arguments: str) -> dict[str, Any]:
    """What `cmp plugins --json` says, by name."""
    result = call("plugins", "--json", *arguments)
    assert result.exit_code == 0
    return {row["name"]: row for row in json.loads(result.stdout)}


def test_verbose_imports_and_tells_what_each_does(site: Path) -> None:
    rows = told("-v")
    assert rows["good"]["registers"] == ["good (split: subset): The mean activation."]
    assert rows["margin"]["registers"][0].startswith("margin (split: mean): ")
    assert rows["cmp:sparsity"]["registers"][0].startswith("sparsity (split: mean): Mean share")
    assert rows["raises"]["state"] == "broken"
    assert "could not be loaded: ValueError: no" in rows["raises"]["problem"]
    assert "way" not in rows["raises"]["problem"]
    assert "problem" not in rows["good"]
    assert "registers" not in told()["good"]


def test_the_table_has_a_line_for_each(site: Path) -> None:
    lines = [line.strip() for line in call("plugins").stdout.splitlines()]
    assert lines[1].split() == ["name", "kind", "version", "state", "origin"]
    (good,) = [line for line in lines if line.startswith("good ")]
    assert (
        " ".join(good.split()) == "good metric 1.0 installed good_module (installed by good-dist)"
    )
    assert len([line for line in lines if line.startswith("gone ")]) == 1
    assert lines[lines.index("gone") + 1] == "ModuleNotFoundError: No module named 'gone_module'"


def test_where_to_go_next_is_said() -> None:
    said = call("plugins", "new", "plot", "mine", "--out", "there").stdout
    assert said.splitlines() == [
        "wrote there/mine.py",
        "wrote there/test_mine.py",
        "next: cmp plugins check there/mine.py",
    ]


def test_that_the_test_needs_pytest_is_said_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda x: None if x == "pytest" else find(x))
    said = call("plugins", "new", "metric", "mine").stdout
    assert said.splitlines()[-1] == "test_mine.py needs pytest: pip install pytest"


def test_a_package_is_to_be_installed_from_its_folder() -> None:
    said = call("plugins", "new", "metric", "mine", "--package").stdout
    assert said.splitlines()[-1] == "next: pip install ./cmp-mine"


def test_wrong_input_is_told_and_writes_nothing() -> None:
    kinds = ", ".join(f"'{kind}'" for kind in USAGE)
    assert_refused("plugins new metrik mine", f"'metrik' is not one of {kinds}")
    assert_refused("plugins new metric margin", "there is a plugin 'margin' already")
    assert_refused("plugins check no:margin", "no:margin leaves a plugin out")
    assert_refused("plugins chekc", "unknown command 'chekc'; did you mean 'check'?")
