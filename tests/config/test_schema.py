"""Tests of `cmp_core.config.schema`: the rule of every key."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from cmp_core.config.load import (
    load_config,
)
from cmp_core.config.schema import Config, shown
from cmp_core.errors import ConfigError
from tests.config.wrong import problems


def test_every_key_says_what_it_is_for() -> None:
    assert all(field.metadata["help"] for field in attrs.fields(Config))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("layers", "4", "expected a whole number, got '4'"),
        ("layers", 4.0, "expected a whole number, got 4.0"),
        ("layers", True, "expected a whole number, got true"),
        ("layers", 0, "expected a whole number from 1 to 10,000, got 0"),
        ("lr", "fast", "expected a number, got 'fast'"),
        ("lr", float("nan"), "expected a number above 0, got nan"),
        ("tau", 0, "expected a number above 0, got 0.0"),
        ("dataset", None, "expected a text, got null"),
        ("residual", 1, "expected true or false, got 1"),
        ("similarity", "dot", "expected one of cosine, l2, got 'dot'"),
        ("warmup_ratio", 2, "expected a number from 0 to 1, got 2.0"),
        ("val_size", 1.5, "expected a count of at least 1, or a fraction between 0 and 1, got 1.5"),
        ("lambda_ace", "x", "expected a number, got 'x'"),
        ("lambda_ace", [0.1, "x", 1], "[1]: expected a number, got 'x'"),
        (
            "lambda_ace",
            [0.1],
            "expected one number, or a list of layers - 1 = 3 numbers, got a list of 1",
        ),
        ("lambda_ace", -1, "expected a number of at least 0, or a list of such numbers, got -1.0"),
        ("device", "gpu", "expected auto, cpu, mps, cuda or cuda:<index>, got 'gpu'"),
        ("metrics", [3], "[0]: expected a name, or {name: …, label: …, <option>: …}, got 3"),
        ("metrics", {"a": 1}, "expected a list, got {a: 1}"),
        (
            "metrics",
            ["margin", "margin"],
            "expected a different label for each metric (add `label:` to one that is selected "
            "twice), got [margin, margin]",
        ),
    ],
)
def test_a_wrong_value_is_told_with_its_rule(key: str, value: object, message: str) -> None:
    assert problems(**{key: value}) == (f"{key}: {message}",)


def test_a_wrong_layers_does_not_blame_the_weights() -> None:
    assert len(problems(layers="2", lambda_ace=[0.1])) == 1


def test_a_tilde_is_the_home_folder() -> None:
    config = load_config(settings=["data_dir=~/data", "out=~/runs"])
    assert Path(config.data_dir) == Path.home() / "data"
    assert Path(config.out) == Path.home() / "runs"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{layers: []}", "snapshots.layers: expected all, or a list of names, got []"),
        ("{layers: some}", "snapshots.layers: expected all, or a list of names, got 'some'"),
        ("{smaples: 5}", "snapshots.smaples: unknown key 'smaples'; did you mean 'samples'?"),
        ("{samples: 0}", "snapshots.samples: expected a whole number of at least 1, or all, got 0"),
        ("{samples: many}", "snapshots.samples: expected"),
        ("{samples: 1.5}", "snapshots.samples: expected"),
        ("{samples: true}", "snapshots.samples: expected"),
        ("{phase: valid}", "snapshots.phase: expected one of val, train, test, got 'valid'"),
        ("{schedule: often}", "snapshots.schedule: expected log, all, or a list of epochs"),
        ("{schedule: [0, a]}", "snapshots.schedule: [1]: expected a whole number, got 'a'"),
        ("{schedule: 3}", "snapshots.schedule: expected"),
        ("{inputs: 1}", "snapshots.inputs: expected true or false, got 1"),
        ("{dtype: float64}", "snapshots.dtype: expected one of float32, float16, got 'float64'"),
        ("{compression: zip}", "snapshots.compression: expected one of gzip, lzf, none, got 'zip'"),
        ("true", "snapshots: expected {phase: …, samples: …, …} or null, got true"),
        ("all", "snapshots: expected"),
        ("{phase: x, dtype: y}", "has 2 mistakes"),
    ],
)
def test_a_wrong_value_of_snapshots_is_told_with_its_rule(value: str, message: str) -> None:
    with pytest.raises(ConfigError) as told:
        load_config(settings=[f"snapshots={value}"])
    assert message in str(told.value)


def test_one_weight_stands_for_all_connections() -> None:
    assert Config(layers=4, lambda_ace=0.5).ace_weights == (0.5, 0.5, 0.5)
    assert Config(layers=1).ace_weights == ()
    assert Config(layers=3, lambda_ace=(0.1, 0.2)).ace_weights == (0.1, 0.2)


@pytest.mark.parametrize(
    ("value", "yaml"),
    [
        (None, "null"),
        (True, "true"),
        ("4", "'4'"),
        (4.0, "4.0"),
        (["a", {"k": False}], "['a', {k: false}]"),
    ],
)
def test_values_are_shown_as_yaml_spells_them(value: object, yaml: str) -> None:
    assert shown(value) == yaml
