"""Effective rank: over how many directions a layer's variance is spread, counted in three ways.

A metric in one file. Use it with `cmp run -p cmp:effective_rank`, or copy it and change it. It is
shown beside the question whether layers compress and has no part in the verdict: it counts the
same eigenvalues as `participation_ratio`, which has. With `evidence="falls"` it would take part.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cmp_core import (
    Array,
    LayerView,
    UndefinedError,
    metric,
    statistics_of,
)

_UNDEFINED = "no unit varies, or one sample is so large that nothing of the others is left"


def effective_rank(activations: Array) -> dict[str, float]:
    """Return three soft counts of the directions in which activations (n, p) vary.

    With λ the eigenvalues of the covariance S/(n-1), so that √((n-1)λ) are the singular values of
    the centred activations X̃, and H the entropy of shares in nats:

    - an empty name: exp H(λ / Σλ), the effective rank of the *covariance*;
    - `rankme`: exp H(√λ / Σ√λ), the effective rank of X̃ *itself*, in which small variances count
      for more. RankMe takes the activations uncentred and adds 1e-7 to each share; here the mean is
      removed, since the offset of ReLU activations would be one large direction that tells no
      sample from another, and a share of 0 adds nothing to an entropy;
    - `stable`: Σλ / max λ = ‖X̃‖²_F / ‖X̃‖²₂, the stable rank, which rests on the largest alone.

    stable ≤ effective rank ≤ rankme ≤ the rank of X̃, with equality for equal eigenvalues.

    Args:
        activations: (n, p).

    Raises:
        UndefinedError: fewer than 2 samples, or no variance.

    Roy & Vetterli 2007, EUSIPCO; RankMe: Garrido et al. 2023, arXiv:2210.02885; stable rank:
    Rudelson & Vershynin 2007, doi:10.1145/1255443.1255449.

    >>> import numpy as np
    >>> cross = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> {name: round(value, 4) for name, value in effective_rank(cross).items()}
    {'': 1.3841, 'rankme': 1.7548, 'stable': 1.1111}
    """
    (statistics,) = statistics_of(activations, is_rescaled=True)
    counts = {name: float(value) for name, value in _counts(statistics.eigenvalues()).items()}
    if any(value != value for value in counts.values()):
        raise UndefinedError(_UNDEFINED)
    return counts


@metric(
    "effective_rank",
    split="moments",
    unit="directions",
    question="compressing",
    bounds=(1, float("inf")),
    invariances={"orthogonal", "permute_samples", "permute_units", "scale"},
    needs=("statistics.eigenvalues",),
    slow=True,
    undefined=_UNDEFINED,
)
def effective_rank_metric(view: LayerView) -> dict[str, Tensor]:
    """Exponential of the entropy of the eigenvalues' shares; further `rankme` and `stable`.

    Exact over a whole split. Not debiased: of n samples of p isotropic units it reads about
    p exp(-p/2n) while p ≤ n, so compare values of equal n and width only. Not the rank, which
    counts every direction alike, and not the intrinsic dimension of a curved set (`two_nn`).
    """
    return _counts(view.statistics.eigenvalues())


def _counts(eigenvalues: Tensor) -> dict[str, Tensor]:
    """Return the counts (…,) from eigenvalues (…, m), largest first; NaN where all are 0."""
    return {
        "": _exp_entropy(eigenvalues),
        "rankme": _exp_entropy(eigenvalues.sqrt()),
        "stable": eigenvalues.sum(dim=-1) / eigenvalues[..., 0],
    }


def _exp_entropy(values: Tensor) -> Tensor:
    shares = values / values.sum(dim=-1, keepdim=True)
    entropy: Tensor = torch.special.entr(shares).sum(dim=-1)
    return entropy.exp()
