"""Tests of `cmp_core.measurement.selection`: slow metrics, and runs without facts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cmp_core import Config, load_run
from cmp_core.config.schema import Selection
from cmp_core.errors import ConfigError
from cmp_core.measurement.selection import select_metrics, with_installed_metric_info
from cmp_core.plugins.loader import load_plugins


def test_slow_metrics_can_be_left_out_of_all() -> None:
    plugins = load_plugins(built_ins=("cmp_metrics",))
    every = {metric.label for metric in select_metrics(plugins, Config())}
    quick = {metric.label for metric in select_metrics(plugins, Config(enable_slow_metrics=False))}
    assert every - quick == {"eigenspectrum"}


def test_a_slow_metric_that_is_named_and_forbidden_is_refused() -> None:
    named = (Selection("eigenspectrum", "spectrum"),)
    config = Config(metrics=named, enable_slow_metrics=False)
    with pytest.raises(ConfigError, match="spectrum is slow, and enable_slow_metrics is false"):
        select_metrics(load_plugins(built_ins=("cmp_metrics",)), config)


def test_a_run_without_facts_takes_those_of_the_installed_metrics(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("model: mlp\n")
    line = {"phase": "val", "epoch": 1, "metrics": {"layer_0": {"margin": 0.5, "unheard_of": 1}}}
    (tmp_path / "log.jsonl").write_text(json.dumps(line) + "\n")
    run = load_run(tmp_path)
    assert run.metric_info == {}
    known = with_installed_metric_info(run)
    assert {name: info.bounds for name, info in known.metric_info.items()} == {"margin": (-2, 2)}
    assert with_installed_metric_info(known) is known
