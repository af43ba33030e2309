"""TensorBoard: every number of a run as a curve, while it trains.

A listener in one file, which needs the package `tensorboard`. Use it with
`cmp run -p cmp:tensorboard_sink` and look with `tensorboard --logdir runs`, or copy it and send
the numbers elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cmp_core import (
    EpochFinished,
    Row,
    Run,
    RunFinished,
    RunStarted,
    StepFinished,
    UsageError,
    hookimpl,
)

try:
    from torch.utils.tensorboard import SummaryWriter
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("tensorboard is not installed: pip install tensorboard") from error

FOLDER = "tensorboard"
"""Folder of the run directory in which the curves are."""

_writers: dict[Path | None, SummaryWriter] = {}
"""The writer of each run that is going on: a module is imported once, and may see several runs."""


@hookimpl
def cmp_run_started(event: RunStarted, run: Run) -> None:
    """Open the file; of a resumed run, what came after the checkpoint is hidden."""
    folder = run.directory
    if folder is None:
        raise UsageError("there is no run directory to write curves into")
    resumed = {"purge_step": event.step + 1} if event.step else {}
    _writers[folder] = SummaryWriter(str(folder / FOLDER), **resumed)


@hookimpl
def cmp_step_finished(event: StepFinished, run: Run) -> None:
    """Write loss and accuracy of a batch, and its values where it was measured."""
    writer = _writers[run.directory]
    writer.add_scalar("loss/batch", event.loss, event.step)
    writer.add_scalar("acc/batch", event.acc, event.step)
    _add(writer, "batch", event.rows, event.step)


@hookimpl
def cmp_epoch_finished(event: EpochFinished, run: Run) -> None:
    """Write the values of validation and of the training subset."""
    writer = _writers[run.directory]
    writer.add_scalar("loss/val", event.val_loss, event.step)
    writer.add_scalar("acc/val", event.acc, event.step)
    _add(writer, "val", event.rows, event.step)
    _add(writer, "train", event.train_rows, event.step)


@hookimpl
def cmp_run_finished(event: RunFinished, run: Run) -> None:
    """Write the values of the test, and close the file."""
    _add(_writers[run.directory], "test", event.rows, event.step)
    _writers.pop(run.directory).close()


@hookimpl
def cmp_run_failed(run: Run) -> None:
    """Close the file; it holds what there was."""
    if run.directory in _writers:
        _writers.pop(run.directory).close()


def _add(writer: SummaryWriter, phase: str, rows: Iterable[Row], step: int) -> None:
    """Write numbers as `metric/phase/layer`; vectors and matrices of pairs are left to the log."""
    for row in rows:
        if isinstance(row.value, float) and not row.pair:
            writer.add_scalar(f"{row.metric}/{phase}/{row.layer}", row.value, step)
