"""Tests of `cmp_core.training.ace`, against SciPy, by hand, and by the claims of the warnings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from cmp_core.config.schema import Config
from cmp_core.errors import ConfigError
from cmp_core.training.ace import ACE_VARIANTS, ace_warnings, kl


def pair(seed: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(2, 9, classes, generator=g, dtype=torch.float64)
    log_q, log_q_next = torch.log_softmax(logits, dim=2)
    return log_q, log_q_next


@given(st.integers(0, 1000), st.integers(2, 12))
def test_variants_agree_with_scipy(seed: int, classes: int) -> None:
    a, b = pair(seed, classes)
    p, q = a.exp().numpy(), b.exp().numpy()
    kl_pq, kl_qp = entropy(p, q, axis=1), entropy(q, p, axis=1)
    expected = {
        "ce_i_next": entropy(p, axis=1) + kl_pq,
        "ce_next_i": entropy(q, axis=1) + kl_qp,
        "js": jensenshannon(p, q, axis=1) ** 2,
        "sym_kl": (kl_pq + kl_qp) / 2,
    }
    for name, variant in ACE_VARIANTS.items():
        np.testing.assert_allclose(variant(a, b), expected[name], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kl(a, b), kl_pq, rtol=1e-9, atol=1e-12)


def test_two_classes_by_hand() -> None:
    a, b = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    assert ACE_VARIANTS["ce_i_next"](a, b).item() == pytest.approx(
        -0.5 * math.log(0.25) - 0.5 * math.log(0.75), rel=1e-6
    )
    assert ACE_VARIANTS["ce_next_i"](a, b).item() == pytest.approx(math.log(2), rel=1e-6)


def test_the_gradient_for_one_neighbour() -> None:
    """∂/∂z (H(p, q) - λ H(qⱼ, q)) = (1-λ) q - p + λ qⱼ, for the paper's orientation."""
    g = torch.Generator().manual_seed(0)
    z = torch.randn(1, 5, generator=g, dtype=torch.float64, requires_grad=True)
    other = torch.log_softmax(torch.randn(1, 5, generator=g, dtype=torch.float64), 1)
    log_q = torch.log_softmax(z, 1)
    (-log_q[0, 2] - 0.3 * ACE_VARIANTS["ce_next_i"](log_q, other).sum()).backward()
    p = torch.nn.functional.one_hot(torch.tensor([2]), 5)
    expected = 0.7 * log_q.exp() - p + 0.3 * other.exp()
    torch.testing.assert_close(z.grad, expected.detach(), atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize(
    ("variant", "similarity", "weight", "words"),
    [
        ("ce_i_next", "cosine", 0.0707, None),
        ("ce_i_next", "cosine", 0.0708, "above 0.0707 the loss"),
        ("ce_i_next", "l2", 0.01, "no weight is safe"),
        ("ce_next_i", "cosine", 0.5, None),
        ("ce_next_i", "l2", 0.01, "no lower bound"),
        ("sym_kl", "l2", 0.01, "no lower bound"),
        ("sym_kl", "l2", 0.01, "no weight is safe"),
        ("sym_kl", "cosine", 0.141, None),
        ("sym_kl", "cosine", 0.142, "above 0.141 the loss"),
        ("js", "l2", 0.5, None),
        ("ce_i_next", "l2", 0.0, None),
    ],
)
def test_limits_are_warned_about(
    variant: str, similarity: str, weight: float, words: str | None
) -> None:
    warnings = ace_warnings(variant, similarity, 0.1, (0.0, weight))
    assert (not warnings) if words is None else (words in " ".join(warnings))


@pytest.mark.parametrize(("variant", "share"), [("ce_i_next", 1.0), ("sym_kl", 0.5)])
def test_above_the_bound_a_wrong_class_is_really_cheaper(variant: str, share: float) -> None:
    """The warning's claim, at the next layer's largest log-odds: Δ = √2/τ, two classes."""
    delta = math.sqrt(2) / 0.1
    log_q_next = torch.log_softmax(torch.tensor([[delta, 0.0]], dtype=torch.float64), 1)
    grid = torch.linspace(-delta, delta, 4001, dtype=torch.float64)
    log_q = torch.log_softmax(torch.stack([grid, torch.zeros_like(grid)], 1), 1)
    for factor, is_safe in ((0.9, True), (4.0, False)):
        weight = factor / (share * delta)
        loss = -log_q[:, 0] - weight * ACE_VARIANTS[variant](log_q, log_q_next)
        assert (log_q[loss.argmin(), 0].exp() > 0.99).item() is is_safe


def test_the_configuration_takes_exactly_these_variants() -> None:
    for variant in ACE_VARIANTS:
        assert Config(ace_variant=variant).ace_variant == variant
    with pytest.raises(ConfigError, match=", ".join(ACE_VARIANTS)):
        Config(ace_variant="other")
