"""Tests of the greedy MLP: its layers' scores against anchors that never change."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances

from cmp_core.config.schema import Config
from cmp_core.learning.layerwise import Layerwise
from cmp_core.models.greedy import make_greedy
from tests.batches import batch


@pytest.mark.parametrize("similarity", ["cosine", "l2"])
@pytest.mark.parametrize("anchors", ["orthonormal", "block"])
def test_every_layer_is_scored_against_the_same_anchors(similarity: str, anchors: str) -> None:
    config = Config(N=8, layers=3, similarity=similarity, anchors=anchors, tau=0.2)
    layers = make_greedy(config, 10, 4).double()(batch()[0])
    assert [layer.name for layer in layers] == ["layer_0", "layer_1", "layer_2"]
    for layer in layers:
        assert layer.anchor_kind == anchors
        assert layer.anchors is layers[0].anchors
        assert layer.scores is not None
        h, e = layer.activations.detach().numpy(), layer.anchors.numpy()
        plain = (
            cosine_similarity(h, e)
            if similarity == "cosine"
            else -euclidean_distances(h, e, squared=True)
        )
        torch.testing.assert_close(layer.scores.detach(), torch.from_numpy(plain / 0.2))


def test_anchors_follow_the_seed_and_are_saved_but_never_trained() -> None:
    models = [make_greedy(Config(N=8, layers=2, seed=seed), 10, 4) for seed in (0, 0, 1)]
    first, again, other = (model.anchors for model in models)
    assert first.equal(again)
    assert not first.equal(other)
    before = first.clone()
    Layerwise(models[0], Config(N=8, layers=2, lr=0.1), 1).step(batch()[0].float(), batch()[1])
    assert models[0].state_dict()["anchors"].equal(before)
    assert "anchors" not in dict(models[0].named_parameters())
