"""MLflow: every number of a run as a curve, while it trains.

A listener in one file, which needs the package `mlflow`. Use it with
`cmp run -p cmp:mlflow_sink` and look with `mlflow ui`. The server or file is that of
`MLFLOW_TRACKING_URI`, by default MLflow's own; the experiment that of `MLFLOW_EXPERIMENT_NAME`, by
default `cmp`. A resumed run goes on as the same run of MLflow.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cmp_core import (
    EpochFinished,
    Row,
    Run,
    RunFailed,
    RunFinished,
    StepFinished,
    UsageError,
    hookimpl,
    load_run,
)

try:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("mlflow is not installed: pip install mlflow") from error

RUN_ID = "mlflow_run_id"
"""File of the run directory with the run's id, by which a resumed run goes on."""

MOST_METRICS, MOST_PARAMS = 1000, 100
"""Entries that MLflow takes in one request."""

PERIOD = 1.0
"""Seconds for which values are gathered: a request for each step would slow training down."""


class _Sink:
    """What is sent to MLflow about one run, new or known by its id.

    Attributes:
        sent: the last step that MLflow has from before the run was resumed, by `loss/batch` and
            `loss/val`. A resumed run repeats those after the checkpoint, with the same values.
    """

    def __init__(self, name: str, run_id: str | None) -> None:
        self._client = MlflowClient()
        self._waiting: list[Metric] = []
        self._since = time.monotonic()
        self.sent: dict[str, int] = {}
        if run_id is None:
            experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "cmp"))
            self.run_id = self._client.create_run(experiment, run_name=name).info.run_id
            return
        self.run_id = run_id
        self._client.update_run(run_id, status="RUNNING")
        for key in ("loss/batch", "loss/val"):
            history = self._client.get_metric_history(run_id, key)
            self.sent[key] = max((metric.step for metric in history), default=-1)

    def set_params(self, config: Mapping[str, Any]) -> None:
        """Send the configuration; what is no text stands there as JSON."""
        params = [
            Param(_fit(key), value if isinstance(value, str) else json.dumps(value, default=str))
            for key, value in config.items()
        ]
        for part in _parts(params, MOST_PARAMS):
            self._client.log_batch(self.run_id, params=part)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Send finite values, now or with those that follow soon."""
        now = round(1000 * time.time())
        finite = ((_fit(key), value) for key, value in values.items() if math.isfinite(value))
        self._waiting += [Metric(key, value, now, step) for key, value in finite]
        if time.monotonic() - self._since > PERIOD:
            self.send()

    def send(self) -> None:
        """Send what waits."""
        for part in _parts(self._waiting, MOST_METRICS):
            self._client.log_batch(self.run_id, metrics=part)
        self._waiting = []
        self._since = time.monotonic()

    def end(self, status: str) -> None:
        """Send what waits, and end the run."""
        self.send()
        self._client.set_terminated(self.run_id, status)

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        return str(known.experiment_id if known else self._client.create_experiment(name))


_sinks: dict[Path | None, _Sink] = {}
"""The sink of each run that is going on: a module is imported once, and may see several runs."""


@hookimpl
def cmp_run_started(run: Run) -> None:
    """Begin the run with its configuration, or go on with it."""
    folder = run.directory
    if folder is None:
        raise UsageError("there is no run directory to keep the run's id in")
    # A server that is not there costs seconds; by MLflow's default of 7 it is four minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    known = folder / RUN_ID
    run_id = known.read_text(encoding="utf-8") if known.exists() else None
    sink = _Sink(f"{run.config.dataset}/{run.config.model}/{folder.name}", run_id)
    if run_id is None:
        sink.set_params(load_run(folder).config)
        known.write_text(sink.run_id, encoding="utf-8")
    _sinks[folder] = sink


@hookimpl
def cmp_step_finished(event: StepFinished, run: Run) -> None:
    """Send loss and accuracy of a batch, and its values where it was measured."""
    told = {"loss/batch": event.loss, "acc/batch": event.acc}
    sink = _sinks[run.directory]
    if event.step > sink.sent.get("loss/batch", -1):
        sink.add(event.step, told | _numbers("batch", event.rows))


@hookimpl
def cmp_epoch_finished(event: EpochFinished, run: Run) -> None:
    """Send the values of validation and of the training subset."""
    told = {"loss/val": event.val_loss, "acc/val": event.acc}
    values = _numbers("val", event.rows) | _numbers("train", event.train_rows)
    sink = _sinks[run.directory]
    if event.step > sink.sent.get("loss/val", -1):
        sink.add(event.step, told | values)


@hookimpl
def cmp_run_finished(event: RunFinished, run: Run) -> None:
    """Send the values of the test at the step of the best weights, and end the run."""
    told = {"loss/test": event.test_loss, "acc/test": event.acc}
    tested = {key: value for key, value in told.items() if value is not None}
    sink = _sinks.pop(run.directory)
    sink.add(event.step, tested | _numbers("test", event.rows))
    sink.end("FINISHED")


@hookimpl
def cmp_run_failed(event: RunFailed, run: Run) -> None:
    """End the run as killed or failed; it holds what there was."""
    if run.directory in _sinks:
        stopped = isinstance(event.error, KeyboardInterrupt)
        _sinks.pop(run.directory).end("KILLED" if stopped else "FAILED")


def _numbers(phase: str, rows: Iterable[Row]) -> dict[str, float]:
    """Return numbers by `metric/phase/layer`; vectors and matrices of pairs are left to the log."""
    return {
        f"{row.metric}/{phase}/{row.layer}": row.value
        for row in rows
        if isinstance(row.value, float) and not row.pair
    }


def _fit(key: str) -> str:
    """Return a name with an underscore for what MLflow takes in no name."""
    return re.sub(r"[^\w./: -]", "_", key)


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
