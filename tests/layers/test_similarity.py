"""Tests of `cmp_core.layers.similarity`, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances

from cmp_core.errors import UsageError
from cmp_core.layers.similarity import cosine, defined_cosine, fixed_anchors, scores


def test_scores_agree_with_scikit_learn() -> None:
    g = torch.Generator().manual_seed(0)
    h = torch.randn(40, 7, generator=g, dtype=torch.float64)
    e = torch.randn(3, 7, generator=g, dtype=torch.float64)
    np.testing.assert_allclose(cosine(h, e), cosine_similarity(h, e), atol=1e-14)
    l2 = -euclidean_distances(h, e, squared=True) / 0.1
    np.testing.assert_allclose(scores(h, e, "l2", 0.1), l2, rtol=1e-12)
    np.testing.assert_allclose(
        scores(h, e, "cosine", 0.1), cosine_similarity(h, e) / 0.1, atol=1e-12
    )


def test_a_zero_vector_scores_all_classes_alike_and_has_no_direction() -> None:
    h = torch.zeros(1, 4, requires_grad=True)
    values = cosine(h, torch.eye(4))
    assert values.tolist() == [[0.0] * 4]
    values.sum().backward()
    assert h.grad is not None
    assert h.grad.isfinite().all()
    assert defined_cosine(h, torch.eye(4)).isnan().all()


@given(
    st.sampled_from(["orthonormal", "block"]),
    st.integers(1, 12),
    st.integers(0, 20),
    st.integers(0, 5),
)
def test_anchors_are_orthonormal_and_deterministic(
    kind: str, classes: int, spare: int, seed: int
) -> None:
    anchors = fixed_anchors(kind, classes, classes + spare, seed)
    torch.testing.assert_close(anchors @ anchors.T, torch.eye(classes), atol=1e-5, rtol=0)
    assert anchors.equal(fixed_anchors(kind, classes, classes + spare, seed))


def test_kinds_of_anchors_differ_as_named() -> None:
    assert (fixed_anchors("block", 4, 10, 0) >= 0).all()
    assert (fixed_anchors("orthonormal", 4, 10, 0) < 0).any()
    assert not fixed_anchors("orthonormal", 4, 10, 0).equal(fixed_anchors("orthonormal", 4, 10, 1))


def test_anchors_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    fixed_anchors("orthonormal", 4, 10, 0)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("kind", ["orthonormal", "block"])
def test_fewer_units_than_classes_is_an_error(kind: str) -> None:
    with pytest.raises(UsageError, match="got N = 4 for 10 classes"):
        fixed_anchors(kind, 10, 4, 0)
