"""Plugins in a run: what they add, and what it costs when they fail."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import attrs
import pytest

from cmp_core import evaluate, hookimpl, run
from cmp_core.config.load import shipped_folder
from cmp_core.config.schema import Config, Selection
from cmp_core.errors import PluginError, UsageError
from cmp_core.plugins.loader import load_plugins
from cmp_core.plugins.registry import Registry
from cmp_core.training.trainer import Trainer
from tests.run_files import BAD, lines


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
    splits = [
        f"{phase} {what}" for phase in ("val", "train") for what in ("chunk", "chunk", "finished")
    ]
    assert recorder.events == [
        "run started",
        *splits,
        "epoch 0 finished",
        "epoch 1 started",
        "train batch",
        *splits,
        "epoch 1 finished",
        *("test chunk", "test chunk", "test finished"),
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


def test_a_plugin_that_fails_in_the_test_leaves_its_traceback_there(
    tiny: Config, tmp_path: Path
) -> None:
    path = tmp_path / "bad.py"
    path.write_text(BAD.replace("epoch == 2", "phase == 'test'").format(act="raise ValueError"))
    outcome = run(attrs.evolve(tiny, plugins=(str(path),)))
    again = evaluate(outcome.directory, "last")
    assert [failure.plugin for failure in again.failures] == ["metric:bad"]
    assert "ValueError" in again.plugin_errors.read_text()


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


def test_a_shuffled_order_of_all_plugins_and_metrics_changes_no_number(tiny: Config) -> None:
    folder = shipped_folder("examples", "plugins")
    specs = [f"cmp:{path.stem}" for path in sorted(folder.glob("[!_]*.py"))]
    found = []
    for seed in range(3):
        shuffle = random.Random(seed).shuffle
        shuffle(specs)
        metrics = list(tiny.metrics)
        shuffle(metrics)
        config = attrs.evolve(tiny, epochs=1, plugins=tuple(specs), metrics=tuple(metrics))
        outcome = run(config)
        assert outcome.failures == ()
        found.append(lines(outcome.directory))
    assert found[0] == found[1] == found[2]
    assert "two_nn" in found[0][-1]["metrics"]["layer_1"]


def test_a_factory_that_raises_is_named(tiny: Config, tmp_path: Path) -> None:
    path = tmp_path / "away.py"
    path.write_text(
        "from cmp_core import hookimpl\ndef load(config):\n    raise ValueError('gone')\n"
        "@hookimpl\ndef cmp_register_datasets(register):\n    register(load, name='away')\n"
    )
    with pytest.raises(PluginError, match=r"dataset 'away' of .*away\.py raised ValueError: gone"):
        run(attrs.evolve(tiny, dataset="away", plugins=(str(path),)))


def test_a_run_with_a_plugins_folder_can_be_tested_again(tiny: Config, tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "good.py").write_text(BAD.format(act="pass").replace('"bad"', '"good"'))
    (folder / "broken.py").write_text("1 / 0")
    config = attrs.evolve(tiny, metrics="all", plugins=("no:broken", "no:alignment"))
    outcome = run(config, plugins_dir=folder)
    assert "good" in outcome.results["metrics"]["layer_0"]
    assert evaluate(outcome.directory).results == outcome.results


def test_labels_that_meet_are_told_before_a_directory_is_made(tiny: Config) -> None:
    metrics = (Selection("accuracy", "sparsity"),)
    with pytest.raises(UsageError, match="two have the label 'sparsity'"):
        run(attrs.evolve(tiny, metrics=metrics, plugins=("cmp:sparsity",)))
    assert not Path(tiny.out).exists()
