"""Being watched changes nothing: a run's weights with any plugins are those of a run with none."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
import torch

from cmp_core import run
from cmp_core.cli._finish import Trained, finish
from cmp_core.config.schema import Config, Selection
from cmp_core.plugins.fence import Fence, is_built_in
from cmp_core.plugins.loader import load_plugins
from cmp_core.workflow import Outcome
from tests.shipped import EXAMPLES

NET = """
import torch
from torch import nn
from cmp_core import Layer, LayeredModel, hookimpl

class Net(LayeredModel):
    '''Two layers, with dropout between them.'''
    learning_rule = "layerwise"

    def __init__(self, input_size, num_classes):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(input_size, 10), nn.Linear(10, num_classes)])
        self.heads = nn.Linear(10, num_classes)

    def forward(self, inputs, detach=False):
        hidden = nn.functional.dropout(self.layers[0](inputs.flatten(1)).relu(), 0.3, self.training)
        first = Layer("layer_0", 0, "layers.0", hidden, scores=hidden[:, :10])
        scores = self.layers[1](hidden.detach() if detach else hidden)
        return first, Layer("layer_1", 1, "layers.1", scores, scores=scores)

@hookimpl
def cmp_register_models(register):
    register(lambda config, input_size, num_classes: Net(input_size, num_classes), name="dropout")
"""

HOSTILE = """
import os, random, signal, sys, warnings
import matplotlib.pyplot as plt
import numpy as np
import torch
from cmp_core import hookimpl, metric, plot

KEPT = []

def act(tensor=None):
    {act}

act()

@metric("hostile_{name}")
def it(view):
    '''A metric that changes what is not its own.'''
    act(view.activations)
    return 1.0

@plot("hostile_{name}", file="hostile_{name}")
def drawn(view):
    '''A plot that does.'''
    act()
    return plt.figure()

@hookimpl
def cmp_register_metrics(register):
    act()
    register(it)

@hookimpl
def cmp_register_plots(register):
    register(drawn)

@hookimpl
def cmp_layer_activations(event):
    act(event.layers[0].activations)

@hookimpl
def cmp_split_finished(event):
    act(None if event.subset is None else event.subset.layers[0].activations)

@hookimpl
def cmp_run_started(event):
    act()

@hookimpl
def cmp_step_finished(event):
    act()

@hookimpl
def cmp_epoch_finished(event):
    act()
    for tensor in event.state()["model"].values():
        tensor.numpy()[...] = 7
"""

SETTINGS = {
    "chdir": "os.chdir('/')",
    "filters": "warnings.simplefilter('ignore', ResourceWarning)",
    "handler": "signal.signal(signal.SIGINT, lambda *_: None)",
    "dtype": "torch.set_default_dtype(torch.float64)",
    "device": "torch.set_default_device('meta')",
    "grad": "torch.set_grad_enabled(not torch.is_grad_enabled())",
    "inference": "KEPT.append(torch.inference_mode()); KEPT[-1].__enter__()",
    "autocast": "torch.autocast('cpu').__enter__()",
    "threads": "torch.set_num_threads(torch.get_num_threads() + 1)",
    "deterministic": "torch.use_deterministic_algorithms(True, warn_only=True)",
    "errors": "np.seterr(all='raise')",
    "style": "plt.style.use('dark_background')",
}
DRAWS = {
    "torch": "torch.rand(3)",
    "numpy": "np.random.randn()",
    "random": "random.random()",
    "seeds": "torch.manual_seed(0); np.random.seed(0); random.seed(0)",
}
WRITES = {
    "numpy_view": "tensor is None or tensor.numpy().fill(0)",
    "data": "tensor is None or tensor.data.mul_(-1)",
    "set": "tensor is None or tensor.set_(torch.zeros(1, 1))",
    "resize": "tensor is None or tensor.resize_(2, 2)",
    "stride": "tensor is None or tensor.as_strided((1,), (1,)).numpy().fill(9)",
}


def hostile(folder: Path, acts: dict[str, str]) -> tuple[str, ...]:
    for name, act in acts.items():
        (folder / f"{name}_plugin.py").write_text(HOSTILE.format(name=name, act=act))
    return tuple(str(folder / f"{name}_plugin.py") for name in acts)


@pytest.fixture
def bare(tmp_path: Path) -> Config:
    """A run of the net with dropout, with no metric and no plot, on every step."""
    (tmp_path / "net.py").write_text(NET)
    return Config(
        device="cpu",
        out=str(tmp_path / "runs"),
        model="dropout",
        epochs=2,
        batch_size=512,
        metrics_log_frequency=1,
        metrics=(),
        plots=(),
        plugins=(str(tmp_path / "net.py"),),
    )


def weights(outcome: Outcome) -> list[torch.Tensor]:
    state = torch.load(outcome.directory / "last.pt", weights_only=True)
    return [*state["model"].values(), state["generators"]["torch"]]


def test_a_run_with_all_plugins_and_hostile_ones_has_the_weights_of_a_run_with_none(
    bare: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = weights(run(bare))
    watched = attrs.evolve(
        bare,
        metrics="all",
        plots="all",
        plugins=(*bare.plugins, *EXAMPLES),
        enable_slow_metrics=True,
    )
    outcome = run(watched)
    assert outcome.failures == ()
    assert "put back" not in capfd.readouterr().err
    assert all(a.equal(b) for a, b in zip(weights(outcome), expected, strict=True))
    folder = Path.cwd()
    acts = SETTINGS | DRAWS | WRITES
    more = hostile(tmp_path, acts)
    outcome = run(attrs.evolve(watched, plugins=(*watched.plugins, *more)))
    assert all(a.equal(b) for a, b in zip(weights(outcome), expected, strict=True))
    failed = {failure.plugin for failure in outcome.failures}
    assert failed >= {f"metric:hostile_{name}" for name in WRITES}
    told = capfd.readouterr().err
    for name in SETTINGS:
        assert f"plugin {name}_plugin changed " in told, name
    assert not any(f"{name}_plugin changed " in told for name in DRAWS)
    assert Path.cwd() == folder
    finish(Trained.of(outcome), research_only=False, show=False)
    assert Path.cwd() == folder
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("name", WRITES)
def test_a_hidden_write_reaches_no_other_value(bare: Config, tmp_path: Path, name: str) -> None:
    def logged(outcome: Outcome) -> list[str]:
        entries = map(json.loads, (outcome.directory / "log.jsonl").read_text().splitlines())
        return [json.dumps(entry["metrics"]["layer_0"]["participation_ratio"]) for entry in entries]

    chosen = (Selection("participation_ratio", "participation_ratio"),)
    expected = logged(run(attrs.evolve(bare, metrics=chosen)))
    more = hostile(tmp_path, {name: WRITES[name]})
    outcome = run(attrs.evolve(bare, metrics=chosen, plugins=(*bare.plugins, *more)))
    assert logged(outcome) == expected
    assert all("in place" in failure.error for failure in outcome.failures), outcome.failures
    assert {failure.plugin for failure in outcome.failures} == {
        f"{name}_plugin",
        f"metric:hostile_{name}",
    }


def test_a_change_is_told_once_for_each_plugin_and_setting(
    capfd: pytest.CaptureFixture[str],
) -> None:
    fence = Fence()
    threads = torch.get_num_threads()
    for plugin in ("a", "a", "b"):
        with fence.around(plugin, "drawing"):
            torch.set_num_threads(threads + 1)
    assert torch.get_num_threads() == threads
    assert capfd.readouterr().err.splitlines() == [
        f"warning: plugin {plugin} changed the number of threads in drawing; it was put back"
        for plugin in ("a", "b")
    ]


def test_the_state_is_brought_back_after_an_error_too() -> None:
    def interrupted() -> None:
        with Fence().around("a", "drawing"):
            torch.set_default_dtype(torch.float64)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert torch.get_default_dtype() == torch.float32


def test_examples_and_code_of_others_are_not_built_in() -> None:
    plugins = load_plugins(["cmp:sparsity"])
    built_in = {name: is_built_in(plugin) for name, plugin in plugins.manager.list_name_plugin()}
    assert not built_in.pop("sparsity")
    assert all(built_in.values())
    assert not is_built_in(object())
