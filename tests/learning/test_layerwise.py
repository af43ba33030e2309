"""Tests of `cmp_core.learning.layerwise`, against rounds of one layer each."""

from __future__ import annotations

import copy

import pytest
import torch

from cmp_core.config.schema import Config
from cmp_core.errors import UsageError
from cmp_core.learning.layerwise import Layerwise
from cmp_core.models.greedy import GreedyMLP, make_greedy
from cmp_core.models.mlp import make_mlp
from cmp_core.training.ace import ACE_VARIANTS
from tests.batches import batch


def separate_round(
    model: GreedyMLP, optimizers: list[torch.optim.Optimizer], config: Config
) -> None:
    """L backward/step rounds, each with its own forwards from the weights before the step."""
    inputs, labels = batch()
    before = copy.deepcopy(model)

    def log_q(network: GreedyMLP, upto: int) -> torch.Tensor:
        with torch.no_grad():
            hidden = inputs
            for block in before.layers[:upto]:
                hidden = block(hidden)
        hidden = network.layers[upto](hidden)
        cosines = torch.nn.functional.cosine_similarity(
            hidden[:, None], network.anchors[None], dim=2
        )
        return torch.log_softmax(cosines / config.tau, 1)

    for i, optimizer in enumerate(optimizers):
        own = log_q(model, i)
        loss = torch.nn.functional.nll_loss(own, labels)
        if i + 1 < len(optimizers):
            with torch.no_grad():
                following = log_q(before, i + 1)
            divergence = ACE_VARIANTS[config.ace_variant](own, following).mean()
            loss = loss - config.ace_weights[i] * divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("variant", ACE_VARIANTS)
@pytest.mark.parametrize("weights", [0.3, (0.0, 0.7)])
def test_the_fused_step_equals_separate_rounds(
    variant: str, weights: float | tuple[float, ...]
) -> None:
    config = Config(
        N=8,
        layers=3,
        tau=0.2,
        lambda_ace=weights,
        ace_variant=variant,
        scheduler="constant",
        warmup_ratio=0,
        weight_decay=0.01,
    )
    torch.manual_seed(0)
    fused = make_greedy(config, 10, 4).double()
    separate = copy.deepcopy(fused)
    rule = Layerwise(fused, config, total_steps=5)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(layer.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        for layer in separate.layers
    ]
    for _ in range(5):
        rule.step(*batch())
        separate_round(separate, optimizers, config)
    for a, b in zip(fused.parameters(), separate.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


def test_the_loss_is_the_mean_over_layers() -> None:
    config = Config(N=8, layers=3, lambda_ace=0.1)
    model = make_greedy(config, 10, 4).double()
    rule = Layerwise(model, config, 1)
    inputs, labels = batch()
    layers = model(inputs, detach=True)
    expected = 0.0
    for i, layer in enumerate(layers):
        q = torch.softmax(layer.scores, 1)
        expected += torch.nn.functional.cross_entropy(layer.scores, labels).item()
        if i < 2:
            log_next = torch.log_softmax(layers[i + 1].scores, 1)
            expected += 0.1 * (q * log_next).sum(1).mean().item()
    _, loss = rule.step(inputs, labels)
    assert loss.item() == pytest.approx(expected / 3, rel=1e-12)


def test_a_greedy_layer_learns_nothing_from_the_layers_above() -> None:
    config = Config(N=8, layers=3, lambda_ace=0)
    model = make_greedy(config, 10, 4).double()
    inputs, labels = batch()
    losses = Layerwise(model, config, 1).losses(model(inputs, detach=True), labels)
    losses[2].backward()
    gradients = [layer.linear.weight.grad for layer in model.layers]
    assert not gradients[0].any()
    assert not gradients[1].any()
    assert gradients[2].any()


def test_layerwise_refuses_layers_without_scores() -> None:
    config = Config(N=8, layers=2)
    model = make_mlp(config, 10, 4)
    inputs, labels = batch()
    with pytest.raises(UsageError, match="needs scores at every layer; layer_0 has none"):
        Layerwise(model, config, 1).losses(model(inputs.float()), labels)
