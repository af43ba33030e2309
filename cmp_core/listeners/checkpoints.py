"""`best.pt` and `last.pt`: the best weights by validation, and all that is needed to resume."""

from __future__ import annotations

import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cmp_core.config.schema import shown
from cmp_core.errors import UsageError, one_line
from cmp_core.events.hookspecs import hookimpl
from cmp_core.events.payloads import EpochFinished, Run, RunFailed, StepFinished
from cmp_core.listeners.saving import saving
from cmp_core.runs.directory import BEST, LAST, save_whole
from cmp_core.text import described


class CheckpointWriter:
    """Saves after epochs, after some minutes within an epoch, and after an interruption.

    Args:
        folder: the run directory.
        sync_log: brings the log to the disk, which must have all that a checkpoint has behind it.
    """

    def __init__(self, folder: Path, sync_log: Callable[[], None]) -> None:
        self._folder, self._sync_log = folder, sync_log
        self._saved = time.monotonic()

    @hookimpl
    def cmp_step_finished(self, event: StepFinished, run: Run) -> None:
        """Save the whole state when the last time is `checkpoint_minutes` ago."""
        seconds = 60 * run.config.checkpoint_minutes
        if event.state is not None and time.monotonic() - self._saved >= seconds:
            self._save_last(event.state())

    @hookimpl
    def cmp_epoch_finished(self, event: EpochFinished, run: Run) -> None:
        """Save the weights if they are the best, and the whole state when it is its turn."""
        if event.is_best:
            state = event.state()
            best = {"epoch": event.epoch, "step": event.step, "acc": event.acc}
            self._save(BEST, {"model": state["model"], **best})
        is_turn = event.epoch % run.config.checkpoint_every == 0
        if event.epoch > 0 and (is_turn or event.epoch == run.config.epochs):
            self._save_last(event.state())

    @hookimpl
    def cmp_run_failed(self, event: RunFailed) -> None:
        """Save the whole state if the run can be resumed from here."""
        if event.state is not None:
            self._save_last(event.state())

    def _save_last(self, state: dict[str, Any]) -> None:
        self._sync_log()
        self._save(LAST, state)
        self._saved = time.monotonic()

    def _save(self, name: str, state: dict[str, Any]) -> None:
        path = self._folder / name
        with saving(path):
            save_whole(path, lambda file: torch.save(state, file))


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Return a checkpoint's content; nothing in it is executed.

    torch does not compare the checksums that it writes, which are compared here.

    Raises:
        UsageError: the file is missing or damaged.
    """
    if not path.is_file():
        raise UsageError(f"'{path}' does not exist: it was not written yet, or has been removed")
    try:
        _check_records(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sparse tensors, which fit nothing of a run
            state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises a different kind for every way to be damaged
        raise UsageError(
            f"'{path}' is not a checkpoint that can be read: {one_line(error)}"
        ) from error
    if not isinstance(state, dict):
        raise UsageError(
            f"'{path}' is no checkpoint: expected {{name: state}}, got {described(state)}"
        )
    return state


def _check_records(path: Path) -> None:
    """Raise where a record of a checkpoint is not as torch has written it."""
    with zipfile.ZipFile(path) as records:
        for record in records.infolist():
            if record.compress_type != zipfile.ZIP_STORED:  # a few bytes may stand for gigabytes
                raise zipfile.BadZipFile(f"its record {shown(record.filename)} is compressed")
        damaged = records.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"its record '{damaged}' is not what was written")
