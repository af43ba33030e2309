"""Tests of `cmp_core.learning.backprop`, against a bare loop of torch."""

from __future__ import annotations

import copy

import pytest
import torch

from cmp_core.config.schema import Config
from cmp_core.learning.backprop import Backprop
from cmp_core.models.mlp import make_mlp
from tests.batches import batch


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
