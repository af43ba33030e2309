"""`status.json` and `plugin_errors.log`: how far a run came, and what its plugins raised."""

from __future__ import annotations

import json
import math
import time
from datetime import datetime
from pathlib import Path

import attrs

from cmp_core.errors import text_of
from cmp_core.events.hookspecs import hookimpl
from cmp_core.events.payloads import EpochFinished, RunFailed, RunStarted, StepFinished
from cmp_core.listeners.saving import saving
from cmp_core.plugins.dispatch import Dispatcher
from cmp_core.plugins.failures import write_plugin_errors
from cmp_core.runs.directory import PLUGIN_ERRORS, STATUS, write_whole
from cmp_core.text import printable, type_name

HEARTBEAT_SECONDS = 60.0
"""How old the status of a run that goes on can be, but for its longest step or measured split."""


class StatusWriter:
    """Keeps the status file true from the run's start to its end.

    Args:
        folder: the run directory.
        dispatcher: knows which plugins have failed.
    """

    def __init__(self, folder: Path, dispatcher: Dispatcher) -> None:
        self._folder = folder
        self._dispatcher = dispatcher
        self._started = _now()
        self._epoch = self._step = 0
        self._val_acc: float | None = None
        self._written = time.monotonic()

    @hookimpl
    def cmp_run_started(self, event: RunStarted) -> None:
        """Say that the run is running."""
        self._write("running", event.epoch, event.step)

    @hookimpl
    def cmp_step_finished(self, event: StepFinished) -> None:
        """Say once a minute that it is alive, which it is not where that is long ago."""
        if time.monotonic() - self._written >= HEARTBEAT_SECONDS:
            self._write("running", event.epoch, event.step)

    @hookimpl
    def cmp_epoch_finished(self, event: EpochFinished) -> None:
        """Say how far it is."""
        self._val_acc = event.acc if math.isfinite(event.acc) else None
        self._write("running", event.epoch, event.step)

    @hookimpl
    def cmp_run_failed(self, event: RunFailed) -> None:
        """Say that it failed, or was interrupted."""
        if isinstance(event.error, KeyboardInterrupt):
            self._write("interrupted", event.epoch, event.step)
        else:
            error = f"{type_name(event.error)}: {printable(text_of(event.error))}"
            self._write("failed", event.epoch, event.step, error)

    @hookimpl
    def cmp_run_finished(self) -> None:
        """Say that it is done."""
        self._write("finished", self._epoch, self._step)

    def _write(self, state: str, epoch: int, step: int, error: str | None = None) -> None:
        self._epoch, self._step = epoch, step
        status = {
            "state": state,
            "epoch": epoch,
            "step": step,
            "val_acc": self._val_acc,
            "started": self._started,
            "updated": _now(),
            "error": error,
            "plugin_errors": [
                attrs.asdict(failure, filter=lambda field, _: field.name != "traceback")
                for failure in self._dispatcher.failures
            ],
        }
        with saving(self._folder / STATUS):
            write_whole(self._folder / STATUS, json.dumps(status, indent=2) + "\n")
            write_plugin_errors(self._folder / PLUGIN_ERRORS, self._dispatcher.failures)
        self._written = time.monotonic()


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
