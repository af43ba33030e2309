"""The Amended Cross Entropy term: how far two predictive distributions are apart.

Shoham & Permuter, "Amended Cross Entropy Cost: Framework For Explicit Diversity Encouragement",
2020, arXiv:2007.08140. The greedy rule rewards this divergence between a layer and its neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor


def cross_entropy(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return H(p, q) = -Σ p log q per sample, in nats; H(p, p) is the entropy of p, not 0.

    Args:
        log_p: log-probabilities (n, C).
        log_q: log-probabilities (n, C).

    >>> half = torch.tensor([[0.5, 0.5]]).log()
    >>> cross_entropy(half, half)
    tensor([0.6931])
    """
    return -(log_p.exp() * log_q).sum(-1)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p‖q) = Σ p (log p - log q) per sample, in nats; 0 where p = q.

    >>> kl(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log())
    tensor([0.1438])
    """
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def js(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence per sample, in nats, at most log 2.

    JS = ½ KL(p‖m) + ½ KL(q‖m) with m = (p + q) / 2 (Lin 1991).
    """
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return (kl(log_p, log_m) + kl(log_q, log_m)) / 2


def sym_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return the symmetric divergence ½ KL(p‖q) + ½ KL(q‖p) per sample, in nats."""
    return (kl(log_p, log_q) + kl(log_q, log_p)) / 2


def ce_i_next(log_q: Tensor, log_q_next: Tensor) -> Tensor:
    """Return H(qᵢ, qᵢ₊₁) per sample, in nats."""
    return cross_entropy(log_q, log_q_next)


def ce_next_i(log_q: Tensor, log_q_next: Tensor) -> Tensor:
    """Return H(qᵢ₊₁, qᵢ) per sample, in nats: the orientation of the ACE paper."""
    return cross_entropy(log_q_next, log_q)


ACE_VARIANTS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {variant.__name__: variant for variant in (ce_i_next, ce_next_i, js, sym_kl)}
)
"""What `ace_variant` may be; each takes the log-probabilities of layers i and i+1."""


_SHARE_OF_NEXT = MappingProxyType({"ce_i_next": 1.0, "sym_kl": 0.5})
"""Variants that contain H(qᵢ, qᵢ₊₁), with its weight in them."""

_CONTAIN_OWN = frozenset({"ce_next_i", "sym_kl"})
"""Variants that contain H(qᵢ₊₁, qᵢ)."""


def ace_warnings(
    variant: str, similarity: str, tau: float, weights: tuple[float, ...]
) -> list[str]:
    """Return a sentence for every known limit that the weights of the ACE term exceed.

    `ce_i_next` has its optimum at q_y = min(1, 1/(λΔ)), where Δ is the log-odds range of the
    next layer: with cosine and orthonormal anchors Δ ≤ √2/τ, so λ ≤ τ/√2 is safe, and twice that
    for `sym_kl`, which holds half of it. The variants that contain H(qᵢ₊₁, qᵢ) have no lower bound
    in free logits for any λ > 0; cosine/τ bounds the logits, the negative squared distance does
    not.

    >>> ace_warnings("ce_i_next", "cosine", 0.1, (0.07,))
    []
    >>> len(ace_warnings("ce_i_next", "cosine", 0.1, (0.08,)))
    1
    """
    weight = max(weights, default=0.0)
    if weight == 0:
        return []
    given = f"lambda_ace = {weight:g} with ace_variant {variant} and similarity {similarity}"
    warnings = []
    if variant in _SHARE_OF_NEXT and similarity == "l2":
        warnings.append(
            f"{given}: no weight is safe, because the next layer's log-odds are not bounded; "
            "a layer can prefer a wrong class. Use similarity cosine."
        )
    elif variant in _SHARE_OF_NEXT:
        bound = tau / math.sqrt(2) / _SHARE_OF_NEXT[variant]
        if weight > bound:
            warnings.append(
                f"{given}: above {bound:.3g} the loss of a layer can be lowest at a wrong class, "
                "because the next layer's log-odds reach √2/tau. Use at most that, or ace_variant "
                "ce_next_i."
            )
    if variant in _CONTAIN_OWN and similarity == "l2":
        warnings.append(
            f"{given}: the loss has no lower bound for any weight above 0, because the logits are "
            "not bounded; training can diverge. Use similarity cosine."
        )
    return warnings
