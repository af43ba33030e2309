from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid

from cmp_core.layers.layer import Layer
from cmp_core.training.class_means import ClassMeans

g = torch.Generator().manual_seed(0)
LABELS = torch.randint(0, 4, (300,), generator=g)
X = torch.randn(300, 6, generator=g) + torch.randn(4, 6, generator=g)[LABELS]


def layer(x: torch.Tensor) -> Layer:
    return Layer("layer_0", 0, "layers.0", x)


def measured(similarity: str = "l2", size: int = 300) -> ClassMeans:
    means = ClassMeans(4, similarity, tau=0.1)
    parts = zip(X.split(size), LABELS.split(size), strict=True)
    means.measure(([layer(x)], y) for x, y in parts)
    return means


def test_l2_scores_are_the_nearest_centroid_classifier() -> None:
    attached = measured().attach(layer(X))
    expected = NearestCentroid().fit(X.numpy(), LABELS.numpy())
    assert attached.anchor_kind == "class_mean"
    np.testing.assert_allclose(attached.anchors, expected.centroids_, atol=1e-6)
    assert attached.scores is not None
    assert attached.scores.argmax(1).tolist() == expected.predict(X.numpy()).tolist()


@pytest.mark.parametrize("size", [1, 7, 128])
def test_chunks_do_not_change_the_means(size: int) -> None:
    a, b = measured(size=size).attach(layer(X)), measured().attach(layer(X))
    torch.testing.assert_close(a.anchors, b.anchors, atol=1e-6, rtol=1e-6)


def test_a_class_without_samples_leaves_the_layer_without_anchors() -> None:
    means = ClassMeans(5, "l2", tau=0.1)
    means.measure([([layer(X)], LABELS)])
    assert means.attach(layer(X)).anchors is None


def test_layers_with_scores_of_their_own_are_left_alone() -> None:
    head = Layer("head", 1, "head", X[:, :4], scores=X[:, :4])
    means = ClassMeans(4, "l2", tau=0.1)
    means.measure([([layer(X), head], LABELS)])
    assert means.attach(head) is head


def test_following_moves_the_means_of_the_classes_that_occur() -> None:
    means = measured()
    before = means.state_dict()["layer_0"]
    means.follow([layer(X[LABELS == 2] + 10)], LABELS[LABELS == 2])
    after = means.state_dict()["layer_0"]
    expected = 0.9 * before[2] + 0.1 * (X[LABELS == 2].mean(0) + 10)
    torch.testing.assert_close(after[2], expected, atol=1e-5, rtol=1e-5)
    assert after[[0, 1, 3]].equal(before[[0, 1, 3]])


def test_float64_layers_stay_in_float64() -> None:
    means = ClassMeans(4, "cosine", tau=0.1)
    means.measure([([layer(X.double())], LABELS)])
    attached = means.attach(layer(X.double()))
    assert attached.scores is not None
    assert attached.scores.dtype == torch.float64


def test_writing_into_attached_anchors_hits_a_copy() -> None:
    means = measured()
    before = means.attach(layer(X)).scores
    means.attach(layer(X)).anchors.zero_()
    assert means.attach(layer(X)).scores.equal(before)


def test_the_state_survives_a_round_trip() -> None:
    means, other = measured(), ClassMeans(4, "l2", tau=0.1)
    state = means.state_dict()
    other.load_state_dict(state, {name: own.shape[1] for name, own in state.items()})
    assert other.attach(layer(X)).scores.equal(means.attach(layer(X)).scores)


def test_means_of_other_layers_or_classes_are_refused() -> None:
    state, means = measured().state_dict(), ClassMeans(4, "l2", tau=0.1)
    (name,) = state
    width = state[name].shape[1]
    for other in (state[name][:-1], state[name][:, :-1], "means"):
        with pytest.raises(ValueError, match=f"class means of '{name}' have another shape"):
            means.load_state_dict({name: other}, {name: width})
    with pytest.raises(ValueError, match="have another shape"):
        means.load_state_dict(state, {"unknown": width})
    assert not means.state_dict()
