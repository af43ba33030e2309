"""Tests of `cmp_core.training.trainer`: order, the best epoch, interruption and divergence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from cmp_core import hookimpl, resume, run
from cmp_core.config.schema import Config
from cmp_core.errors import TrainingError
from cmp_core.plugins.loader import load_plugins
from cmp_core.training.trainer import Trainer, _on
from cmp_core.workflow import Outcome
from tests.interruption import interrupt
from tests.run_files import lines, newest


@pytest.mark.parametrize("model", ["greedy", "mlp"])
@pytest.mark.parametrize("step", [3, 11, 15])
def test_a_run_stopped_between_steps_resumes_as_if_nothing_had_happened(
    tiny: Config,
    tiny_run: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    step: int,
) -> None:
    expected = tiny_run(model)
    directory = interrupt(attrs.evolve(tiny, model=model), step, monkeypatch)
    assert json.loads((directory / "status.json").read_text())["state"] == "interrupted"
    assert len([e for e in lines(directory) if e["phase"] == "train"]) == step
    outcome = resume(directory)
    assert lines(directory) == lines(expected.directory)
    assert outcome.results == expected.results
    assert json.loads((directory / "status.json").read_text())["state"] == "finished"


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


def validations(directory: Path) -> dict[int, float]:
    """The validation accuracy of each epoch after training has begun."""
    return {e["epoch"]: e["acc"] for e in lines(directory) if e["phase"] == "val" and e["epoch"]}


def test_the_best_epoch_is_the_tested_one(tiny: Config) -> None:
    outcome = run(attrs.evolve(tiny, epochs=4, lr=0.02, scheduler="constant"))
    accs = validations(outcome.directory)
    assert len(set(accs.values())) > 1
    assert outcome.results["epoch"] == max(accs, key=lambda epoch: (accs[epoch], -epoch))


def test_of_epochs_that_are_equally_good_the_first_stays_the_best(tiny: Config) -> None:
    """At a rate that changes no prediction; the untrained network does not count."""
    outcome = run(attrs.evolve(tiny, epochs=3, lr=1e-12))
    assert len(set(validations(outcome.directory).values())) == 1
    assert outcome.results["epoch"] == 1
    assert torch.load(outcome.directory / "best.pt")["epoch"] == 1


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


def test_states_of_running_metrics_go_to_the_device_of_the_run() -> None:
    state = {"ema": {"layer_0": {"mean": torch.zeros(2), "count": 3, "none": None}}}
    moved = _on(torch.device("meta"), state)["ema"]["layer_0"]
    assert moved["mean"].device.type == "meta"
    assert (moved["count"], moved["none"]) == (3, None)


def test_measuring_does_not_change_training(tiny: Config, tiny_run: Callable[..., Outcome]) -> None:
    measured = lines(tiny_run().directory)
    bare = lines(run(attrs.evolve(tiny, metrics=())).directory)
    keys = ("phase", "epoch", "loss", "acc", "val_loss")
    for a, b in zip(measured, bare, strict=True):
        assert [a.get(key) for key in keys] == [b.get(key) for key in keys]
    assert not any("missing" in entry for entry in bare)


def test_epoch_frequency_measures_no_batches(tiny: Config) -> None:
    entries = lines(run(attrs.evolve(tiny, metrics_frequency="epoch")).directory)
    assert {entry["phase"] for entry in entries if "metrics" in entry} == {"val"}


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

    monkeypatch.setattr("cmp_core.preparation.load_plugins", load)
    run(attrs.evolve(tiny, epochs=1, batch_size=512, metrics_log_frequency=3))
    splits = [f"{phase} {what}" for phase in ("val", "train") for what in ("chunk", "finished")]
    assert recorder.events == [
        "run started",
        *splits,
        "epoch 0 finished",
        "epoch 1 started",
        "train batch",
        *splits,
        "epoch 1 finished",
        *("test chunk", "test finished", "test chunk", "test finished"),  # untrained, and the best
        "run finished",
    ]


def test_events_carry_no_graph(tiny: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    original = Trainer._measure_batch

    def look(self: Trainer, layers: Any, batch: Any) -> Any:
        event = self._evaluator.event(layers, batch, "train", "batch", 1, 1)
        seen.extend(layer.activations.requires_grad for layer in event.layers)
        seen.extend(layer.scores.requires_grad for layer in event.layers)
        assert layers[0].activations.requires_grad
        return original(self, layers, batch)

    monkeypatch.setattr(Trainer, "_measure_batch", look)
    run(tiny)
    assert seen
    assert not any(seen)
