"""Tests of `cmp_core.layers.layer`."""

from __future__ import annotations

import torch

from cmp_core.layers.layer import Layer


def test_a_change_reaches_every_tensor_and_nothing_else() -> None:
    whole = Layer("head", 3, "head", torch.ones(2, 4), torch.zeros(2, 3), torch.ones(3, 4), "block")
    changed = whole.map_tensors(lambda tensor: tensor + 1)
    assert (changed.name, changed.depth, changed.module) == ("head", 3, "head")
    assert changed.anchor_kind == "block"
    assert changed.activations.eq(2).all()
    assert changed.scores is not None
    assert changed.scores.eq(1).all()
    assert changed.anchors is not None
    assert changed.anchors.eq(2).all()
    assert whole.activations.eq(1).all()


def test_what_a_layer_lacks_it_lacks_afterwards() -> None:
    bare = Layer("layer_0", 0, "layers.0", torch.ones(2, 4)).map_tensors(torch.neg)
    assert bare.scores is bare.anchors is bare.anchor_kind is None
