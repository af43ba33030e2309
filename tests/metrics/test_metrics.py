"""The built-in metrics against closed forms and independent libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, log_loss
from sklearn.metrics.pairwise import cosine_similarity

from cmp_core import UndefinedError
from cmp_core.layers.similarity import scores as make_scores
from cmp_metrics.accuracy import accuracy
from cmp_metrics.ace_regularizer import ace_regularizer
from cmp_metrics.alignment import alignment
from cmp_metrics.cross_entropy import cross_entropy
from cmp_metrics.margin import margin

rng = np.random.default_rng(0)
N, P, C = 400, 12, 5
Y = rng.integers(0, C, N)
ANCHORS = rng.normal(size=(C, P))
DATA = {
    "random": rng.normal(size=(N, P)),
    "low rank": rng.normal(size=(N, 2)) @ rng.normal(size=(2, P)),
    "ill conditioned": rng.normal(size=(N, P)) * np.logspace(-8, 8, P),
    "ReLU sparse": np.maximum(rng.normal(size=(N, P)) - 0.8, 0) + 1e-12,
}

on_all_data = pytest.mark.parametrize("kind", DATA)
on_both_libraries = pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])


@on_all_data
@on_both_libraries
def test_metrics_agree_with_scikit_learn(kind: str, make) -> None:
    h = DATA[kind]
    cosines = cosine_similarity(h, ANCHORS)
    s = cosines / 0.1
    own = cosines[np.arange(N), Y]
    others = np.where(np.arange(C) == Y[:, None], -np.inf, cosines).max(1)
    x, e, y = make(h), make(ANCHORS), make(Y)
    assert accuracy(make(s), y) == pytest.approx(accuracy_score(Y, s.argmax(1)), abs=1e-7)
    q = np.exp(log_softmax(s, axis=1))
    assert cross_entropy(make(s), y) == pytest.approx(log_loss(Y, q, labels=range(C)), rel=1e-9)
    assert alignment(x, e, y) == pytest.approx(own.mean(), rel=1e-9)
    assert margin(x, e, y) == pytest.approx((own - others).mean(), rel=1e-9)


@pytest.mark.parametrize(("classes", "tau"), [(10, 1.0), (2, 0.5), (7, 0.1)])
def test_the_floor_of_the_cosine_cross_entropy(classes: int, tau: float) -> None:
    """At the best unit vector for class 0, CE = log(1 + (C-1) exp(-√(C/(C-1))/τ))."""
    e = np.eye(classes)
    h = e[:1] - (e[1:].sum(0) / (classes - 1))
    s = make_scores(torch.tensor(h), torch.tensor(e), "cosine", tau)
    floor = math.log1p((classes - 1) * math.exp(-math.sqrt(classes / (classes - 1)) / tau))
    assert cross_entropy(s, np.array([0])) == pytest.approx(floor, rel=1e-9)
    if (classes, tau) == (10, 1.0):
        assert floor == pytest.approx(1.42, abs=0.005)


def test_activations_at_their_anchor_are_aligned() -> None:
    e = np.linalg.qr(rng.normal(size=(P, C)))[0].T
    y = np.arange(C)
    assert alignment(e, e, y) == pytest.approx(1, abs=1e-12)
    assert margin(e, e, y) == pytest.approx(1, abs=1e-12)
    assert alignment(-e, e, y) == pytest.approx(-1, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_alignment_does_not_see_scale(scale: float) -> None:
    h = DATA["random"].astype("float32")
    expected = alignment(DATA["random"], ANCHORS, Y)
    assert alignment(scale * h, ANCHORS.astype("float32"), Y) == pytest.approx(expected, rel=1e-4)


def test_zero_vectors_are_left_out_and_alone_are_undefined() -> None:
    h = np.vstack([ANCHORS[Y[:2]], np.zeros((2, P))])
    assert alignment(h, ANCHORS, Y[:4]) == pytest.approx(1, abs=1e-12)
    with pytest.raises(UndefinedError):
        alignment(np.zeros((2, P)), ANCHORS, Y[:2])


def test_one_class_has_no_margin() -> None:
    with pytest.raises(UndefinedError, match="two classes"):
        margin(DATA["random"], ANCHORS[:1], np.zeros(N, int))


def test_identical_layers_read_their_entropy_but_no_divergence() -> None:
    s = rng.normal(size=(N, C))
    q = np.exp(log_softmax(s, axis=1))
    entropy = -(q * np.log(q)).sum(1).mean()
    assert ace_regularizer(s, s) == pytest.approx(entropy, rel=1e-12)
    assert ace_regularizer(s, s, "js") == pytest.approx(0, abs=1e-12)
    assert ace_regularizer(s, s, "sym_kl") == pytest.approx(0, abs=1e-12)


def test_random_scores_are_right_once_in_c() -> None:
    y = np.random.default_rng(1).integers(0, 10, 20_000)
    s = np.random.default_rng(2).normal(size=(20_000, 10))
    assert abs(accuracy(s, y) - 0.1) < 4 * math.sqrt(0.09 / 20_000)
