"""Tests of `cmp eval`."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from cmp_core.workflow import Outcome
from tests.cli.calls import assert_refused, call


def test_it_prints_the_accuracies_of_the_run_again(tiny_copy: Outcome) -> None:
    result = call("eval", tiny_copy.directory)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = dict(re.findall(r"(layer_\d) +(0\.\d{3}) ± 0\.\d{3}", result.stdout))
    assert shown == {name: f"{x:.3f}" for name, x in tiny_copy.results["acc_layers"].items()}
    epoch, acc = tiny_copy.results["epoch"], tiny_copy.results["acc"]
    assert f"best checkpoint, epoch {epoch}: test accuracy {acc:.4f} (n = 359;" in result.stdout
    assert result.stdout.endswith(f"files in {tiny_copy.directory}\n")
    assert "confusion" not in result.stdout


def test_the_last_weights_have_a_folder_of_their_own(tiny_copy: Outcome) -> None:
    result = call("eval", tiny_copy.directory, "--checkpoint", "last")
    assert "last checkpoint, epoch 2: test accuracy" in result.stdout
    assert result.stdout.endswith(f"files in {tiny_copy.directory}/eval_last\n")


def test_the_confusion_matrix_is_printed_where_it_is_asked_for(tiny_copy: Outcome) -> None:
    assert tiny_copy.confusion is not None
    shown = call("eval", tiny_copy.directory, "--confusion").stdout.splitlines()
    start = shown.index("confusion matrix: a row per true class, a column per predicted class")
    assert shown[start + 1].split() == [str(i) for i in range(10)]
    for line, (name, row) in zip(
        shown[start + 2 :], enumerate(tiny_copy.confusion.tolist()), strict=True
    ):
        assert line.replace("·", "0").split() == [str(name), *map(str, row)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--checkpoint first", "'first' is not one of 'best', 'last'"),
        ("--set lr=1", "only data_dir, device, num_workers may be changed"),
        ("--set device=cuda:99", "this machine has no device 'cuda:99'"),
    ],
)
def test_wrong_input_is_told_and_writes_nothing(
    tiny_run: Callable[..., Outcome], options: str, message: str
) -> None:
    assert_refused(f"eval {tiny_run().directory} {options}", message)
    assert_refused("eval nowhere", "run 'nowhere' does not exist")
