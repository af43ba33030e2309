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


def test_a_state_that_is_loaded_and_saved_again_is_the_same() -> None:
    """Also where no step comes between, as after a run that was killed in its last epoch's end."""
    config = Config(N=8, layers=2, lr=0.5, warmup_ratio=0)
    inputs, labels = batch()
    for steps in (0, 3):
        rules = [Layerwise(make_greedy(config, 10, 4), config, 4) for _ in range(2)]
        for _ in range(steps):
            rules[0].step(inputs.float(), labels)
        rules[1].load_state_dict(rules[0].state_dict())
        told = [[o["param_groups"] for o in rule.state_dict()["optimizers"]] for rule in rules]
        assert told[0] == told[1]
        rates = [group["lr"] for optimizer in told[1] for (group,) in [optimizer]]
        assert rates == [pytest.approx(0.5 if steps == 0 else 0.5 / 2)] * 2  # cos(π/2) + 1 over 2
