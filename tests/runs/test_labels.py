"""Tests of `cmp_core.runs.labels`: short names of experiments, each its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmp_core.runs.labels import labels_of
from cmp_core.runs.log import LogReader
from cmp_core.runs.record import RunRecord

KEYS = tuple("abcdefgh")
LOG = LogReader().finished({})


def labels(*configs: dict[str, Any], foreign: int = 0) -> list[str]:
    """The labels of runs of some configurations, the first of which are another program's."""
    runs = [
        RunRecord(Path(), {"model": "mlp"} | config, LOG, {}, {}, {}, foreign=i < foreign)
        for i, config in enumerate(configs)
    ]
    found = labels_of(runs, KEYS)
    assert len(set(found)) == len(found)
    return found


def test_few_keys_are_all_told() -> None:
    assert labels({"a": 1, "b": 2, "h": 0}, {"a": 3, "b": 4, "h": 0}) == [
        "mlp a=1 b=2",
        "mlp a=3 b=4",
    ]


def test_of_many_keys_one_that_both_state_is_told() -> None:
    first = {key: 1 for key in KEYS if key != "a"}
    second = dict.fromkeys(KEYS, 2)
    assert labels(first, second) == ["mlp b=1 …", "mlp b=2 …"]


def test_three_experiments_are_told_apart_by_what_each_differs_in() -> None:
    base = dict.fromkeys(KEYS, 0)
    found = labels(base, base | {"c": 1}, dict.fromkeys(KEYS, 2) | {"a": 0})
    assert found == ["mlp c=0 …", "mlp c=1 …", "mlp b=2 …"]


def test_changes_of_one_key_each_are_named_by_it() -> None:
    base = dict.fromkeys(KEYS, 0)
    assert labels(base, *(base | {key: 1} for key in KEYS[:7])) == [
        "mlp a=0 b=0 c=0 d=0 …",
        *(f"mlp {key}=1 …" for key in KEYS[:7]),
    ]


def test_a_grid_of_more_keys_than_are_told_has_labels_of_its_own_and_short_ones() -> None:
    grid = [{key: i >> place & 1 for place, key in enumerate("abcdef")} for i in range(64)]
    assert max(map(len, labels(*grid))) < 40


@pytest.mark.parametrize(
    ("first", "second"), [(1, "1"), ("x" * 500, "x" * 501), ([1] * 99, [1] * 98)]
)
def test_values_that_read_alike_are_numbered(first: object, second: object) -> None:
    found = labels({"a": first}, {"a": second})
    assert all(len(label) < 40 for label in found)
    assert [label[-3:] for label in found] == [" #1", " #2"]


def test_another_program_is_told_where_there_are_both() -> None:
    assert labels({"a": 1}, {"a": 2}, foreign=1) == ["mlp (other program)", "mlp"]
    assert labels({"a": 1}, {"a": 2}, foreign=2) == ["mlp a=1", "mlp a=2"]
