"""Tests of `cmp_core.runs.test_accuracies`: results of tests in all their forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmp_core import load_run
from cmp_core.runs.test_accuracies import layer_accuracies
from tests.synthetic_runs import write_old_run

LAST = {"acc_last": 0.9, "acc_layers": [0.5, 0.7, 0.9]}
THREE = {"layer_0": 0.5, "layer_1": 0.7, "layer_2": 0.9}


@pytest.mark.parametrize(
    ("model", "test", "expected"),
    [
        ("greedy", LAST, THREE),
        ("greedy", {"acc_layers": [0.5, None, 0.9]}, {"layer_0": 0.5, "layer_2": 0.9}),
        ("greedy", {"acc_last": 0.9}, {"layer_2": 0.9}),
        ("mono_forward", LAST, THREE),
        ("mlp", {"acc": 0.95}, {"head": 0.95}),
        ("mlp", {"acc": 0.95, "acc_layers": [0.5, 0.7, 0.9]}, {**THREE, "head": 0.95}),
        ("mlp", {"acc_layers": [0.5, 0.7, 0.9, 0.95]}, {**THREE, "head": 0.95}),
        ("mlp", {"acc_last": 0.95, "acc_layers": [0.95]}, {"head": 0.95}),
        ("mlp", {"acc": 0.9, "acc_layers": [0.5, 0.9]}, {"layer_0": 0.5, "head": 0.9}),
        ("mlp", {"acc_layers": []}, {}),
    ],
)
def test_a_list_is_of_the_layers_in_order_and_the_answer_of_the_head(
    tmp_path: Path, model: str, test: dict[str, Any], expected: dict[str, float]
) -> None:
    run = load_run(write_old_run(tmp_path, model=model, test=test))
    assert run.test_accuracies == expected
    (run.directory / "log.jsonl").write_text(
        ""
    )  # the configuration knows how many layers there are
    assert load_run(run.directory).test_accuracies == expected


def test_accuracies_by_name_are_what_they_are() -> None:
    told = {"a": 0.5, "head": 0.75, "b": float("nan")}
    assert layer_accuracies({"acc": 1.0, "acc_layers": told}, ["a"], "c") == {
        "a": 0.5,
        "head": 0.75,
    }
