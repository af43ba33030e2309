"""What is seen while a run is going on: a live bar in a terminal, plain lines in a pipe."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from cmp_core.console import folded
from cmp_core.events.hookspecs import hookimpl
from cmp_core.events.payloads import (
    EpochFinished,
    EpochStarted,
    Run,
    RunFailed,
    RunFinished,
    RunStarted,
    StepFinished,
)
from cmp_core.runs.directory import LAST
from cmp_core.text import counted


class Screen:
    """Prints a line per epoch and, in a terminal, a bar with the step, the loss and the time left.

    Args:
        console: where to print; its `is_terminal` decides about the bar.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("steps · loss {task.fields[loss]:.4f} · acc {task.fields[acc]:.3f} ·"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._loss_sum = 0.0
        self._steps = 0

    @hookimpl
    def cmp_run_started(self, event: RunStarted, run: Run) -> None:
        """Say what is about to happen, and where its files go."""
        config = run.config
        self._print(
            f"{config.model} ({counted(event.parameters, 'parameter')}) on {config.dataset}, "
            f"{counted(config.epochs, 'epoch')} of {counted(event.steps_per_epoch, 'step')}, "
            f"{event.device}"
        )
        if run.directory is not None:
            self._print(f"run directory {run.directory}")
        total = config.epochs * event.steps_per_epoch
        self._bar.start()
        self._task = self._bar.add_task(
            "", total=total, completed=event.step, epoch=f"0/{config.epochs}", loss=0.0, acc=0.0
        )

    @hookimpl
    def cmp_epoch_started(self, event: EpochStarted, run: Run) -> None:
        """Show the epoch."""
        self._loss_sum, self._steps = 0.0, 0
        self._bar.update(self._task, epoch=f"{event.epoch}/{run.config.epochs}")

    @hookimpl
    def cmp_step_finished(self, event: StepFinished) -> None:
        """Show the step."""
        self._loss_sum += event.loss
        self._steps += 1
        if not self._bar.disable:
            self._bar.update(self._task, advance=1, loss=event.loss, acc=event.acc)

    @hookimpl
    def cmp_epoch_finished(self, event: EpochFinished, run: Run) -> None:
        """Print the line of the epoch."""
        if event.epoch == 0:
            self._print(f"untrained    val loss {event.val_loss:8.4f}  val acc {event.acc:.4f}")
            return
        width = len(str(run.config.epochs))
        loss = self._loss_sum / max(1, self._steps)
        best = "  best" if event.is_best else ""
        self._print(
            f"epoch {event.epoch:>{width}}/{run.config.epochs}  loss {loss:8.4f}  "
            f"val loss {event.val_loss:8.4f}  val acc {event.acc:.4f}{best}"
        )

    @hookimpl
    def cmp_run_failed(self, event: RunFailed, run: Run) -> None:
        """Take the bar away, and after Ctrl-C say how to go on."""
        self._bar.stop()
        if not isinstance(event.error, KeyboardInterrupt) or run.directory is None:
            return
        self._print(f"interrupted in epoch {event.epoch}, after step {event.step}")
        has_any = (run.directory / LAST).exists()
        how = "go on from the last checkpoint" if has_any else "begin it again"
        if event.state:
            how = "state saved; go on"
        self._print(f"{how} with: cmp run --resume {run.directory}")

    @hookimpl
    def cmp_run_finished(self, event: RunFinished) -> None:
        """Take the bar away."""
        self._bar.stop()

    def _print(self, line: str) -> None:
        for part in folded(line, self._console):
            self._console.print(Text(part))
