"""Tests of the last screen."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest

from cmp_core.analysis.questions import QUESTIONS, Answer
from cmp_core.cli._results import (
    exit_code,
    print_answers,
    print_confusion,
    print_failures,
    print_test,
)
from cmp_core.plugins.failures import Failure
from cmp_core.workflow import Outcome

OUTCOME = Outcome(
    directory=Path("run"),
    class_names=("a", "[b]"),
    results={
        "acc_layers": {"[red]0": 0.25, "head": 0.98765},
        "checkpoint": "best",
        "epoch": 3,
        "acc": 0.98765,
        "n": 12345,
    },
    confusion=np.array([[100, 0], [7, 20]]),
    failures=(),
    plugin_errors=Path("run/plugin_errors.log"),
    plots=(),
)
FAILURE = Failure("mine", "cmp_epoch_finished", "ValueError: [no]", "Traceback", disabled=True)
Screen = pytest.CaptureFixture[str]


def test_every_layer_has_a_line(capsys: Screen) -> None:
    print_test(OUTCOME)
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "[red]0 0.2500 ± 0.0076" in rows  # 1.96 √(¼ · ¾ / 12,344)
    assert "head 0.9877 ± 0.0019" in rows
    told = "best checkpoint, epoch 3: test accuracy 0.9877 (n = 12,345; ±: 95 % interval)"
    assert rows[-1] == told


def test_the_confusion_matrix_is_aligned_and_has_dots_for_zeros(capsys: Screen) -> None:
    print_confusion(OUTCOME)
    assert capsys.readouterr().out.splitlines()[2:] == [
        "       a  [b]",
        "a    100    ·",
        "[b]    7   20",
    ]


@pytest.mark.parametrize(
    ("failures", "code", "told"),
    [
        ((), 0, ""),
        (
            (attrs.evolve(FAILURE, disabled=False, count=4),),
            0,
            "warning: plugin mine raised 4 times in cmp_epoch_finished: ValueError: [no] "
            "(traceback: errors.log)\n",
        ),
        (
            (FAILURE,),
            3,
            "warning: plugin mine was switched off in cmp_epoch_finished: ValueError: [no] "
            "(traceback: errors.log)\n",
        ),
    ],
)
def test_only_a_plugin_that_was_switched_off_costs_the_exit_code(
    failures: tuple[Failure, ...], code: int, told: str, capsys: Screen
) -> None:
    print_failures(failures, Path("errors.log"))
    assert capsys.readouterr().err == told
    assert exit_code(failures) == code


def test_without_evidence_the_reason_stands_in_its_place(capsys: Screen) -> None:
    print_answers([Answer(question, 1, notes=("[why]",)) for question in QUESTIONS])
    shown = capsys.readouterr().out
    for title in QUESTIONS.values():
        assert title in shown
    assert shown.count("no evidence\n  [why]\n") == 3
    assert "one seed is described" not in shown
