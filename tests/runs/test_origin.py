"""Tests of `cmp_core.runs.origin`: whose metrics a run has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmp_core import load_run
from cmp_core.runs.origin import is_foreign
from tests.synthetic_runs import write_old_run, write_run


@pytest.mark.parametrize(
    ("environment", "foreign"),
    [
        ({}, True),
        ({"packages": {"torch": "2.6.0"}}, True),
        ({"packages": ["chain-of-metric-predictors"]}, True),
        ({"packages": {"chain-of-metric-predictors": "0.0.1"}}, False),
    ],
)
def test_a_run_that_names_neither_its_metrics_nor_cmp_is_foreign(
    tmp_path: Path, environment: dict[str, Any], foreign: bool
) -> None:
    assert is_foreign(tmp_path, environment) == foreign
    (tmp_path / "metrics.json").write_text("{")  # what cannot be read is there all the same
    assert not is_foreign(tmp_path, environment)


def test_a_run_knows_whose_metrics_it_has(tmp_path: Path) -> None:
    old, new = load_run(write_old_run(tmp_path)), load_run(write_run(tmp_path))
    assert old.is_foreign("probe_accuracy")
    assert not new.is_foreign("probe_accuracy")
