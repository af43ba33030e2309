"""Plugins that fail cost their own numbers, and not a bit of the others'."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from cmp_core import run
from cmp_core.config.schema import Config
from cmp_core.errors import PluginError, UsageError
from cmp_core.plugins.loader import load_plugins
from cmp_core.plugins.registry import Registry
from cmp_core.workflow import Outcome
from tests.installed import install
from tests.run_files import BAD, lines, newest
from tests.shipped import EXAMPLES


@pytest.mark.parametrize(
    ("act", "model"),
    [
        ("raise ValueError('no')", "greedy"),
        ("raise ValueError('no')", "mlp"),
        ("exit(4)", "greedy"),
        ("view.anchors.zero_()", "greedy"),
    ],
)
def test_a_plugin_that_fails_in_the_second_epoch_keeps_its_values_of_the_first(
    tiny: Config, tiny_run: Callable[..., Outcome], tmp_path: Path, act: str, model: str
) -> None:
    path = tmp_path / "bad.py"
    path.write_text(BAD.format(act=act))
    tiny = attrs.evolve(tiny, model=model)
    expected = lines(tiny_run(model).directory)
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
    specs = list(EXAMPLES)
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


METRIC = """
from cmp_core import hookimpl, metric

@metric("bad_{name}", {traits})
def it(view, other=None):
    '''Raises, or writes.'''
    {act}

@hookimpl
def cmp_register_metrics(register):
    register(it)
"""


FUNCTIONS = {
    "function": "",
    "mean": "split='mean'",
    "whole": "split='moments', needs=('statistics.eigenvalues',)",
    "pair": "scope='pair'",
    "slow": "slow=True",
}


STATE = """
from cmp_core import hookimpl, metric

@metric("bad_{name}", passes=2)
class It:
    '''A sum that raises in one of its methods.'''
    total = 0

    def act(self, place):
        if place == {name!r}:
            {act}

    def update(self, view):
        self.act("update")
        self.total = self.total + view.activations.sum()

    def merge(self, other):
        self.act("merge")
        return self

    def fit(self):
        self.act("fit")

    def score(self, view):
        self.act("score")

    def compute(self):
        self.act("compute")
        return self.total

    def state_dict(self):
        return dict()

    def load_state_dict(self, state):
        pass

@hookimpl
def cmp_register_metrics(register):
    register(It)
"""


PLACES = ("update", "fit", "score", "compute")


LISTENER = """
from cmp_core import hookimpl

@hookimpl
def {name}(event, run):
    {act}
"""


EVENTS = (
    "cmp_run_started",
    "cmp_epoch_started",
    "cmp_layer_activations",
    "cmp_step_finished",
    "cmp_split_finished",
    "cmp_snapshot_written",
    "cmp_epoch_finished",
    "cmp_run_finished",
)


PLOT = """
from cmp_core import hookimpl, plot

@plot("bad_plot", file="bad_plot", answers=True)
def bad_plot(view):
    '''Raises.'''
    {act}

@hookimpl
def cmp_register_plots(register):
    register(bad_plot)
"""


ERRORS = ("raise ValueError('no')", "raise SystemExit(4)")


def bad_plugins(folder: Path, act: str) -> tuple[str, ...]:
    """Plugins of every kind that do something bad, as files."""
    texts = {
        f"a_{name}": METRIC.format(name=name, traits=t, act=act) for name, t in FUNCTIONS.items()
    }
    texts |= {f"b_{name}": STATE.format(name=name, act=act) for name in PLACES}
    texts |= {f"c_{name}": LISTENER.format(name=name, act=act) for name in EVENTS}
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return tuple(str(folder / f"{name}.py") for name in texts)


def without_bad(entry: Any) -> Any:
    """The entry without what is said of bad plugins."""
    if not isinstance(entry, dict):
        return entry
    kept = {k: without_bad(v) for k, v in entry.items() if not k.startswith("bad_")}
    return {k: v for k, v in kept.items() if v != {}}


@pytest.mark.parametrize("act", ERRORS)
def test_all_of_them_together_change_no_other_number(
    tiny: Config, tiny_run: Callable[..., Outcome], tmp_path: Path, act: str
) -> None:
    outcome = run(attrs.evolve(tiny, plugins=bad_plugins(tmp_path, act)))
    found = [without_bad(entry) for entry in lines(outcome.directory)]
    assert found == [without_bad(entry) for entry in lines(tiny_run().directory)]
    assert without_bad(outcome.results) == without_bad(tiny_run().results)
    failed = {failure.plugin for failure in outcome.failures}
    metrics = {f"metric:bad_{name}" for name in (*FUNCTIONS, *PLACES)}
    assert failed == metrics | {f"c_{name}" for name in EVENTS}
    assert all(failure.disabled for failure in outcome.failures)
    tracebacks = outcome.plugin_errors.read_text()
    assert all(f"{name} in " in tracebacks for name in failed)
    reasons = lines(outcome.directory)[-1]["missing"]["layer_1"]
    told = act.removeprefix("raise ").replace("('no')", ": no").replace("(4)", ": 4")
    assert all(reasons[f"bad_{name}"] == f"error: {told}" for name in FUNCTIONS)


WRITES = (
    "view.activations.zero_()",
    "view.activations.add_(1); raise ValueError('no')",
    "view.labels.fill_(0)",
    "view.inputs.mul_(2)",
    "view.statistics.mean().zero_()",
)


@pytest.mark.parametrize("act", WRITES)
def test_what_a_plugin_writes_reaches_nobody(
    tiny: Config, tiny_run: Callable[..., Outcome], tmp_path: Path, act: str
) -> None:
    path = tmp_path / "writes.py"
    path.write_text(METRIC.format(name="writes", traits="", act=act))
    outcome = run(attrs.evolve(tiny, plugins=(str(path),)))
    found = [without_bad(entry) for entry in lines(outcome.directory)]
    assert found == [without_bad(entry) for entry in lines(tiny_run().directory)]
    (failure,) = outcome.failures
    assert failure.plugin == "metric:bad_writes"


def test_a_listener_that_writes_is_switched_off(
    tiny: Config, tiny_run: Callable[..., Outcome], tmp_path: Path
) -> None:
    path = tmp_path / "writes.py"
    act = "event.layers[0].activations.zero_()"
    path.write_text(LISTENER.format(name="cmp_layer_activations", act=act))
    outcome = run(attrs.evolve(tiny, plugins=(str(path),)))
    assert lines(outcome.directory) == lines(tiny_run().directory)
    (failure,) = outcome.failures
    assert "it changed activations of layer_0 in place" in failure.error


@pytest.mark.parametrize("act", ERRORS)
def test_in_registration_an_installed_one_is_left_out_and_a_named_one_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    hook = f"@hookimpl\ndef cmp_register_metrics(register):\n    {act}\n"
    text = f"from cmp_core import hookimpl\n{hook}"
    monkeypatch.syspath_prepend(install(tmp_path, "bad", text))
    (broken,) = load_plugins().broken
    assert "cmp_register_metrics raised" in broken.problem
    with pytest.raises(UsageError, match="cmp_register_metrics raised"):
        load_plugins(["bad"])
    sys.modules.pop("bad_module")


def test_the_command_ends_with_three_and_says_who_and_where(
    cmp: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    numbers, pictures = ERRORS
    (tmp_path / "bad_pictures.py").write_text(PLOT.format(act=pictures))
    (tmp_path / "bad_numbers.py").write_text(METRIC.format(name="numbers", traits="", act=numbers))
    small = [x for key in ("epochs=1", "N=16", "layers=2") for x in ("--set", key)]
    chosen = ("--metrics", "accuracy", "--plots", "metrics_heatmap", "--no-snapshots")
    named = ("-p", "bad_pictures.py", "-p", "bad_numbers.py")
    done = cmp("run", *small, *chosen, *named, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    directory = newest(tmp_path / "runs" / "digits" / "greedy")
    where = f"(traceback: {directory / 'plugin_errors.log'})"
    for plugin in ("metric:bad_numbers", "bad_plot"):
        (line,) = [line for line in done.stderr.splitlines() if f"plugin {plugin} " in line]
        assert line.endswith(where)
    assert (directory / "plots" / "metrics_heatmap_val.png").exists()
    assert (directory / "report.html").exists()
    status = json.loads((directory / "status.json").read_text())
    assert status["state"] == "finished"
