"""`log.jsonl`: one strict-JSON object for every step and every end of an epoch."""

from __future__ import annotations

import json
import os
import time
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Self

from cmp_core.console import warn
from cmp_core.errors import TrainingError, UsageError
from cmp_core.events.hookspecs import hookimpl
from cmp_core.events.payloads import EpochFinished, Run, StepFinished
from cmp_core.events.rows import finite_or_none, log_form
from cmp_core.listeners.saving import saving
from cmp_core.runs.directory import LOG, UNREADABLE_LOG, open_to_append, write_whole
from cmp_core.runs.json_file import lines_of, parse_object
from cmp_core.runs.log import as_count
from cmp_core.runs.progress import Progress
from cmp_core.text import counted

FLUSH_SECONDS = 1.0
"""How long a line may wait; a system call for each line costs a few percent of training."""


class LogWriter:
    """Appends a line when a step or an epoch is finished."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG
        self._file = TextIOWrapper(open_to_append(self._path), encoding="utf-8")
        self._flushed = time.monotonic()

    @hookimpl
    def cmp_step_finished(self, event: StepFinished, run: Run) -> None:
        """Write the line of a training step."""
        line: dict[str, Any] = {
            "phase": "train",
            "epoch": event.epoch,
            "iter": event.iter,
            "step": event.step,
            "loss": finite_or_none(event.loss),
            "acc": finite_or_none(event.acc),
        }
        if event.rows:
            line |= log_form(event.rows, run.layer_names, event.n)
        self._write(line)

    @hookimpl
    def cmp_epoch_finished(self, event: EpochFinished, run: Run) -> None:
        """Write the line of validation and the training subset."""
        self._write(
            {
                "phase": "val",
                "epoch": event.epoch,
                "iter": 0,
                "acc": finite_or_none(event.acc),
                "val_loss": finite_or_none(event.val_loss),
                **log_form(event.rows, run.layer_names, event.n),
                **log_form(event.train_rows, run.layer_names, event.train_n, prefix="train_"),
            }
        )
        self.sync()

    @hookimpl
    def cmp_run_failed(self) -> None:
        """Bring the last lines to the disk."""
        self.sync()

    def close(self) -> None:
        """Write what waits, and close the file."""
        with saving(self._path):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What could not be written is tried again here, and must not hide why the run ends.
        with suppress(TrainingError) if kind else nullcontext():
            self.close()

    def sync(self) -> None:
        """Bring all lines to the disk.

        Raises:
            TrainingError: there is no room for them.
        """
        self._flush()
        with saving(self._path):
            os.fsync(self._file.fileno())

    def _write(self, line: dict[str, Any]) -> None:
        line["timestamp"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        with saving(self._path):
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        with saving(self._path):
            self._file.flush()
        self._flushed = time.monotonic()


def cut_log(folder: Path, progress: Progress) -> None:
    """Drop the lines that were written after a checkpoint, and a half-written one at the end.

    Other lines that cannot be read are set aside in `log.unreadable`, which is told.
    """
    path = folder / LOG
    kept, unreadable = [], []
    try:
        for line in lines_of(path) if path.is_file() else ():
            is_before = _is_before(line, progress) if line.strip() else False
            if is_before:
                kept.append(line)
            elif is_before is None and line.endswith(b"\n"):
                unreadable.append(line)
    except ValueError as error:
        raise UsageError(f"'{path}': {error}; mend or remove it, then resume again") from error
    if unreadable:
        aside = folder / UNREADABLE_LOG
        with open_to_append(aside) as file:
            file.writelines(unreadable)
        lines = counted(len(unreadable), "line")
        warn(f"'{path}': {lines} cannot be read; set aside in '{aside.name}'")
    texts = (line.decode("utf-8-sig").removesuffix("\n") for line in kept)
    write_whole(path, "".join(f"{text}\n" for text in texts))


def _is_before(line: bytes, progress: Progress) -> bool | None:
    """Return whether a line was written before a checkpoint; none where it cannot be read."""
    try:
        entry = parse_object(line.decode("utf-8-sig"))
    except ValueError:
        return None
    epoch, step = as_count(entry.get("epoch")), as_count(entry.get("step"))
    if entry.get("phase") == "train" and step is not None:
        return step <= progress.step
    if entry.get("phase") == "val" and epoch is not None:
        between_epochs = progress.iter == 0 and progress.step > 0
        return epoch <= (progress.epoch if between_epochs else progress.epoch - 1)
    return None
