"""Tests of `plugins/mlflow_sink.py`, with the real library and its store of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmp_core import RunFailed, RunStarted, load_run, resume, run
from tests.integrations.sinks import Curves, curves, final_values, odd_step, plugin, run_in
from tests.interruption import interrupt
from tests.small_runs import small

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")

SINK = ("cmp:mlflow_sink",)
STARTED = RunStarted(model="m", parameters=1, device="cpu", steps_per_epoch=1)


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A store of files, which is there in every version, and nothing that leaves the machine."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


def the_run() -> Any:
    """The only run of the experiment."""
    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("cmp").experiment_id])
    return found


def sent(run_id: str, names: Curves) -> tuple[Curves, int]:
    """What MLflow has under names, by step, and how many values that is."""
    client = mlflow.MlflowClient()
    histories = {name: client.get_metric_history(run_id, name) for name in names}
    by_step = {name: {m.step: m.value for m in history} for name, history in histories.items()}
    return by_step, sum(map(len, histories.values()))


def test_a_run_stands_in_mlflow_with_all_its_numbers(tmp_path: Path) -> None:
    outcome = run(small(tmp_path / "runs", epochs=2, plugins=SINK))
    assert not outcome.failures
    found, wanted = the_run(), curves(outcome.directory)
    assert len(wanted["loss/batch"]) == 6
    assert "accuracy/train/layer_1" in wanted
    assert sent(found.info.run_id, wanted)[0] == wanted
    results = {k: v for k, v in found.data.metrics.items() if "/test" in k}
    assert results == final_values(outcome.directory)
    assert set(found.data.metrics) == {*wanted, *results}
    assert found.info.status == "FINISHED"
    assert found.info.run_name == f"digits/greedy/{outcome.directory.name}"
    assert set(found.data.params) == set(load_run(outcome.directory).config)
    assert found.data.params["N"] == "12"
    assert found.data.params["metrics"] == '["accuracy"]'


def test_a_resumed_run_goes_on_as_the_same_and_repeats_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = interrupt(small(tmp_path / "runs", epochs=3, plugins=SINK), 4, monkeypatch)
    assert the_run().info.status == "KILLED"
    monkeypatch.setattr(plugin("mlflow_sink"), "PERIOD", 0)
    (folder / "last.pt").unlink()  # all that was sent comes again
    assert not resume(folder).failures
    found, wanted = the_run(), curves(folder)
    assert found.info.status == "FINISHED"
    assert len(wanted["loss/batch"]) == 9
    assert sent(found.info.run_id, wanted) == (wanted, sum(map(len, wanted.values())))


def test_a_server_that_is_not_there_costs_the_sink_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    outcome = run(small(tmp_path, plugins=SINK))
    (failure,) = outcome.failures
    assert failure.plugin == "mlflow_sink"
    assert "127.0.0.1" in failure.error
    assert outcome.results["acc"] > 0


def test_odd_names_fit_and_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    sink, one = plugin("mlflow_sink"), run_in(tmp_path / "run")
    sink.cmp_run_started(run=one)
    sink.cmp_step_finished(event=odd_step(), run=one)
    sink.cmp_run_failed(event=RunFailed(ValueError("no"), 1, 7), run=one)
    found = the_run()
    assert found.data.metrics == {"acc/batch": 0.5, "norm _σ_/batch/block_0_": 2.5}
    assert found.data.params == {"dataset": "digits", "lr": "0.001", "lambda_ace": "[0.1, 0.2]"}
    assert found.info.status == "FAILED"
