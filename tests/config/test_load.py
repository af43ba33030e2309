"""Tests of `cmp_core.config.load`: files, presets and settings."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from cmp_core.config.load import (
    build_config,
    dump_config,
    find_config,
    load_config,
    parse_yaml,
    presets,
    read_yaml,
)
from cmp_core.config.schema import Config, Selection, Snapshots
from cmp_core.errors import ConfigError, UsageError
from tests.config.wrong import problems

CLASSIC = """
dataset: mnist
seed: 7
model: greedy
N: 512
layers: 3
similarity: cosine
tau: 0.1
lambda_ace: [0.05, 5e-2]
ace_variant: ce_next_i
batch_size: 64
epochs: 3
lr: 1e-3
weight_decay: 0
scheduler: constant
warmup_ratio: 0
num_workers: 2
metrics_frequency: epoch
metrics_log_frequency: 10
enable_slow_metrics: no
"""


def test_a_file_with_the_classic_keys_runs_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "classic.yaml"
    path.write_text(CLASSIC.replace("no", "false"))
    config = load_config(path)
    assert config.lr == 1e-3
    assert config.ace_weights == (0.05, 0.05)
    assert config.weight_decay == 0.0
    assert config.enable_slow_metrics is False


@pytest.mark.parametrize("name", presets())
def test_presets_are_valid_and_named_after_what_they_hold(name: str) -> None:
    config = load_config(name)
    assert name == f"{config.model}_{config.dataset}"
    assert config.lr <= 3e-3  # Adam at 0.03 does not train these networks


def test_both_models_have_a_preset_for_every_dataset() -> None:
    datasets = {"digits", "mnist", "fashion_mnist", "cifar10", "cifar100"}
    assert set(presets()) == {f"{m}_{d}" for m in ("greedy", "mlp") for d in datasets}


def test_the_default_is_the_greedy_digits_preset() -> None:
    assert load_config("greedy_digits") == Config() == load_config()


def test_a_configuration_survives_yaml() -> None:
    config = Config(
        layers=3,
        lambda_ace=(0.1, 0.0),
        metrics=(Selection("accuracy", "accuracy"), Selection("ace", "b", {"k": [1, "x"]})),
        plugins=("a.py", "no:margin"),
        val_size=100,
        learning_rule="backprop",
    )
    options = Snapshots("train", (0, -1), "all", ("layer_0",), False, "all", "float16", "lzf")
    for snapshots in (options, Snapshots(), None):
        one = attrs.evolve(config, snapshots=snapshots)
        assert build_config(parse_yaml(dump_config(one), "it")) == one


def test_an_unknown_key_names_the_nearest() -> None:
    assert problems(laers=3) == ("laers: unknown key 'laers'; did you mean 'layers'?",)
    assert problems(n=3) == ("n: unknown key 'n'; did you mean 'N'?",)


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("laers: 3\nlr: fast\nlayers: 2\nlambda_ace: [1, 2, 3]\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path} has 3 mistakes:\n  ")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "laers",
        "lr",
        "lambda_ace",
    ]


def test_settings_override_the_file_and_are_read_as_yaml() -> None:
    config = load_config("mlp_digits", ["layers=2", "metrics=[margin]", "lr=3e-4"])
    assert (config.layers, config.lr, config.model) == (2, 3e-4, "mlp")
    assert config.metrics == (Selection("margin", "margin"),)


def test_plugins_are_added_to_those_of_the_file() -> None:
    assert load_config(settings=["plugins=[a]"], plugins=["b"]).plugins == ("a", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "is not valid YAML"),
        ("a: !!int abc", "is not valid YAML"),
        ("a: 2020-99-99", "is not valid YAML"),
        ("a: !!omap [a: 1, a: 2]", "is not valid YAML: AssertionError"),
        ("[" * 5000, "is nested too deeply"),
        ("a: 1\na: 2", "is not valid YAML"),
        ("- 1\n- 2", "expected `key: value` lines, got [1, 2]"),
    ],
)
def test_unreadable_yaml_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="broken") as caught:
        read_yaml(path)
    assert message in str(caught.value)


def test_binary_is_not_yaml(tmp_path: Path) -> None:
    path = tmp_path / "weights.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match="cannot read"):
        read_yaml(path)


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing yet\n")
    assert load_config(path) == Config()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gredy_mnist", "unknown preset 'gredy_mnist'; did you mean 'greedy_mnist'?"),
        ("no/such.yaml", "configuration 'no/such.yaml' does not exist; presets: "),
        ("/", "configuration '/' is a folder, not a YAML file"),
    ],
)
def test_a_missing_configuration_is_told(source: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_config(source)
    assert message in str(caught.value)


def test_a_setting_without_a_value_is_told() -> None:
    with pytest.raises(UsageError, match=r"--set expects key=value.* got 'lr'$"):
        load_config(settings=["lr"])
    with pytest.raises(UsageError, match=r"x…$") as caught:
        load_config(settings=["x" * 10**6])
    assert len(str(caught.value)) < 300
