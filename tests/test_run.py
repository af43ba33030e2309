"""Whole runs: what they write, that they repeat, and that they can be interrupted."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import numpy as np
import pytest
import torch
from sklearn.metrics import classification_report
from sklearn.metrics import confusion_matrix as sklearn_confusion

from cmp_core import evaluate, hookimpl, resume, run
from cmp_core.config import Config, Selection
from cmp_core.config_io import build_config, read_yaml
from cmp_core.errors import PluginError, TrainingError, UsageError
from cmp_core.listeners.checkpoints import CheckpointWriter
from cmp_core.plugins import load_plugins
from cmp_core.registry import Registry
from cmp_core.run_directory import make_run_directory, save_whole, write_whole
from cmp_core.training import Trainer

FILES = {
    "params.yaml",
    "environment.json",
    "log.jsonl",
    "best.pt",
    "last.pt",
    "test_results.json",
    "test_predictions.npz",
    "confusion.npy",
    "class_report.json",
    "status.json",
}


def lines(directory: Path) -> list[dict[str, Any]]:
    """The log without timestamps, in strict JSON."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not strict JSON")

    text = (directory / "log.jsonl").read_text()
    entries = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
    return [{k: v for k, v in entry.items() if k != "timestamp"} for entry in entries]


def newest(folder: Path) -> Path:
    """The run directory with the highest number."""
    return sorted(folder.iterdir())[-1]


@pytest.mark.parametrize("model", ["greedy", "mlp"])
def test_a_run_leaves_its_directory(tiny: Config, model: str) -> None:
    outcome = run(attrs.evolve(tiny, model=model))
    folder = outcome.directory
    assert folder.parent == Path(tiny.out) / "digits" / model
    assert folder.name.startswith("0001_")
    assert {path.name for path in folder.iterdir()} == FILES
    names = ["layer_0", "layer_1", "layer_2", *(["head"] if model == "mlp" else [])]

    saved = np.load(folder / "test_predictions.npz")
    results = json.loads((folder / "test_results.json").read_text())
    assert set(saved) == {"sample_ids", "labels", *names}
    for name in names:
        hits = float(np.mean(saved[name] == saved["labels"]))
        assert results["acc_layers"][name] == hits
        assert results["metrics"][name]["accuracy"] == pytest.approx(hits, abs=1e-9)
    assert results["acc"] == results["acc_layers"][names[-1]]
    assert len(set(saved["sample_ids"].tolist())) == results["n"] == 359

    predicted = saved[names[-1]]
    confusion = np.load(folder / "confusion.npy")
    assert np.array_equal(confusion, sklearn_confusion(saved["labels"], predicted))
    report = json.loads((folder / "class_report.json").read_text())
    expected = classification_report(saved["labels"], predicted, output_dict=True, zero_division=0)
    assert report["macro avg"]["support"] == expected["macro avg"]["support"]
    assert report["accuracy"] == pytest.approx(expected["accuracy"])

    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["epoch"], status["plugin_errors"]) == ("finished", 2, [])
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["class_names"] == [str(i) for i in range(10)]
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    for name in ("best.pt", "last.pt"):
        torch.load(folder / name, weights_only=True)
    assert len(run(attrs.evolve(tiny, model=model)).directory.name) == len(folder.name)
    assert sorted(p.name[:4] for p in folder.parent.iterdir()) == ["0001", "0002"]


@pytest.mark.parametrize("model", ["greedy", "mlp"])
def test_the_log_has_the_promised_lines(tiny: Config, model: str) -> None:
    config = attrs.evolve(tiny, model=model, metrics_log_frequency=4)
    entries = lines(run(config).directory)
    train = [entry for entry in entries if entry["phase"] == "train"]
    val = [entry for entry in entries if entry["phase"] == "val"]
    per_epoch = math.ceil((1797 - 359 - 144) / 128)
    assert [entry["step"] for entry in train] == list(range(1, 2 * per_epoch + 1))
    assert [entry["iter"] for entry in train] == 2 * list(range(1, per_epoch + 1))
    assert [entry["epoch"] for entry in train] == [1] * per_epoch + [2] * per_epoch
    assert [entry["step"] for entry in train if "metrics" in entry] == [4, 8, 12, 16, 20]
    assert [(entry["epoch"], entry["iter"]) for entry in val] == [(0, 0), (1, 0), (2, 0)]
    assert entries[0]["phase"] == "val"
    base = {"phase", "epoch", "iter"}
    for entry in train:
        assert base | {"step", "loss", "acc"} <= entry.keys()
        if "metrics" in entry:
            assert entry["n"] in (128, (1797 - 359 - 144) % 128)
    for entry in val:
        assert base | {"acc", "val_loss", "metrics", "train_metrics", "reference"} <= entry.keys()
        assert not {"loss", "step"} & entry.keys()
        last = "head" if model == "mlp" else "layer_2"
        assert entry["metrics"][last]["accuracy"] == pytest.approx(entry["acc"], abs=1e-9)
        assert entry["n"] == entry["train_n"] == 144
        if model == "mlp":
            assert entry["missing"]["head"]["alignment"] == "head has no anchors"
            assert "ace_regularizer" in entry["metrics"]["layer_2"]
        else:
            assert entry["missing"]["layer_2"]["ace_regularizer"] == "layer_2 is the last layer"
            assert "ace_regularizer" in entry["metrics"]["layer_1"]
        assert {"accuracy", "margin"} <= entry["reference"].keys()


def test_one_seed_gives_one_log(tiny: Config) -> None:
    first, second = (lines(run(tiny).directory) for _ in range(2))
    assert first == second
    assert lines(run(attrs.evolve(tiny, seed=1)).directory) != first


def test_measuring_does_not_change_training(tiny: Config) -> None:
    measured = lines(run(tiny).directory)
    bare = lines(run(attrs.evolve(tiny, metrics=())).directory)
    keys = ("phase", "epoch", "loss", "acc", "val_loss")
    for a, b in zip(measured, bare, strict=True):
        assert [a.get(key) for key in keys] == [b.get(key) for key in keys]
    assert not any("missing" in entry for entry in bare)


def test_epoch_frequency_measures_no_batches(tiny: Config) -> None:
    entries = lines(run(attrs.evolve(tiny, metrics_frequency="epoch")).directory)
    assert {entry["phase"] for entry in entries if "metrics" in entry} == {"val"}


def test_params_give_the_same_run_from_any_folder(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = run(attrs.evolve(tiny, out="here", plugins=("cmp:sparsity",))).directory
    params = build_config(read_yaml(directory / "params.yaml"))
    assert Path(params.out).is_absolute()
    assert Path(params.data_dir).is_absolute()
    assert "sparsity" in {selection.name for selection in params.metrics}
    monkeypatch.chdir(tmp_path)
    assert lines(run(params).directory) == lines(directory)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


# Evaluation


@pytest.mark.parametrize("model", ["greedy", "mlp"])
def test_eval_prints_what_the_run_printed(tiny: Config, model: str) -> None:
    outcome = run(attrs.evolve(tiny, model=model, epochs=3, lr=0.01))
    before = {p.name: p.read_bytes() for p in outcome.directory.iterdir()}
    again = evaluate(outcome.directory)
    assert again.results == outcome.results
    for name in ("test_results.json", "confusion.npy", "class_report.json", "best.pt"):
        assert (outcome.directory / name).read_bytes() == before[name]


def test_eval_of_the_last_weights_keeps_its_files_apart(tiny: Config) -> None:
    outcome = run(tiny)
    before = (outcome.directory / "test_results.json").read_bytes()
    last = evaluate(outcome.directory, "last")
    assert last.results["checkpoint"] == "last"
    assert last.directory == outcome.directory / "eval_last"
    assert (outcome.directory / "test_results.json").read_bytes() == before


def test_the_best_epoch_is_the_tested_one(tiny: Config) -> None:
    outcome = run(attrs.evolve(tiny, epochs=4, lr=0.02, scheduler="constant"))
    accs = {e["epoch"]: e["acc"] for e in lines(outcome.directory) if e["phase"] == "val"}
    del accs[0]
    assert outcome.results["epoch"] == max(accs, key=lambda epoch: (accs[epoch], -epoch))


@pytest.mark.parametrize("damage", ["no run", "no params", "no checkpoint", "torn", "other shape"])
def test_eval_of_what_is_not_a_run_is_told(tiny: Config, tmp_path: Path, damage: str) -> None:
    directory = tmp_path / "nothing"
    words = "does not exist"
    if damage != "no run":
        directory = run(tiny).directory
    if damage == "no params":
        directory, words = directory.parent, f"did you mean '{directory}'"
    elif damage == "no checkpoint":
        (directory / "best.pt").unlink()
        words = "stopped before it was written"
    elif damage == "torn":
        (directory / "best.pt").write_bytes(b"PK\x03\x04" + b"x" * 100)
        words = "is not a checkpoint that can be read"
    elif damage == "other shape":
        params = directory / "params.yaml"
        params.write_text(params.read_text().replace("N: 24", "N: 30"))
        words = "the checkpoint does not fit params.yaml"
    with pytest.raises(UsageError) as caught:
        evaluate(directory)
    assert words in str(caught.value)
    if damage == "other shape":
        with pytest.raises(UsageError, match="does not fit"):
            resume(directory)


# Interruption and failure


class _CutError(Exception):
    """Stands for a process that dies."""


@pytest.mark.parametrize("model", ["greedy", "mlp"])
@pytest.mark.parametrize("step", [3, 11, 15])
def test_a_run_stopped_between_steps_resumes_as_if_nothing_had_happened(
    tiny: Config, monkeypatch: pytest.MonkeyPatch, model: str, step: int
) -> None:
    config = attrs.evolve(tiny, model=model)
    expected = run(config)
    original = Trainer._train_step

    def interrupt_at(self: Trainer, batch: Any) -> None:
        original(self, batch)
        if self.progress.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "_train_step", interrupt_at)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    monkeypatch.undo()
    directory = newest(expected.directory.parent)
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
    original = Trainer._train_step

    def interrupt(self: Trainer, batch: Any) -> None:
        original(self, batch)
        if self.progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "_train_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    monkeypatch.undo()
    directory = newest(expected.directory.parent)
    resume(directory)
    assert lines(directory) == lines(expected.directory)


def test_the_test_event_names_the_step_of_the_weights(tiny: Config, tmp_path: Path) -> None:
    path = tmp_path / "steps.py"
    path.write_text(
        "from pathlib import Path\nfrom cmp_core import hookimpl\n"
        "@hookimpl\ndef cmp_layer_activations(event):\n"
        "    if event.phase == 'test':\n"
        f"        with Path({str(tmp_path / 'seen')!r}).open('a') as file:\n"
        "            file.write(f'{event.epoch} {event.step} ')\n"
    )
    outcome = run(attrs.evolve(tiny, plugins=(str(path),), epochs=4, lr=0.02))
    evaluate(outcome.directory)
    epoch, step, *again = (tmp_path / "seen").read_text().split()
    assert again == [epoch, step]
    assert int(step) == 11 * int(epoch)


def test_a_run_with_a_plugins_folder_can_be_tested_again(tiny: Config, tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "good.py").write_text(BAD.format(act="pass").replace('"bad"', '"good"'))
    (folder / "broken.py").write_text("1 / 0")
    config = attrs.evolve(tiny, plugins=("no:broken", "no:margin"))
    outcome = run(config, plugins_dir=folder)
    assert "good" in outcome.results["metrics"]["layer_0"]
    assert evaluate(outcome.directory).results == outcome.results


def test_labels_that_meet_are_told_before_a_directory_is_made(tiny: Config) -> None:
    metrics = (Selection("accuracy", "sparsity"),)
    with pytest.raises(UsageError, match="two have the label 'sparsity'"):
        run(attrs.evolve(tiny, metrics=metrics, plugins=("cmp:sparsity",)))
    assert not Path(tiny.out).exists()


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


def test_a_run_can_be_told_where_its_data_is_now_and_nothing_else(tiny: Config) -> None:
    outcome = run(tiny)
    again = evaluate(outcome.directory, settings=["data_dir=elsewhere", "device=cpu"])
    assert again.results == outcome.results
    with pytest.raises(UsageError, match="only data_dir, device, num_workers may be changed"):
        resume(outcome.directory, settings=["lr=1"])


def test_a_factory_that_raises_is_named(tiny: Config, tmp_path: Path) -> None:
    path = tmp_path / "away.py"
    path.write_text(
        "from cmp_core import hookimpl\ndef load(config):\n    raise ValueError('gone')\n"
        "@hookimpl\ndef cmp_register_datasets(register):\n    register(load, name='away')\n"
    )
    with pytest.raises(PluginError, match=r"dataset 'away' of .*away\.py raised ValueError: gone"):
        run(attrs.evolve(tiny, dataset="away", plugins=(str(path),)))


def test_resuming_a_finished_run_tests_it_again(tiny: Config) -> None:
    outcome = run(tiny)
    before = lines(outcome.directory)
    assert resume(outcome.directory).results == outcome.results
    assert lines(outcome.directory) == before


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


# Plugins in a run

BAD = """
from cmp_core import hookimpl, metric

@metric("bad", per_sample=True)
def bad(view):
    '''Writes, or raises, in the second epoch.'''
    if view._event.epoch == 2:
        {act}
    return view.activations.mean(1)

@hookimpl
def cmp_register_metrics(register):
    register(bad)
"""


@pytest.mark.parametrize(
    "act",
    [
        "raise ValueError('no')",
        "exit(4)",
        "view.activations.zero_()",
        "view._event.layers[0].anchors.zero_()",
        "view.labels.zero_()",
    ],
)
@pytest.mark.parametrize("model", ["greedy", "mlp"])
def test_a_failing_plugin_costs_its_own_numbers(
    tiny: Config, tmp_path: Path, act: str, model: str
) -> None:
    path = tmp_path / "bad.py"
    path.write_text(BAD.format(act=act))
    tiny = attrs.evolve(tiny, model=model)
    expected = lines(run(tiny).directory)
    outcome = run(attrs.evolve(tiny, plugins=(str(path),)))
    (failure,) = outcome.failures
    assert (failure.plugin, failure.disabled) == ("metric:bad", True)
    assert failure.error in (outcome.directory / "plugin_errors.log").read_text()
    status = json.loads((outcome.directory / "status.json").read_text())
    assert status["plugin_errors"][0]["error"] == failure.error
    entries = lines(outcome.directory)
    assert entries[0]["metrics"]["layer_0"].pop("bad") > 0
    final = entries[-1]
    assert final["missing"]["layer_1"]["bad"] == f"error: {failure.error}"
    for found, entry in zip(entries, expected, strict=True):
        for kind in ("metrics", "train_metrics", "reference", "train_reference"):
            for name, values in entry.get(kind, {}).items():
                if isinstance(values, dict):
                    assert {k: v for k, v in found[kind][name].items() if k != "bad"} == values
                else:
                    assert found[kind][name] == values
        assert (found["acc"], found.get("loss")) == (entry["acc"], entry.get("loss"))


def test_plugin_errors_may_stop_the_run(tiny: Config, tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(BAD.format(act="raise ValueError('no')"))
    with pytest.raises(PluginError, match="plugin 'metric:bad' raised"):
        run(attrs.evolve(tiny, plugins=(str(path),), on_plugin_error="raise"))


class _Recorder:
    """Notes which events came in which order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @hookimpl
    def cmp_run_started(self) -> None:
        self.events.append("run started")

    @hookimpl
    def cmp_epoch_started(self, event: Any) -> None:
        self.events.append(f"epoch {event.epoch} started")

    @hookimpl
    def cmp_layer_activations(self, event: Any) -> None:
        self.events.append(f"{event.phase} {event.part}")

    @hookimpl
    def cmp_split_finished(self, event: Any) -> None:
        self.events.append(f"{event.phase} finished")

    @hookimpl
    def cmp_epoch_finished(self, event: Any) -> None:
        self.events.append(f"epoch {event.epoch} finished")

    @hookimpl
    def cmp_run_finished(self) -> None:
        self.events.append("run finished")


def test_events_come_in_the_promised_order(tiny: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = _Recorder()

    def load(*args: Any) -> Any:
        plugins = load_plugins(*args)
        plugins.manager.register(recorder)
        return plugins

    monkeypatch.setattr("cmp_core.workflow.load_plugins", load)
    run(attrs.evolve(tiny, epochs=1, batch_size=512, metrics_log_frequency=3))
    splits = ["val chunk", "val finished", "train chunk", "train finished"]
    assert recorder.events == [
        "run started",
        *splits,
        "epoch 0 finished",
        "epoch 1 started",
        "train batch",
        *splits,
        "epoch 1 finished",
        "test chunk",
        "test finished",
        "run finished",
    ]


OUTSIDE = """
import torch
from cmp_core import GradientRule, Images, Layer, LayeredModel, RawData, hookimpl

class Linear(LayeredModel):
    learning_rule = "signs"

    def __init__(self, d, c):
        super().__init__()
        self.layers = torch.nn.ModuleList()
        self.head = torch.nn.Linear(d, c)

    def forward(self, inputs, detach=False):
        logits = self.head(inputs.flatten(1))
        return (Layer("head", 0, "head", logits, scores=logits),)

class Signs(GradientRule):
    def losses(self, layers, labels):
        return torch.nn.functional.cross_entropy(layers[-1].scores, labels).reshape(1)

    def parameter_groups(self):
        return [list(self.model.parameters())]

def blobs(config):
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    centres = 4 * torch.eye(3, 5)
    samples = torch.randn(300, 5, generator=g) + centres[labels]
    return RawData(Images(samples, labels), None, ("a", "b", "c"))

@hookimpl
def cmp_register_datasets(register):
    register(blobs, name="blobs")

@hookimpl
def cmp_register_models(register):
    register(lambda config, d, c: Linear(d, c), name="linear")

@hookimpl
def cmp_register_learning_rules(register):
    register(Signs, name="signs")
"""


def test_a_dataset_a_model_and_a_rule_from_outside(tiny: Config, tmp_path: Path) -> None:
    path = tmp_path / "outside.py"
    path.write_text(OUTSIDE)
    config = attrs.evolve(
        tiny, dataset="blobs", model="linear", plugins=(str(path),), epochs=10, lr=0.05
    )
    outcome = run(config)
    assert outcome.results["acc"] > 0.8
    assert evaluate(outcome.directory).results == outcome.results


def test_one_metric_under_two_labels(tiny: Config) -> None:
    twice = (Selection("margin", "margin"), Selection("margin", "again"))
    last = lines(run(attrs.evolve(tiny, metrics=twice)).directory)[-1]["metrics"]["layer_0"]
    assert last["margin"] == last["again"]


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


def test_a_plugin_that_fails_in_the_test_leaves_its_traceback_there(
    tiny: Config, tmp_path: Path
) -> None:
    path = tmp_path / "bad.py"
    path.write_text(BAD.replace("epoch == 2", "phase == 'test'").format(act="raise ValueError"))
    outcome = run(attrs.evolve(tiny, plugins=(str(path),)))
    again = evaluate(outcome.directory, "last")
    assert [failure.plugin for failure in again.failures] == ["metric:bad"]
    assert "ValueError" in again.plugin_errors.read_text()


def test_events_carry_no_graph(tiny: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    original = Trainer._measure_batch

    def look(self: Trainer, layers: Any, batch: Any) -> Any:
        event = self._evaluator.event(layers, batch, "train", "batch", 1, 1)
        seen.extend(layer.activations.requires_grad for layer in event.layers)
        seen.extend(layer.scores.requires_grad for layer in event.layers)  # type: ignore[union-attr]
        assert layers[0].activations.requires_grad
        return original(self, layers, batch)

    monkeypatch.setattr(Trainer, "_measure_batch", look)
    run(tiny)
    assert seen
    assert not any(seen)


def test_the_order_of_plugins_changes_no_number(
    tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forwards(registry: Registry, kind: str, plugin: str | None = None) -> list[str]:
        return names(registry, kind, plugin)

    def backwards(registry: Registry, kind: str, plugin: str | None = None) -> list[str]:
        return names(registry, kind, plugin)[::-1]

    names = Registry.names
    found = []
    for order in (forwards, backwards):
        monkeypatch.setattr(Registry, "names", order)
        found.append(lines(run(attrs.evolve(tiny, plugins=("cmp:sparsity",))).directory))
    assert found[0] == found[1]


def test_a_rule_that_does_not_fit_the_model_is_told_before_a_directory_is_made(
    tiny: Config,
) -> None:
    with pytest.raises(UsageError, match="needs scores at every layer"):
        run(attrs.evolve(tiny, model="mlp", learning_rule="layerwise"))
    assert not Path(tiny.out).exists()


def test_runs_in_one_folder_have_different_names(tiny: Config) -> None:
    now = datetime(2026, 11, 23, 10, 15)
    made = [make_run_directory(tiny, now).name for _ in range(3)]
    assert made == [f"000{i}_2026-11-23_10-15-00" for i in (1, 2, 3)]
