"""Tests of `cmp_core.observation.modules`: which modules are chosen, by path and pattern."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from cmp_core.errors import UsageError
from cmp_core.observation.modules import chosen_modules, unwrapped


def nested() -> nn.Module:
    block = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    return nn.ModuleDict({"stem": nn.Linear(2, 2), "blocks": nn.ModuleList([block, nn.Tanh()])})


@pytest.mark.parametrize(
    ("layers", "paths"),
    [
        ("*", ["stem", "blocks"]),
        ("stem", ["stem"]),
        ("blocks.*", ["blocks.0", "blocks.1"]),
        ("blocks.0.*", ["blocks.0.0", "blocks.0.1"]),
        ("b*.[01]", ["blocks.0", "blocks.1"]),
        ("**", ["stem", "blocks", "blocks.0", "blocks.0.0", "blocks.0.1", "blocks.1"]),
        ("**.1", ["blocks.0.1", "blocks.1"]),
        ("blocks.**", ["blocks", "blocks.0", "blocks.0.0", "blocks.0.1", "blocks.1"]),
        (["blocks.1", "stem"], ["stem", "blocks.1"]),
        (lambda path, module: isinstance(module, nn.Tanh), ["blocks.1"]),
    ],
)
def test_modules_by_path_and_pattern(layers: Any, paths: list[str]) -> None:
    assert list(chosen_modules(nested(), layers)) == paths


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("stam", "unknown module 'stam'; did you mean 'stem'"),
        (["stem", "heads.*"], "unknown module 'heads.*'"),
        ("", "unknown module ''"),
        (lambda path, module: False, "the function chooses none"),
        ([], r"layers: expected paths of modules, .* got \[\]"),
        (iter(()), "layers: expected paths of modules"),
        (3, "layers: expected paths of modules, .* got 3"),
        ([3], "layers: expected paths of modules, .* got 3"),
        (nn.Linear(2, 2), "got a module, Linear; give its path in the model"),
        ([nn.Linear(2, 2)], "got a module, Linear; give its path in the model"),
    ],
)
def test_what_chooses_nothing_is_refused(layers: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        chosen_modules(nested(), layers)


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, torch.compile, lambda x: torch.compile(nn.DataParallel(x))]
)
def test_wrapped_models_have_the_names_of_the_model(wrap: Callable[[nn.Module], Any]) -> None:
    model = nested()
    assert unwrapped(wrap(model)) is model
    assert list(chosen_modules(wrap(model), "*")) == ["stem", "blocks"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: x, "model: expected a torch.nn.Module, got function"),
        (nn.ReLU, "model: expected a torch.nn.Module, got type"),
    ],
)
def test_what_cannot_be_observed_is_refused(model: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        unwrapped(model)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_scripted_models_are_refused() -> None:
    with pytest.raises(UsageError, match=r"one of TorchScript, .* before torch\.jit\.script"):
        chosen_modules(torch.jit.script(nn.Sequential(nn.Linear(2, 2))), "0")
