"""Weights & Biases: every number of a run as a curve, while it trains.

A listener in one file, which needs the package `wandb`. Use it with
`cmp run -p cmp:wandb_sink`, after `wandb login` or with `WANDB_MODE=offline`. Project, entity and
server are those of W&B's own settings, such as `WANDB_PROJECT`. What it keeps is in the folder
`wandb` of the run directory; an offline run is sent by `wandb sync RUN/wandb/offline-run-*`. A
resumed run goes on as the same run of W&B.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

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
    import wandb
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("wandb is not installed: pip install wandb") from error

RUN_ID = "wandb_run_id"
"""File of the run directory with the run's id, by which a resumed run goes on."""

STOPPED, FAILED = 255, 1
"""Exit codes: W&B shows a run that ended with the first as killed."""

# A server that is not there costs so many seconds; `wandb sync` sends later what was not sent.
_SETTINGS = wandb.Settings(console="off", init_timeout=30, finish_timeout=60)

_runs: dict[Path | None, wandb.Run] = {}
"""W&B's run of each run that is going on: a module is imported once, and may see several runs."""


@hookimpl
def cmp_run_started(run: Run) -> None:
    """Begin the run with its configuration, or go on with it."""
    folder = run.directory
    if folder is None:
        raise UsageError("there is no run directory to keep the run's files in")
    known = folder / RUN_ID
    run_id = known.read_text(encoding="utf-8") if known.exists() else None
    excepthook = sys.excepthook  # W&B's would stay after the run
    try:
        begun = wandb.init(
            dir=folder,
            id=run_id,
            resume=run_id and "allow",
            name=f"{run.config.dataset}/{run.config.model}/{folder.name}",
            config=dict(load_run(folder).config),
            reinit="create_new",
            settings=_SETTINGS,
        )
    finally:
        sys.excepthook = excepthook
    known.write_text(begun.id, encoding="utf-8")
    _runs[folder] = begun


@hookimpl
def cmp_step_finished(event: StepFinished, run: Run) -> None:
    """Log loss and accuracy of a batch, and its values where it was measured."""
    told = {"loss/batch": event.loss, "acc/batch": event.acc}
    _log(run, event.step, told | _numbers("batch", event.rows))


@hookimpl
def cmp_epoch_finished(event: EpochFinished, run: Run) -> None:
    """Log the values of validation and of the training subset."""
    told = {"loss/val": event.val_loss, "acc/val": event.acc}
    values = _numbers("val", event.rows) | _numbers("train", event.train_rows)
    _log(run, event.step, told | values)


@hookimpl
def cmp_run_finished(event: RunFinished, run: Run) -> None:
    """Put the values of the test into the summary, as they have no place among the steps."""
    told = {"loss/test": event.test_loss, "acc/test": event.acc, "epoch/test": event.epoch}
    tested = told if event.acc is not None else {}
    ended = _runs.pop(run.directory)
    ended.summary.update(tested | _numbers("test", event.rows))
    ended.finish()


@hookimpl
def cmp_run_failed(event: RunFailed, run: Run) -> None:
    """End the run as killed or failed; it holds what there was."""
    if run.directory in _runs:
        stopped = isinstance(event.error, KeyboardInterrupt)
        _runs.pop(run.directory).finish(exit_code=STOPPED if stopped else FAILED)


def _log(run: Run, step: int, values: dict[str, float]) -> None:
    """Log values at a step, but those that W&B has from before the run was resumed."""
    begun = _runs[run.directory]
    if step >= begun.starting_step:
        begun.log(values, step=step)


def _numbers(phase: str, rows: Iterable[Row]) -> dict[str, float]:
    """Return numbers by `metric/phase/layer`; vectors and matrices of pairs are left to the log."""
    return {
        f"{row.metric}/{phase}/{row.layer}": row.value
        for row in rows
        if isinstance(row.value, float) and not row.pair
    }
