"""Plugins that misbehave in every way cost their own values, and nothing else."""

from __future__ import annotations

import json
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
from cmp_core.workflow import Outcome, resume
from tests.hostile_plugins import (
    ANSWERS,
    CHANGES,
    RAISES,
    SANE,
    UNNOTICED,
    WRITES,
    answering,
    changing,
    raising,
    write,
)
from tests.installed import install
from tests.run_files import lines

LARGEST = 400_000
"""Bytes of a file of the run; of the long texts alone there would be 100 MB."""


def without_bad(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    kept = {k: without_bad(v) for k, v in entry.items() if not k.startswith("bad_")}
    return {k: v for k, v in kept.items() if v != {}}


def test_all_that_raise_or_answer_oddly_change_no_other_value(
    tiny: Config, tiny_run: Callable[..., Outcome], tmp_path: Path
) -> None:
    plugins = write(tmp_path, raising() | answering())
    outcome = run(attrs.evolve(tiny, plugins=plugins))
    entries, expected = lines(outcome.directory), lines(tiny_run().directory)
    assert [without_bad(x) for x in entries] == [without_bad(x) for x in expected]
    assert without_bad(outcome.results) == without_bad(tiny_run().results)
    bad_answers = set(ANSWERS) - {"long_reason"}  # which is a reason, and no error
    assert {failure.plugin for failure in outcome.failures} == {
        *RAISES,
        *(f"metric:bad_{name}" for name in (*RAISES, *bad_answers)),
    }
    assert all(len(failure.error) <= 200 for failure in outcome.failures)
    assert all(failure.error.isprintable() for failure in outcome.failures)
    for path in outcome.directory.rglob("*"):
        is_text = path.is_file() and path.suffix != ".h5"
        assert not is_text or path.stat().st_size < LARGEST, path
    values, missing = entries[-1]["metrics"]["layer_1"], entries[-1]["missing"]["layer_1"]
    for name, (_, _, value) in SANE.items():
        assert values.get(f"bad_{name}") == value, name
        assert value is not None or missing[f"bad_{name}"] == "the value is not a finite number"
    assert missing["bad_long_reason"] == f"{'x' * 199}…"
    status = json.loads((outcome.directory / "status.json").read_text())
    assert status["state"] == "finished"


def test_all_that_change_what_is_shared_change_no_other_value(
    tiny: Config,
    tiny_run: Callable[..., Outcome],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    plugins = write(tmp_path, changing())
    outcome = run(attrs.evolve(tiny, plugins=plugins))
    assert lines(outcome.directory) == lines(tiny_run().directory)
    told = capfd.readouterr().err
    for name, (_, what) in CHANGES.items():
        assert f"plugin changes_{name} changed {what} in " in told, name
        assert f"changes_{name} changed {what} in loading" in told, name
    assert not any(f"changes_{name} changed" in told for name in UNNOTICED)
    assert {failure.plugin for failure in outcome.failures} == {f"changes_{n}" for n in WRITES}
    assert {failure.error for failure in outcome.failures} == {
        "PluginError: it changed the event, which may be read only"
    }


def test_errors_of_ever_new_texts_are_kept_to_twenty(tiny: Config, tmp_path: Path) -> None:
    text = (
        "from itertools import count\nfrom cmp_core import hookimpl\nNUMBERS = count()\n"
        "@hookimpl\ndef cmp_step_finished(event):\n    raise ValueError(next(NUMBERS))\n"
    )
    (path,) = write(tmp_path, {"ever_new": text})
    outcome = run(attrs.evolve(tiny, metrics=(), plugins=(path,), on_plugin_error="warn"))
    assert len(outcome.failures) == 20
    steps = sum(line["phase"] == "train" for line in lines(outcome.directory))
    assert sum(failure.count for failure in outcome.failures) == steps > 20


STOPS = ("SystemExit(0)", "GeneratorExit", "__import__('asyncio').CancelledError", "BaseException")


@pytest.mark.parametrize("error", STOPS)
def test_what_is_no_exception_is_a_plugins_error_on_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    hook = f"@hookimpl\ndef cmp_register_metrics(register):\n    raise {error}\n"
    texts = {"at_import": f"raise {error}", "in_hook": f"from cmp_core import hookimpl\n{hook}"}
    for path in write(tmp_path, texts):
        with pytest.raises(UsageError, match=Path(path).stem):
            load_plugins([path], built_ins=())
    monkeypatch.syspath_prepend(install(tmp_path / "site", "bad", f"raise {error}"))
    (broken,) = load_plugins(built_ins=()).broken
    assert "could not be loaded" in broken.problem
    sys.modules.pop("bad_module", None)


FACTORIES = """
import numpy as np
from cmp_core import GradientRule, Images, RawData, hookimpl, metric
from cmp_core.models.mlp import make_mlp

def dataset(config):
    {dataset}
    draw = np.random.default_rng(0)
    return RawData(train=Images(draw.normal(size=(200, 8)), np.arange(200) % 2), test=None,
                   class_names=("a", "b"))

def model(config, input_size, num_classes):
    {model}
    net = make_mlp(config, input_size, num_classes)
    forward = net.forward
    def own(*args, **options):
        {forward}
        return forward(*args, **options)
    net.forward = own
    return net

def rule(*args):
    {rule}

@hookimpl
def cmp_register_datasets(register):
    register(dataset, name="bad_data")

@hookimpl
def cmp_register_models(register):
    register(model, name="bad_model")

@hookimpl
def cmp_register_learning_rules(register):
    register(rule, name="bad_rule")
"""


@pytest.mark.parametrize("error", STOPS)
@pytest.mark.parametrize(
    ("place", "key", "what"),
    [
        ("dataset", "dataset", "dataset 'bad_data'"),
        ("model", "model", "model 'bad_model'"),
        ("forward", "model", "model 'bad_model'"),
        ("rule", "learning_rule", "learning rule 'bad_rule'"),
    ],
)
def test_what_is_no_exception_is_an_error_of_a_dataset_a_model_and_a_rule(
    tiny: Config, tmp_path: Path, error: str, place: str, key: str, what: str
) -> None:
    acts = dict.fromkeys(("dataset", "model", "forward", "rule"), "pass") | {
        place: f"raise {error}"
    }
    (path,) = write(tmp_path, {"factories": FACTORIES.format(**acts)})
    name = {"dataset": "bad_data", "model": "bad_model", "learning_rule": "bad_rule"}[key]
    config = attrs.evolve(tiny, plugins=(path,), metrics=(), **{key: name})
    with pytest.raises(PluginError, match=rf"{what} of .*factories\.py raised ") as caught:
        run(config)
    assert caught.value.__cause__ is not None


def test_a_model_that_changes_the_default_dtype_is_named(
    tiny: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    acts = dict.fromkeys(("dataset", "forward", "rule"), "pass")
    change = "import torch; torch.set_default_dtype(torch.float64)"
    (path,) = write(tmp_path, {"factories": FACTORIES.format(**acts, model=change)})
    with pytest.raises(PluginError, match=r"model 'bad_model' of .*factories\.py raised"):
        run(attrs.evolve(tiny, plugins=(path,), metrics=(), model="bad_model"))
    told = "plugin factories changed the default dtype in model; it was put back"
    assert told in capfd.readouterr().err


STATES = """
from cmp_core import hookimpl, metric

@metric("bad_{name}", split="running")
class It:
    '''A running metric whose state is odd.'''
    def update(self, view):
        self.last = view.activations.mean()

    def merge(self, other):
        return self

    def compute(self):
        return self.last

    def state_dict(self):
        {act}

    def load_state_dict(self, state):
        raise GeneratorExit

@hookimpl
def cmp_register_metrics(register):
    register(It)
"""


def test_a_state_that_no_checkpoint_can_hold_costs_its_metric_alone(
    tiny: Config, tiny_run: Callable[..., Outcome], tmp_path: Path
) -> None:
    acts = {
        "raising": "raise GeneratorExit",
        "object": "return {'x': object()}",
        "array": "return {'x': __import__('numpy').ones(3)}",
        "cyclic": "x = []; x.append(x); return {'x': x}",
        "number": "return {'x': self.last}",
    }
    texts = {name: STATES.format(name=name, act=act) for name, act in acts.items()}
    outcome = run(attrs.evolve(tiny, plugins=write(tmp_path, texts)))
    assert {f.plugin for f in outcome.failures} == {f"metric:bad_{n}" for n in acts} - {
        "metric:bad_number"
    }
    assert {failure.hook for failure in outcome.failures} == {"state_dict"}
    found = [without_bad(x) for x in lines(outcome.directory)]
    assert found == [without_bad(x) for x in lines(tiny_run().directory)]
    resumed = resume(outcome.directory)
    (failure,) = resumed.failures
    assert (failure.plugin, failure.hook) == ("metric:bad_number", "load_state_dict")


@pytest.mark.parametrize("name", ["../a", "/a", "a\x1b[2J", "a\nb", "", "..", "x" * 101, 5])
def test_what_is_registered_has_a_name_that_files_and_screens_can_have(
    tmp_path: Path, name: object
) -> None:
    text = (
        "from cmp_core import hookimpl\n@hookimpl\ndef cmp_register_datasets(register):\n"
        f"    register(lambda config: None, name={name!r})\n"
    )
    (path,) = write(tmp_path, {"odd": text})
    with pytest.raises(UsageError, match="expected as the name of a dataset") as caught:
        load_plugins([path], built_ins=())
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["a/b", "a\x1b[2J", "x" * 10**6, ""])
def test_a_model_names_its_layers_so_that_they_can_be_shown(
    tiny: Config, tmp_path: Path, name: str
) -> None:
    acts = dict.fromkeys(("dataset", "model", "rule"), "pass")
    (tmp_path / "name").write_text(name)
    named = f"name=pathlib.Path({str(tmp_path / 'name')!r}).read_text()"
    own = (
        "import attrs, pathlib; "
        f"return tuple(attrs.evolve(x, {named}) for x in forward(*args, **options))"
    )
    (path,) = write(tmp_path, {"factories": FACTORIES.format(**acts, forward=own)})
    with pytest.raises(UsageError, match="expected as the name of a layer a text of") as caught:
        run(attrs.evolve(tiny, plugins=(path,), metrics=(), model="bad_model"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
