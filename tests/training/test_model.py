"""What the engine asks of a model, of those that are built in."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cmp_core.config.schema import Config
from cmp_core.models.greedy import make_greedy
from cmp_core.models.mlp import make_mlp
from tests.batches import batch

make_models = pytest.mark.parametrize("make", [make_greedy, make_mlp])


@make_models
def test_layers_come_in_order_of_depth_and_name_the_module_that_made_them(make: Any) -> None:
    model = make(Config(N=8, layers=3), 10, 4).double()
    made: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda _, __, output, name=name: made.update({name: output}))
    layers = model(batch()[0])
    assert [layer.depth for layer in layers] == list(range(len(layers)))
    assert layers[-1].scores.shape == (32, 4)
    for layer in layers:
        assert layer.activations is made[layer.module]


@make_models
@pytest.mark.parametrize("detach", [True, False])
def test_detached_layers_pass_no_gradient_down(make: Any, detach: bool) -> None:
    model = make(Config(N=8, layers=3), 10, 4).double()
    inputs, labels = batch()
    layers = model(inputs, detach=detach)
    torch.nn.functional.cross_entropy(layers[-1].scores, labels).backward()
    assert (model.layers[0].linear.weight.grad is None) is detach
    for layer, whole in zip(layers, model(inputs), strict=True):
        assert layer.activations.equal(whole.activations)


@make_models
def test_a_rule_of_its_own_is_registered(make: Any) -> None:
    from cmp_core.plugins.loader import load_plugins

    known = load_plugins().registry.names("learning rule")
    assert make(Config(N=8, layers=2), 10, 4).learning_rule in known
