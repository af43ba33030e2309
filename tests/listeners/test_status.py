"""Tests of `cmp_core.listeners.status`: what the file says at each point of a run."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cmp_core.errors import TrainingError
from cmp_core.events.payloads import EpochFinished, RunFailed, RunStarted, StepFinished
from cmp_core.listeners.status import StatusWriter
from cmp_core.plugins.failures import Failure


@pytest.fixture
def failures() -> list[Failure]:
    return []


@pytest.fixture
def writer(tmp_path: Path, failures: list[Failure]) -> StatusWriter:
    dispatcher: Any = SimpleNamespace(failures=failures)
    return StatusWriter(tmp_path, dispatcher)


def told(folder: Path) -> tuple[str, int, int, str | None]:
    status = json.loads((folder / "status.json").read_text())
    started, updated = (datetime.fromisoformat(status[key]) for key in ("started", "updated"))
    assert started <= updated
    assert started.tzinfo is not None
    return status["state"], status["epoch"], status["step"], status["error"]


def test_a_heartbeat_tells_that_a_run_goes_on(
    writer: StatusWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    writer.cmp_run_started(RunStarted("mlp", 1, "cpu", 9))
    for seconds, step in [(30, 1), (59, 2), (60, 3), (100, 4), (121, 5)]:
        now[0] = 1000.0 + seconds
        writer.cmp_step_finished(StepFinished(1, step, step, 0.5, 0.5, 8))
        assert told(tmp_path)[2] == {30: 0, 59: 0, 60: 3, 100: 3, 121: 5}[seconds]


def epoch(number: int, step: int) -> EpochFinished:
    return EpochFinished(number, step, 0.5, 1.0, (), (), 1, 1, False, dict)


def test_a_run_is_running_until_it_is_finished(writer: StatusWriter, tmp_path: Path) -> None:
    writer.cmp_run_started(RunStarted("m", 1, "cpu", 10, epoch=1, step=10))
    assert told(tmp_path) == ("running", 1, 10, None)
    writer.cmp_epoch_finished(epoch(2, 20))
    assert told(tmp_path) == ("running", 2, 20, None)
    writer.cmp_run_finished()
    assert told(tmp_path) == ("finished", 2, 20, None)


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (KeyboardInterrupt(), "interrupted", None),
        (TrainingError("no way on"), "failed", "TrainingError: no way on"),
        (SystemExit(3), "failed", "SystemExit: 3"),
    ],
)
def test_what_ended_a_run_is_told(
    writer: StatusWriter, tmp_path: Path, error: BaseException, state: str, reason: str | None
) -> None:
    writer.cmp_run_failed(RunFailed(error, 3, 33))
    assert told(tmp_path) == (state, 3, 33, reason)


def test_what_plugins_raised_is_listed_and_their_tracebacks_are_beside_it(
    writer: StatusWriter, tmp_path: Path, failures: list[Failure]
) -> None:
    writer.cmp_epoch_finished(epoch(1, 10))
    assert not (tmp_path / "plugin_errors.log").exists()
    failures.append(Failure("mine", "cmp_epoch_finished", "ValueError: no", "Traceback …", True, 2))
    writer.cmp_epoch_finished(epoch(2, 20))
    assert json.loads((tmp_path / "status.json").read_text())["plugin_errors"] == [
        {
            "plugin": "mine",
            "hook": "cmp_epoch_finished",
            "error": "ValueError: no",
            "disabled": True,
            "count": 2,
        }
    ]
    assert (tmp_path / "plugin_errors.log").read_text() == (
        "mine in cmp_epoch_finished, 2×\nTraceback …"
    )
