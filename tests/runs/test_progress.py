"""Tests of `cmp_core.runs.progress`, by the counters in checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from cmp_core import run
from cmp_core.config.schema import Config
from cmp_core.workflow import Outcome
from tests.interruption import interrupt


def counters(directory: Path) -> dict[str, Any]:
    stored: dict[str, Any] = torch.load(directory / "last.pt", weights_only=True)["progress"]
    return stored


def test_between_epochs_no_step_of_one_is_done(tiny_run: Callable[..., Outcome]) -> None:
    found = counters(tiny_run().directory)
    assert (found["epoch"], found["iter"], found["step"]) == (2, 0, 22)
    assert found["best_step"] == 11 * found["best_epoch"]


def test_in_an_epoch_its_steps_are_counted(tiny: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    found = counters(interrupt(tiny, 14, monkeypatch))
    assert (found["epoch"], found["iter"], found["step"]) == (2, 3, 14)
    assert (found["best_epoch"], found["best_step"]) == (1, 11)


def test_an_epoch_without_a_single_hit_is_better_than_none(tiny: Config, tmp_path: Path) -> None:
    plugin = tmp_path / "hopeless.py"
    plugin.write_text(HOPELESS)
    config = attrs.evolve(tiny, model="hopeless", epochs=1, metrics=(), plugins=(str(plugin),))
    found = counters(run(config, tests=False).directory)
    assert (found["best_acc"], found["best_epoch"]) == (0, 1)


HOPELESS = """
import torch
from cmp_core import Layer, LayeredModel, hookimpl

class Hopeless(LayeredModel):
    '''Scores a class that no sample has.'''

    learning_rule = "backprop"

    def __init__(self, d, c):
        super().__init__()
        self.layers = torch.nn.ModuleList()
        self.head = torch.nn.Linear(d, c + 1)

    def forward(self, inputs, detach=False):
        logits = self.head(inputs.flatten(1))
        never = torch.nn.functional.one_hot(torch.tensor(logits.shape[1] - 1), logits.shape[1])
        return (Layer("head", 0, "head", logits, scores=logits + 1e6 * never),)

@hookimpl
def cmp_register_models(register):
    register(lambda config, d, c: Hopeless(d, c), name="hopeless")
"""
