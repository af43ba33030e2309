"""How far the predictive distributions of a layer and the next one are apart."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, log_softmax

from cmp_core import (
    ACE_VARIANTS,
    Array,
    LayerView,
    UsageError,
    as_matrices,
    average,
    kl,
    metric,
)


def ace_regularizer(scores: Array, next_scores: Array, variant: str = "ce_i_next") -> float:
    """Return the mean divergence between q = softmax(scores) and the next layer's, in nats.

    Args:
        scores: (n, C) of layer i.
        next_scores: (n, C) of layer i+1.
        variant: `ce_i_next` H(qᵢ, qᵢ₊₁), `ce_next_i` H(qᵢ₊₁, qᵢ), `js`, or `sym_kl`.

    Shoham & Permuter 2020, arXiv:2007.08140.

    >>> import numpy as np
    >>> ace_regularizer(np.zeros((1, 2)), np.log([[0.25, 0.75]]))
    0.8369...
    >>> ace_regularizer(np.zeros((1, 2)), np.zeros((1, 2)), "js")
    0.0
    """
    both = as_matrices(scores, next_scores, what="scores")
    log_q, log_q_next = (log_softmax(s, dim=1) for s in both)
    if log_q.shape != log_q_next.shape:
        shapes = tuple(log_q.shape), tuple(log_q_next.shape)
        raise UsageError(f"expected scores of the same classes, got shapes {shapes}")
    return average(ACE_VARIANTS[variant](log_q, log_q_next))


@metric(
    "ace_regularizer",
    split="mean",
    scope="consecutive",
    unit="nats",
    question="different",
    bounds=(0, float("inf")),
    needs=("scores", "next.scores"),
)
def ace_regularizer_metric(view: LayerView) -> Mapping[str, Tensor]:
    """Divergence of the next layer's predictions, in nats: H(qᵢ, qᵢ₊₁) and its alternatives.

    The headline H(qᵢ, qᵢ₊₁) is not 0 for identical layers: H(q, q) is the entropy of q. The
    sub-values `kl` = KL(qᵢ‖qᵢ₊₁), `js` and `sym_kl` are, and `ce_next_i` is the orientation of
    the ACE paper.
    """
    log_q, log_q_next = view.statistics.log_q, view.next.statistics.log_q
    values = {name: variant(log_q, log_q_next) for name, variant in ACE_VARIANTS.items()}
    headline = values.pop("ce_i_next")
    return {"": headline, **values, "kl": kl(log_q, log_q_next)}
