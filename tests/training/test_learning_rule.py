"""Tests of `cmp_core.training.learning_rule`: the rate of a step, and its precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cmp_core.config.schema import Config
from cmp_core.learning.backprop import Backprop
from cmp_core.learning.layerwise import Layerwise
from cmp_core.models.greedy import make_greedy
from cmp_core.models.mlp import make_mlp
from cmp_core.training.learning_rule import rate_factor
from tests.batches import batch


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
