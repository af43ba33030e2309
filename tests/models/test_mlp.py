"""Tests of the MLP, against the same layers put together by hand."""

from __future__ import annotations

import torch

from cmp_core.config.schema import Config
from cmp_core.models.mlp import make_mlp
from tests.batches import batch


def test_the_head_has_logits_for_scores_and_hidden_layers_have_none() -> None:
    model = make_mlp(Config(N=8, layers=2), 10, 4).double()
    inputs, _ = batch()
    hidden = [inputs]
    for block in model.layers:
        hidden.append(torch.relu(hidden[-1] @ block.linear.weight.T + block.linear.bias))
    *layers, head = model(inputs.reshape(-1, 1, 2, 5))  # images are flattened
    for layer, expected in zip(layers, hidden[1:], strict=True):
        torch.testing.assert_close(layer.activations, expected)
        assert layer.scores is layer.anchors is None
    assert (head.name, head.depth) == ("head", 2)
    assert head.scores is head.activations
    torch.testing.assert_close(head.scores, hidden[-1] @ model.head.weight.T + model.head.bias)
