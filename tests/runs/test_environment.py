"""Tests of `cmp_core.runs.environment`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

from cmp_core.config.schema import Config
from cmp_core.events.payloads import Run
from cmp_core.runs.environment import describe_environment

RUN = Run(Config(seed=7), ("cat", "dog"), ("layer_0", "head"))
CPU = torch.device("cpu")


def test_it_says_what_a_run_ran_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/venv/bin/cmp", "run"])
    told = describe_environment(RUN, CPU)
    json.dumps(told, allow_nan=False)
    assert told["packages"]["torch"] == torch.__version__.split("+")[0]
    assert told["packages"]["chain-of-metric-predictors"]
    assert (told["device"], told["gpu"]) == ("cpu", None)
    assert (told["seed"], told["command"]) == (7, ["/venv/bin/cmp", "run"])
    assert (told["class_names"], told["layers"]) == (["cat", "dog"], ["layer_0", "head"])


def test_the_commit_is_that_of_the_working_directory() -> None:
    assert describe_environment(RUN, CPU)["git_commit"] is None  # it is in no repository
    git = ["git", "-c", "user.name=me", "-c", "user.email=me@home", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    head = (Path(".git") / Path(".git/HEAD").read_text().split()[1]).read_text().strip()
    assert describe_environment(RUN, CPU)["git_commit"] == head


def test_what_cannot_be_known_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # no git
    monkeypatch.setattr("cmp_core.runs.environment._PACKAGES", ("torch", "not-installed"))
    told = describe_environment(RUN, CPU)
    assert told["git_commit"] is None
    assert told["packages"]["not-installed"] is None
