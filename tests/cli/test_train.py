"""Tests of `cmp train`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmp_core.analysis.questions import QUESTIONS
from tests.cli.calls import QUICK, assert_refused, call, directory


def test_training_ends_without_test_pictures_and_report() -> None:
    result = call("train", *QUICK, "--metrics", "accuracy,linear_cka")
    assert (result.exit_code, result.stderr) == (0, "")
    run = directory(result)
    assert result.stdout.endswith(f"files in {run}\ntest the best weights with: cmp eval {run}\n")
    assert not any(title in result.stdout for title in QUESTIONS.values())
    for name in ("plots", "report.html", "test_results.json"):
        assert not (run / name).exists()
    assert list(run.glob("activations/*.h5"))


def test_what_is_given_changes_the_configuration() -> None:
    result = call("train", *QUICK, "--metrics", "", "--no-snapshots", "--set", "model=mlp")
    assert "snapshot" not in result.output
    run = directory(result)
    assert run.parent.name == "mlp"
    assert not (run / "activations").exists()
    assert "metrics: []" in (run / "params.yaml").read_text()


def test_a_run_of_one_s_own_file_goes_on_where_it_stopped() -> None:
    Path("mine.yaml").write_text("model: mlp\nN: 24\nlayers: 2\nepochs: 1\nmetrics: []\n")
    run = directory(call("train", "-c", "mine.yaml"))
    before = (run / "log.jsonl").read_text()
    again = call("train", "--resume", run)
    assert (again.exit_code, again.stderr) == (0, "")
    assert directory(again) == run
    assert (run / "log.jsonl").read_text() == before


def test_a_plugin_that_fails_costs_exit_code_3() -> None:
    Path("bad.py").write_text(
        "from cmp_core import hookimpl\n"
        "@hookimpl\ndef cmp_epoch_finished(event):\n    raise ValueError('no such luck')\n"
    )
    result = call("train", *QUICK, "--metrics", "", "-p", "bad.py")
    assert result.exit_code == 3
    assert result.stderr == (
        "warning: plugin bad was switched off in cmp_epoch_finished: ValueError: no such luck "
        f"(traceback: {directory(result)}/plugin_errors.log)\n"
    )


def test_a_dangerous_weight_is_warned_about() -> None:
    result = call("train", *QUICK, "--metrics", "", "--set", "lambda_ace=0.5")
    assert result.exit_code == 0
    assert "warning: lambda_ace = 0.5 with ace_variant ce_i_next" in result.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --plots heatmap", "unknown option"),
        ("train --resume x --metrics margin", "only --set, --allow-changes and"),
        ("train --plugins-from-run", "--plugins-from-run is for --resume"),
        ("train --resume x --no-snapshots", "only --set, --allow-changes and"),
        ("train --resume x -c greedy_mnist", "only --set, --allow-changes and"),
        ("train --resume none", "run 'none' does not exist"),
    ],
)
def test_wrong_input_is_told_and_writes_nothing(command: str, message: str) -> None:
    assert_refused(command, message)
