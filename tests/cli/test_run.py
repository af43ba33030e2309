"""`cmp run` as a user meets it: what is printed, and the exit code."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.calls import QUICK, Cmp, assert_refused, call, directory


def test_a_run_in_a_pipe_prints_plain_lines_and_the_results(cmp: Cmp, tmp_path: Path) -> None:
    done = cmp(
        "run",
        *("--set", "epochs=2", "--set", "N=32", "--metrics", "margin"),
        *("--plots", "training_curves"),
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    shown = done.stdout.splitlines()
    assert shown[0] == "greedy (5,248 parameters) on digits, 2 epochs of 41 steps, cpu"
    stored = "3 snapshots of 144 val samples, the last with 1,150 training samples that probes are"
    assert shown[2] == f"{stored} fitted to: 1.5 MB in all before compression"
    assert [line.split()[0] for line in shown[3:6]] == ["untrained", "epoch", "epoch"]
    assert re.search(r"layer_3 +0\.\d+ ± 0\.\d+", done.stdout)
    directory = shown[1].removeprefix("run directory ")
    assert shown[-1] == f"files in {directory}: report.html, 1 picture in plots"
    (accuracy,) = re.findall(r"test accuracy (0\.\d{4})", done.stdout)

    resumed = call("run", "--resume", directory)
    assert f"test accuracy {accuracy} " in resumed.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM, signal.SIGHUP]
)
def test_a_signal_to_stop_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    small = ["--set", "epochs=500", "--set", "N=32", "--metrics", ""]
    command = [sys.executable, "-m", "cmp_core", "run", *small]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("epoch"))
        process.send_signal(number)
        rest = process.stdout.read()
    assert process.returncode == 130
    (directory,) = (tmp_path / "runs" / "digits" / "greedy").iterdir()
    assert f"state saved; go on with: cmp run --resume {directory}" in rest
    assert (directory / "last.pt").exists()
    assert json.loads((directory / "status.json").read_text())["state"] == "interrupted"


SHORT = ["--set", "epochs=2", "--set", "N=32", "--metrics", "accuracy", "--no-snapshots"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_signal_that_is_ignored_ends_nothing(tmp_path: Path) -> None:
    """As `nohup cmp train &` has it."""
    call = ["nohup", sys.executable, "-m", "cmp_core", "train", *SHORT, "--set", "epochs=20"]
    with subprocess.Popen(call, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("epoch"))
        process.send_signal(signal.SIGHUP)
        rest = process.stdout.read()
    assert process.returncode == 0
    assert "epoch 20/20" in rest


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
@pytest.mark.parametrize("command", [pytest.param("train", marks=pytest.mark.slow), "run"])
def test_a_lost_screen_ends_no_run(tmp_path: Path, command: str) -> None:
    more = ["--plots", "training_curves"] if command == "run" else []
    call = [sys.executable, "-m", "cmp_core", command, *SHORT, *more]
    with subprocess.Popen(
        call, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()  # as head does
        told = process.stderr.read()
    assert process.returncode == 0, told
    assert told.count("warning: standard output is lost (") == 1
    (directory,) = (tmp_path / "runs" / "digits" / "greedy").iterdir()
    assert json.loads((directory / "status.json").read_text())["state"] == "finished"
    assert (directory / "report.html").exists() == (command == "run")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_under_the_screen_ends_no_run(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "cmp_core", "train", *SHORT]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            call, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "No space left on device" in done.stderr
    (status,) = tmp_path.rglob("status.json")
    assert json.loads(status.read_text())["state"] == "finished"


@pytest.mark.usefixtures("_inside")
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run --set laers=3", "laers: unknown key 'laers'; did you mean 'layers'?"),
        ("""run --set "layers='4'" """, "layers: expected a whole number, got '4'"),
        ("run --set lambda_ace=[0.1]", "a list of layers - 1 = 3 numbers, got a list of 1"),
        ("run --set dataset=mnits", "dataset: unknown dataset 'mnits'; did you mean 'mnist'?"),
        ("run --set model=greddy", "model: unknown model 'greddy'; did you mean 'greedy'?"),
        ("run --set learning_rule=backprob", "did you mean 'backprop'?"),
        ("run --metrics acuracy", "unknown metric 'acuracy'; did you mean 'accuracy'?"),
        ("run --metrics '{name: margin, x: 1}'", "metric 'margin': unknown option 'x'"),
        ("run --metrics [margin", "--metrics is not valid YAML"),
        ("run -c gredy_mnist", "unknown preset 'gredy_mnist'; did you mean 'greedy_mnist'?"),
        ("run -c broken.yaml", "'broken.yaml' is not valid YAML (line 2"),
        ("run -c none.yml", "configuration 'none.yml' does not exist"),
        ("run -p none.py", "-p none.py: there is no such file"),
        ("run --plugins-dir none", "--plugins-dir: 'none' is not a folder"),
        ("run --set margins=[1]", "margins: expected {metric: number}, got [1]"),
        ("run --set 'margins={accuracy: x}'", "margins: accuracy: expected a number, got 'x'"),
        ("run --set 'margins={acuracy: 1}'", "counts as evidence 'acuracy'; did you mean 'accur"),
        ("run --set 'margins={margin: 1}'", "unknown metric that counts as evidence 'margin'"),
        ("run --set 'margins={linear_cka: 2}'", "margins.linear_cka: expected a number above 0"),
        ("run --set N=9", "got N = 9 for 10 classes"),
        ("run --set N=9 --set anchors=block", "got N = 9 for 10 classes"),
        ("run --set device=cuda:99", "device: this machine has no device 'cuda:99'"),
        ("run --set amp=true --set device=cpu", "amp: expected a CUDA device, got cpu"),
        ("run --set dataset=image_folder --set data_dir=none", "dataset image_folder"),
        ("run --set out=file/runs", "out: cannot write to 'file/runs/digits/greedy'"),
        ("run --resume none", "run 'none' does not exist"),
        ("run --set seed=99999999999999999999", "seed: expected a whole number from 0 to"),
        (
            "run --metrics 'acuracy,{name: margin, x: 1}' --set dataset=mnits",
            "has 3 mistakes:\n  dataset: unknown dataset 'mnits'; did you mean 'mnist'?\n"
            "  metrics[0]: unknown metric 'acuracy'; did you mean 'accuracy'?\n  metrics[1]: ",
        ),
        ("run --nonsense", "unknown option"),
        ("run --compare nope", "nope' does not exist"),
        ("run --compare unlogged", "has no log.jsonl"),
        ("run --plots heatmp", "unknown plot 'heatmp'; did you mean 'heatmap'?"),
        ("run --plots '{name: heatmap, layer: head}'", "unknown option 'layer'"),
        ("run --compare confused", "confusion.npy' cannot be read: "),
        ("run --compare unpredicted", "test_predictions.npz' cannot be read: "),
    ],
)
def test_wrong_input_is_told_and_writes_nothing(command: str, message: str) -> None:
    assert_refused(command, message)


def test_missing_data_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")  # nobody listens there
    result = call("run", "-c", "greedy_mnist", "--set", "data_dir=none")
    assert result.exit_code == 2
    assert "train-images-idx3-ubyte" in result.stderr
    assert "--set data_dir=FOLDER" in result.stderr
    assert not any(Path().iterdir())


def test_presets_are_listed() -> None:
    shown = call("run", "--presets").stdout.split()
    assert shown == sorted(shown)
    assert "greedy_mnist" in shown


@pytest.mark.usefixtures("_inside")
def test_stated_margins_judge_the_answers() -> None:
    stated = "margins={accuracy: 0.07, linear_cka: 0.25, participation_ratio: 0.5}"
    metrics = "accuracy,linear_cka,participation_ratio"
    done = call("run", *QUICK, "--metrics", metrics, "--plots", "overview", "--set", stated)
    assert done.exit_code == 0, done.output
    (answers,) = json.loads((directory(done) / "answers.json").read_text()).values()
    margins = {
        found["metric"]: found["margin"]
        for answer in answers.values()
        for found in answer["evidence"]
    }
    fall = -math.log(1 - 0.5)
    assert margins == pytest.approx(
        {"accuracy": 0.07, "linear_cka": 0.25, "participation_ratio": fall}
    )
