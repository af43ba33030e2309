"""Tests of `cmp_core.testing.runs`: a run directory without training is like a trained one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cmp_core import load_run
from cmp_core.testing import write_example_run
from cmp_core.workflow import Outcome


def test_it_is_read_without_a_problem_and_says_what_was_asked_for(tmp_path: Path) -> None:
    run = load_run(write_example_run(tmp_path, model="mlp", depth=2, seed=5, lr=0.5))
    assert run.problems == ()
    assert run.layers == ("layer_0", "layer_1", "head")
    assert (run.model, run.seed, run.config["lr"]) == ("mlp", 5, 0.5)
    assert run.predictions is not None
    hits = {
        layer: float(np.mean(run.predictions[layer] == run.predictions["labels"]))
        for layer in run.layers
    }
    assert run.test_accuracies == pytest.approx(hits)


def test_it_has_the_files_and_metrics_of_a_trained_run(
    tmp_path: Path, tiny_run: Callable[..., Outcome]
) -> None:
    made, trained = write_example_run(tmp_path), tiny_run().directory
    assert {path.name for path in made.iterdir()} <= {path.name for path in trained.iterdir()}
    a, b = load_run(made), load_run(trained)
    for metric in b.headlines:
        assert metric in a.metric_info
        assert attrs_of(a.metric_info[metric]) == attrs_of(b.metric_info[metric])


def attrs_of(info: object) -> tuple[object, ...]:
    return tuple(getattr(info, name) for name in ("metric", "unit", "question", "evidence"))


def test_seeds_differ_and_the_same_one_does_not(tmp_path: Path) -> None:
    paths = [write_example_run(tmp_path / str(i), seed=seed) for i, seed in enumerate((0, 0, 1))]
    first, again, other = ((path / "log.jsonl").read_text() for path in paths)
    assert first == again != other
