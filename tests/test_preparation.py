"""Tests of `cmp_core.preparation`: what a run is put together of, and what is told before it is."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from cmp_core import evaluate, resume, run
from cmp_core.config.schema import Config, Selection
from cmp_core.distributed.processes import Processes
from cmp_core.errors import PluginError, UsageError
from cmp_core.preparation import prepare, resolved
from cmp_core.workflow import Outcome


def test_a_run_can_be_told_where_its_data_is_now_and_nothing_else(tiny_copy: Outcome) -> None:
    outcome = tiny_copy
    again = evaluate(outcome.directory, settings=["data_dir=elsewhere", "device=cpu"])
    assert again.results == outcome.results
    with pytest.raises(UsageError, match="only data_dir, device, num_workers may be changed"):
        resume(outcome.directory, settings=["lr=1"])


def test_a_plugin_that_was_installed_for_a_run_and_is_gone_is_told_with_the_line_for_pip(
    tiny_copy: Outcome,
) -> None:
    params, environment = (tiny_copy.directory / x for x in ("params.yaml", "environment.json"))
    params.write_text(params.read_text().replace("metrics: [", "metrics: [gone, "))
    told = json.loads(environment.read_text())
    environment.write_text(json.dumps(told | {"plugin_packages": {"gone": "gone-away==1.2"}}))
    with pytest.raises(UsageError) as caught:
        evaluate(tiny_copy.directory)
    assert "unknown metric 'gone'" in str(caught.value)
    assert "are missing: gone (pip install gone-away==1.2)" in str(caught.value)


def test_a_configuration_of_older_scripts_is_that_of_its_dataset(tiny: Config) -> None:
    theirs = attrs.evolve(tiny, dataset="Dig-its", num_classes=10, input_dim=64)
    with Processes.of_torchrun() as processes:
        own = resolved(prepare(theirs, None, processes))
        assert (own.dataset, own.num_classes, own.input_dim) == ("digits", None, None)
        with pytest.raises(UsageError, match="num_classes: dataset 'digits' has 10, got 100"):
            prepare(attrs.evolve(theirs, num_classes=100), None, processes)


def test_a_rule_that_does_not_fit_the_model_is_told_before_a_directory_is_made(
    tiny: Config,
) -> None:
    with pytest.raises(UsageError, match="needs scores at every layer"):
        run(attrs.evolve(tiny, model="mlp", learning_rule="layerwise"))
    assert not Path(tiny.out).exists()


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


def test_a_factory_that_raises_is_named(tiny: Config, tmp_path: Path) -> None:
    path = tmp_path / "away.py"
    path.write_text(
        "from cmp_core import hookimpl\ndef load(config):\n    raise ValueError('gone')\n"
        "@hookimpl\ndef cmp_register_datasets(register):\n    register(load, name='away')\n"
    )
    with pytest.raises(PluginError, match=r"dataset 'away' of .*away\.py raised ValueError: gone"):
        run(attrs.evolve(tiny, dataset="away", plugins=(str(path),)))


def test_labels_that_meet_are_told_before_a_directory_is_made(tiny: Config) -> None:
    metrics = (Selection("accuracy", "sparsity"),)
    with pytest.raises(UsageError, match="two have the label 'sparsity'"):
        run(attrs.evolve(tiny, metrics=metrics, plugins=("cmp:sparsity",)))
    assert not Path(tiny.out).exists()
