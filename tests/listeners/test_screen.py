"""Tests of `cmp_core.listeners.screen`, in a pipe and in a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from cmp_core.config.schema import Config
from cmp_core.errors import TrainingError
from cmp_core.events.payloads import (
    EpochFinished,
    EpochStarted,
    Run,
    RunFailed,
    RunFinished,
    RunStarted,
    StepFinished,
)
from cmp_core.listeners.screen import Screen

RUN = Run(Config(epochs=10), ("a", "b"), ("layer_0",), Path("/some [red]where[/red]"))


def epoch(number: int, acc: float, is_best: bool) -> EpochFinished:
    return EpochFinished(number, 2 * number, acc, 0.5, (), (), 1, 1, is_best, dict)


def shown(*, terminal: bool = False, ends: tuple[RunFailed, ...] = ()) -> str:
    """What stands on the screen after an epoch of two steps, and an end."""
    file = io.StringIO()
    screen = Screen(Console(file=file, force_terminal=terminal, width=200, soft_wrap=True))
    screen.cmp_run_started(RunStarted("GreedyMLP", 12345, "cpu", 2), RUN)
    screen.cmp_epoch_finished(epoch(0, 0.25, False), RUN)
    screen.cmp_epoch_started(EpochStarted(1, 2), RUN)
    for step, loss in ((1, 3.0), (2, 2.0)):
        screen.cmp_step_finished(StepFinished(1, step, step, loss, 0.5, 32))
    screen.cmp_epoch_finished(epoch(1, 0.75, True), RUN)
    for end in ends:
        screen.cmp_run_failed(end, RUN)
    if not ends:
        screen.cmp_run_finished(RunFinished(1, 2))
    return file.getvalue()


LINES = """\
greedy (12,345 parameters) on digits, 10 epochs of 2 steps, cpu
run directory /some [red]where[/red]
untrained    val loss   0.5000  val acc 0.2500
epoch  1/10  loss   2.5000  val loss   0.5000  val acc 0.7500  best
"""


def test_a_pipe_gets_a_plain_line_for_each_epoch() -> None:
    assert shown() == LINES


def test_a_terminal_has_a_bar_as_well() -> None:
    bar = shown(terminal=True)
    assert "steps · loss" in bar
    for line in LINES.splitlines():
        assert line in bar


def test_after_an_interruption_it_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = shown(ends=(RunFailed(KeyboardInterrupt(), 1, 2, dict),))
    assert saved == LINES + (
        "interrupted in epoch 1, after step 2\n"
        "state saved; go on with: cmp run --resume /some [red]where[/red]\n"
    )
    unsaved = (RunFailed(KeyboardInterrupt(), 1, 2),)
    assert "begin it again with: cmp run --resume" in shown(ends=unsaved)
    monkeypatch.setattr(Path, "exists", lambda _: True)  # there is a checkpoint
    assert "go on from the last checkpoint with: cmp run --resume" in shown(ends=unsaved)


def test_another_error_is_for_others_to_tell() -> None:
    assert shown(ends=(RunFailed(TrainingError("no"), 1, 2),)) == LINES
