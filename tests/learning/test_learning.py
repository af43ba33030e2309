from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from cmp_core.config.schema import Config
from cmp_core.errors import UsageError
from cmp_core.learning.backprop import Backprop
from cmp_core.learning.layerwise import Layerwise
from cmp_core.models.greedy import GreedyMLP, make_greedy
from cmp_core.models.mlp import make_mlp
from cmp_core.training.ace import ACE_VARIANTS
from cmp_core.training.learning_rule import rate_factor


def batch(n: int = 32, d: int = 10, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, d, generator=g, dtype=torch.float64)
    return inputs, torch.randint(0, classes, (n,), generator=g)


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


def test_backprop_equals_a_bare_torch_loop() -> None:
    config = Config(N=8, layers=2, scheduler="constant", warmup_ratio=0)
    torch.manual_seed(0)
    model = make_mlp(config, 10, 4).double()
    bare = torch.nn.Sequential()
    for layer in model.layers:
        bare += torch.nn.Sequential(copy.deepcopy(layer.linear), torch.nn.ReLU())
    bare += torch.nn.Sequential(copy.deepcopy(model.head))
    rule = Backprop(model, config, 3)
    optimizer = torch.optim.Adam(bare.parameters(), lr=config.lr)
    inputs, labels = batch()
    for _ in range(3):
        _, loss = rule.step(inputs, labels)
        expected = torch.nn.functional.cross_entropy(bare(inputs), labels)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
        optimizer.zero_grad()
        expected.backward()
        optimizer.step()


def test_layerwise_refuses_layers_without_scores() -> None:
    config = Config(N=8, layers=2)
    model = make_mlp(config, 10, 4)
    inputs, labels = batch()
    with pytest.raises(UsageError, match="needs scores at every layer; layer_0 has none"):
        Layerwise(model, config, 1).losses(model(inputs.float()), labels)


def test_the_rate_rises_and_falls_as_torch_has_it() -> None:
    """Warm-up then cosine, against torch's own schedulers in sequence."""
    total, warmup = 50, 10
    config = Config(warmup_ratio=warmup / total)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rising = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, warmup - 1)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total - warmup)
    for step in range(total):
        assert rate_factor(config, step, total) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < warmup - 1:
            rising.step()
        elif step >= warmup:
            falling.step()


def test_a_constant_rate_stays() -> None:
    config = Config(scheduler="constant", warmup_ratio=0)
    assert {rate_factor(config, step, 10) for step in range(10)} == {1.0}


@pytest.mark.parametrize("kind", ["none", "l1", "l2", "rms"])
def test_input_norm_makes_layers_blind_to_scale(kind: str) -> None:
    model = make_greedy(Config(N=8, layers=2, input_norm=kind), 10, 4).double()
    inputs, _ = batch()
    once, twice = model(inputs)[-1].activations, model(2 * inputs)[-1].activations
    assert torch.allclose(once, twice) is (kind != "none")


def test_residual_adds_the_input_where_widths_agree() -> None:
    plain = make_greedy(Config(N=8, layers=2), 10, 4).double()
    residual = make_greedy(Config(N=8, layers=2, residual=True), 10, 4).double()
    residual.load_state_dict(plain.state_dict())
    inputs, _ = batch()
    (first, second), (first_r, second_r) = plain(inputs), residual(inputs)
    assert first.activations.equal(first_r.activations)
    torch.testing.assert_close(second_r.activations, second.activations + first.activations)


@pytest.mark.parametrize("make", [make_greedy, make_mlp])
def test_autocast_keeps_weights_losses_and_scores_in_float32(make: Any) -> None:
    """The path of `amp`, which the configuration allows on CUDA only, on the CPU's bfloat16."""
    config = Config(N=32, layers=2, amp=True, lr=0.01, warmup_ratio=0)
    torch.manual_seed(0)
    model = make(config, 10, 4)
    rule = (Layerwise if make is make_greedy else Backprop)(model, config, 1000)
    inputs, labels = batch()
    losses = []
    for _ in range(60):
        layers, loss = rule.step(inputs.float(), labels)
        losses.append(loss.item())
    assert layers[0].activations.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert losses[-1] < losses[0] / 2
