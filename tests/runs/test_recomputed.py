"""Tests of `cmp_core.runs.recomputed`: lines written by hand, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmp_core import load_run
from cmp_core.errors import DataError
from cmp_core.runs.recomputed import save_recomputed, stored_lines
from cmp_core.runs.replicates import RunSet

INFO = {"metric": "curl", "summary": "How it curls.", "unit": "nats", "bounds": [0, None]}


def line(epoch: int, value: float, label: str = "curl", **more: Any) -> dict[str, Any]:
    """A line of one value at one layer."""
    about = {"snapshot": f"activations/step_{epoch}.h5", "label": label, "metric_info": INFO}
    when = {"phase": "val", "epoch": epoch, "step": 10 * epoch, "n": 5}
    return about | when | {"metrics": {"layer_0": {label: value}}} | more


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that has logged a metric at one layer."""
    (tmp_path / "params.yaml").write_text("model: greedy\n")
    (tmp_path / "metrics.json").write_text(json.dumps({"margin": {"metric": "margin"}}))
    logged = {"phase": "val", "epoch": 1, "acc": 0.5, "n": 9, "metrics": {"layer_0": {"margin": 2}}}
    (tmp_path / "log.jsonl").write_text(json.dumps(logged) + "\n")
    return tmp_path


def test_values_stand_beside_those_of_the_log_with_their_own_n(run: Path) -> None:
    save_recomputed(run, [line(4, 3.0), line(0, 1.5, errors={"layer_0": {"curl": 0.25}})])
    record = load_run(run)
    assert record.problems == ()
    assert record.metrics == ("margin", "curl")
    series = record.series("val", "layer_0", "curl")
    assert series is not None
    assert (series.epochs.tolist(), series.steps.tolist()) == ([0, 4], [0, 40])
    assert (series.values.tolist(), series.n.tolist()) == ([1.5, 3.0], [5, 5])
    assert series.errors[0] == 0.25
    assert record.unit_of("curl") == "nats"
    assert record.metric_info["curl"].bounds == (0, float("inf"))
    assert [record.is_recomputed(x) for x in ("curl", "curl_half", "margin")] == [True, True, False]
    assert RunSet((record,)).headlines == ("margin", "curl")


def test_a_line_replaces_that_of_its_metric_and_snapshot_alone(run: Path) -> None:
    save_recomputed(run, [line(0, 1.0), line(1, 2.0), line(1, 7.0, "other")])
    save_recomputed(run, [line(1, 3.0)])
    record = load_run(run)
    assert record.grid("val", "curl")[1].tolist() == [[1.0, 3.0]]
    assert record.value("val", "layer_0", "other") == 7.0
    save_recomputed(run, [line(1, 4.0, metric_info=INFO | {"options": {"k": 2}})])
    assert load_run(run).grid("val", "curl")[0].tolist() == [1]  # other options, another metric
    assert load_run(run).value("val", "layer_0", "other") == 7.0


def test_what_the_run_has_logged_counts(run: Path) -> None:
    save_recomputed(run, [line(1, 8.0, "margin")])
    record = load_run(run)
    assert record.value("val", "layer_0", "margin") == 2
    (problem,) = record.problems
    assert problem.endswith("recomputed.jsonl', line 1: left out, the run has logged margin itself")


def test_tests_have_influences_of_their_own_samples(run: Path) -> None:
    def tested(epoch: int, ids: list[int], influence: list[float]) -> dict[str, Any]:
        more = {"phase": "test", "sample_ids": ids, "influences": {"layer_0/curl": influence}}
        return line(epoch, float(epoch), **more)

    save_recomputed(run, [tested(0, [1, 2], [0.5, -0.5])])
    assert ("test", "layer_0", "curl") not in load_run(run).log.series  # no trained weights
    save_recomputed(run, [tested(3, [1, 2], [0.25, -0.25]), tested(2, [7], [9.0])])
    record = load_run(run)
    assert record.value("test", "layer_0", "curl") == 3
    assert record.value("test", "layer_0", "curl", epoch=0) == 0
    ids, influence = record.influence_ids("curl"), record.influence("layer_0", "curl")
    assert ids is not None
    assert influence is not None
    assert (ids.tolist(), influence.tolist()) == ([1, 2], [0.25, -0.25])
    before = record.influence("layer_0", "curl", "untrained")
    assert np.array_equal([0.5, -0.5], before)  # type: ignore[arg-type]
    save_recomputed(run, [tested(0, [1, 5], [0.5, -0.5])])
    assert load_run(run).influence("layer_0", "curl", "untrained") is None  # of other samples


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"label": ', "it is not whole JSON"),
        ("[1]", "expected {name: value}, got"),
        ("{}", "its label is"),
        (json.dumps(line(0, 1.0, phase="batch")), "its phase is 'batch'; expected val, train or"),
        (json.dumps(line(0, 1.0) | {"epoch": None}), "its epoch is null; expected a whole number"),
        (json.dumps(line(0, 1.0) | {"metric_info": 3}), "expected {label: {metric: …}}"),
        (json.dumps(line(0, 1.0, metric_info={"metric": 3})), "curl.metric: expected a text"),
        (json.dumps(line(0, 1.0, influences={"a": ["x"]})), "are no lists of numbers"),
        (json.dumps(line(0, 1.0, influences=[1])), "are no lists of numbers"),
        (json.dumps(line(0, 1.0, sample_ids={"a": 1})), "are no lists of numbers"),
    ],
)
def test_a_damaged_line_is_told_and_left_out_and_not_written_over(
    run: Path, text: str, message: str
) -> None:
    path = run / "recomputed.jsonl"
    path.write_text(json.dumps(line(4, 3.0)) + "\n" + text + "\n")
    record = load_run(run)
    (problem,) = record.problems
    assert problem.startswith(f"'{path}', line 2: left out, ")
    assert message in problem
    assert record.value("val", "layer_0", "curl") == 3
    with pytest.raises(DataError, match=r"line 2: .*mend or remove the line"):
        save_recomputed(run, [line(4, 5.0)])
    assert load_run(run).value("val", "layer_0", "curl") == 3


def test_parts_of_a_line_that_are_none_are_told(run: Path) -> None:
    (run / "recomputed.jsonl").write_text(json.dumps(line(0, 1.0, vectors=[1])))
    (problem,) = load_run(run).problems
    assert "vectors is left out, it is a list; expected an object" in problem


def test_what_is_no_file_is_told(run: Path) -> None:
    (run / "recomputed.jsonl").mkdir()
    (problem,) = load_run(run).problems
    assert "left out, it cannot be read" in problem


def test_lines_are_strict_json_and_written_whole(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_recomputed(run, [line(0, 1.0)])
    with pytest.raises(ValueError, match="JSON"):
        save_recomputed(run, [line(0, float("nan"))])

    def killed(_: Path, __: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_recomputed(run, [line(0, 2.0)])
    assert [one["metrics"] for one in stored_lines(run)] == [{"layer_0": {"curl": 1.0}}]
