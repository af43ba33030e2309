"""Interruption, death and divergence: what is left, and how a run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import pytest
import torch

from cmp_core import hookimpl, resume, run
from cmp_core.config.schema import Config
from cmp_core.errors import TrainingError, UsageError
from cmp_core.listeners.checkpoints import CheckpointWriter
from cmp_core.runs.directory import save_whole, write_whole
from cmp_core.training.trainer import Trainer, _on
from tests.run_files import lines, newest


class _CutError(Exception):
    """Stands for a process that dies."""


def interrupt(config: Config, step: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Press Ctrl-C in a run after a step, and return the run's directory."""
    original = Trainer._train_step

    def train_step(self: Trainer, batch: Any) -> None:
        original(self, batch)
        if self.progress.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", train_step)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    return newest(Path(config.out) / config.dataset / config.model)


@pytest.mark.parametrize("model", ["greedy", "mlp"])
@pytest.mark.parametrize("step", [3, 11, 15])
def test_a_run_stopped_between_steps_resumes_as_if_nothing_had_happened(
    tiny: Config, monkeypatch: pytest.MonkeyPatch, model: str, step: int
) -> None:
    config = attrs.evolve(tiny, model=model)
    expected = run(config)
    directory = interrupt(config, step, monkeypatch)
    assert json.loads((directory / "status.json").read_text())["state"] == "interrupted"
    assert len([e for e in lines(directory) if e["phase"] == "train"]) == step
    outcome = resume(directory)
    assert lines(directory) == lines(expected.directory)
    assert outcome.results == expected.results
    assert json.loads((directory / "status.json").read_text())["state"] == "finished"


def test_a_killed_run_resumes_from_its_last_checkpoint(
    tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(tiny)
    original = Trainer._train_step

    def die(self: Trainer, batch: Any) -> None:
        original(self, batch)
        if self.progress.step == 14:
            raise _CutError

    monkeypatch.setattr(Trainer, "_train_step", die)
    with pytest.raises(_CutError):
        run(tiny)
    monkeypatch.undo()
    directory = newest(expected.directory.parent)
    with (directory / "log.jsonl").open("a") as log:
        log.write('{"phase": "train", "epo')  # the line that was being written
    resume(directory)
    assert lines(directory) == lines(expected.directory)


def test_a_run_killed_between_log_and_checkpoint_loses_no_line(
    tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is on the disk before the checkpoint that has its lines behind it."""
    saved: list[int] = []
    original = CheckpointWriter.cmp_epoch_finished

    def look(self: CheckpointWriter, event: Any, run: Any) -> None:
        entry = json.loads((self._folder / "log.jsonl").read_text().splitlines()[-1])
        assert (entry["phase"], entry["epoch"]) == ("val", event.epoch)
        saved.append(event.epoch)
        original(self, event, run)

    monkeypatch.setattr(CheckpointWriter, "cmp_epoch_finished", hookimpl(look))
    run(tiny)
    assert saved == [0, 1, 2]


STREAMED = """
import torch
from torch.utils.data import Dataset
from cmp_core import RawData, Stream, hookimpl

class Noise(Dataset):
    def __len__(self):
        return 400

    def __getitem__(self, index):
        g = torch.Generator().manual_seed(index)
        return torch.randint(0, 255, (1, 6, 6), generator=g, dtype=torch.uint8), index % 3

@hookimpl
def cmp_register_datasets(register):
    labels = torch.arange(400) % 3
    make = lambda config: RawData(Stream(Noise(), labels), None, ("a", "b", "c"), augment=True)
    register(make, name="noise")
"""


def test_a_streamed_and_augmented_run_resumes_as_if_nothing_had_happened(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "streamed.py"
    path.write_text(STREAMED)
    config = attrs.evolve(tiny, dataset="noise", plugins=(str(path),), batch_size=64)
    expected = run(config)
    directory = interrupt(config, 2, monkeypatch)
    resume(directory)
    assert lines(directory) == lines(expected.directory)


def test_a_refused_resume_leaves_the_log_alone(tiny: Config) -> None:
    outcome = run(tiny)
    torch.save({"of": "another program"}, outcome.directory / "last.pt")
    before = (outcome.directory / "log.jsonl").read_bytes()
    with pytest.raises(UsageError, match="does not fit"):
        resume(outcome.directory)
    assert (outcome.directory / "log.jsonl").read_bytes() == before


def test_a_run_without_a_checkpoint_resumes_from_its_start(tiny: Config) -> None:
    outcome = run(tiny)
    before = lines(outcome.directory)
    for name in ("last.pt", "best.pt"):
        (outcome.directory / name).unlink()
    assert resume(outcome.directory).results == outcome.results
    assert lines(outcome.directory) == before


def test_a_plugin_that_raises_at_the_end_does_not_hide_the_interruption(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bad.py"
    path.write_text(
        "import os, signal\nfrom cmp_core import hookimpl\n"
        "@hookimpl\ndef cmp_step_finished(event):\n"
        "    if event.step == 5:\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "@hookimpl\ndef cmp_run_failed():\n    raise ValueError\n"
    )
    with pytest.raises(KeyboardInterrupt):
        run(attrs.evolve(tiny, plugins=(str(path),), on_plugin_error="raise"))
    directory = newest(Path(tiny.out) / "digits" / "greedy")
    assert (directory / "last.pt").exists()
    assert json.loads((directory / "status.json").read_text())["state"] == "interrupted"


def test_resuming_a_finished_run_tests_it_again(tiny: Config) -> None:
    outcome = run(tiny)
    before = lines(outcome.directory)
    assert resume(outcome.directory).results == outcome.results
    assert lines(outcome.directory) == before


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cmp_core", "run", "--set", "epochs=500"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("epoch"))
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130
    (directory,) = (tmp_path / "runs" / "digits" / "greedy").iterdir()
    assert f"state saved; go on with: cmp run --resume {directory}" in rest
    assert (directory / "last.pt").exists()


def test_divergence_ends_the_run_with_a_reason(tiny: Config) -> None:
    config = attrs.evolve(
        tiny, similarity="l2", lr=1e20, lambda_ace=0.0, scheduler="constant", warmup_ratio=0
    )
    with pytest.raises(TrainingError, match="training has diverged"):
        run(config)
    (directory,) = (Path(tiny.out) / "digits" / "greedy").iterdir()
    status = json.loads((directory / "status.json").read_text())
    assert status["state"] == "failed"
    assert "diverged" in status["error"]
    assert lines(directory)[-1]["loss"] is None


def test_divergence_may_be_watched(tiny: Config) -> None:
    config = attrs.evolve(
        tiny, similarity="l2", lr=1e20, lambda_ace=0.0, detect_divergence=False, warmup_ratio=0
    )
    outcome = run(config)
    last = lines(outcome.directory)[-1]
    assert last["val_loss"] is None
    assert outcome.results["loss"] is None
    assert "layer_2" in last["missing"]
    assert "NaN or infinity" in last["missing"]["layer_2"]["margin"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_whole(path, "old")

    def cut(file: BinaryIO) -> None:
        file.write(b"half of the n")
        raise _CutError

    with pytest.raises(_CutError):
        save_whole(path, cut)
    assert path.read_text() == "old"
    assert list(tmp_path.glob(".status*")) == []


def test_states_of_running_metrics_go_to_the_device_of_the_run() -> None:
    state = {"ema": {"layer_0": {"mean": torch.zeros(2), "count": 3, "none": None}}}
    moved = _on(torch.device("meta"), state)["ema"]["layer_0"]
    assert moved["mean"].device.type == "meta"
    assert (moved["count"], moved["none"]) == (3, None)
