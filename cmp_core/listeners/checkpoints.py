"""`best.pt` and `last.pt`: the best weights by validation, and all that is needed to resume."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from cmp_core.errors import UsageError, one_line
from cmp_core.events.hookspecs import hookimpl
from cmp_core.events.payloads import EpochFinished, Run, RunFailed
from cmp_core.listeners.saving import saving
from cmp_core.runs.directory import BEST, LAST, save_whole


class CheckpointWriter:
    """Saves after epochs and after an interruption."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @hookimpl
    def cmp_epoch_finished(self, event: EpochFinished, run: Run) -> None:
        """Save the weights if they are the best, and the whole state when it is its turn."""
        if event.is_best:
            state = event.state()
            best = {"epoch": event.epoch, "step": event.step, "acc": event.acc}
            self._save(BEST, {"model": state["model"], **best})
        is_turn = event.epoch % run.config.checkpoint_every == 0
        if event.epoch > 0 and (is_turn or event.epoch == run.config.epochs):
            self._save(LAST, event.state())

    @hookimpl
    def cmp_run_failed(self, event: RunFailed) -> None:
        """Save the whole state if the run can be resumed from here."""
        if event.state is not None:
            self._save(LAST, event.state())

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
        raise UsageError(f"'{path}' does not exist: the run was stopped before it was written")
    try:
        _check_sums(path)
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises a different kind for every way to be damaged
        raise UsageError(
            f"'{path}' is not a checkpoint that can be read: {one_line(error)}"
        ) from error
    return state


def _check_sums(path: Path) -> None:
    """Raise where a record of a checkpoint has another checksum than it was written with."""
    with zipfile.ZipFile(path) as records:
        damaged = records.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"its record '{damaged}' is not what was written")
