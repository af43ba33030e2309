"""How much about the label a linear probe can use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cmp_core import (
    FOLDS,
    PENALTY,
    Array,
    LayerStatistics,
    LayerView,
    Positive,
    TensorSum,
    UndefinedError,
    held_out_statistics_of,
    metric,
    of_class,
)

_UNDEFINED = "there is nothing to fit: no unit varies, or all labels are of one class"
_SHARPNESS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""What β is chosen from: 0 is the prior alone, 128 a near-certain choice."""
_TIE = 1e-9
"""Nats a sample by which surprises may differ that count as equal."""


def label_information(
    activations: Array,
    labels: Array,
    *,
    fit: Sequence[Array] | None = None,
    penalty: float = 0.0,
) -> float:
    """Return the usable information about the label, H(Y | prior) - H(Y | probe), in nats.

    The probe's probabilities are q_c ∝ π_c exp(β (s_c - π_c)), with the scores s of the linear
    probe of `probe_accuracy`, cut off at 0 and 1 as they estimate probabilities, and the class
    frequencies π of its fitting samples. The sharpness β of
    a fold of the scored samples is the one of a fixed list that is best on the other folds, of
    several equal ones (to 1e-9 nats a sample) the smallest. H is the mean of -log q_y; at β = 0
    the probe says the prior and the value is 0. π counts one sample more of each class that is
    there, so none is impossible.

    Args:
        activations: (n, p); more dimensions are flattened.
        labels: (n,) whole numbers.
        fit: activations (m, p) and labels (m,) of the samples that the probe is fitted to, as over
            a split of a run. Without them every sample is scored by the fit to the other four of
            five folds, which are stratified by class and made by a hash of the row numbers.
        penalty: of a ridge regression in five folds, as on a batch, relative to the mean
            eigenvalue of X̃ᵀX̃; 0 for least squares.

    Raises:
        UndefinedError: no variance, one class only, or no more samples in a fit than units.

    Xu et al. 2020, "A theory of usable information under computational constraints",
    arXiv:2002.10689, for linear probes.

    >>> import numpy as np
    >>> y = np.arange(1000) % 2
    >>> round(label_information(y[:, None] * 1.0, y), 3)  # log 2
    0.693
    """
    (statistics,) = held_out_statistics_of(activations, labels=labels, fit=fit, penalty=penalty)
    value = _information(_surprise(statistics, penalty or PENALTY))
    if not value.isfinite():
        raise UndefinedError(_UNDEFINED)
    return float(value)


@metric(
    "label_information",
    split="state",
    unit="nats",
    question="predictive",
    invariances={"affine", "orthogonal", "permute_samples", "permute_units", "scale"},
    needs=("labels", "statistics.held_out_scores"),
    undefined=_UNDEFINED,
)
class LabelInformation(TensorSum):
    """Usable information about the label in nats: by how much a linear probe beats the prior.

    Both are cross-entropies of samples that were not fitted to. It is at most that of the prior,
    which at few samples lies a little above H(Y), and about 0 for labels that the layer does not
    tell linearly. Unlike mutual information it can grow from layer to layer. It is not a bound of
    I(Y; T).

    Args:
        penalty: of the ridge regression on a batch, relative to the mean eigenvalue of X̃ᵀX̃.
    """

    def __init__(self, *, penalty: Positive = PENALTY) -> None:
        self._penalty = penalty

    def update(self, view: LayerView) -> None:
        """Add a chunk's surprise to that of its folds."""
        self.add(_surprise(view.statistics, self._penalty))

    def compute(self) -> Tensor:
        """Return the information in nats."""
        return _information(self.total)


def _surprise(statistics: LayerStatistics, penalty: float) -> Tensor:
    """Return Σ -log q_y for every sharpness and fold, and a last row of counts, (10, 5)."""
    scores = statistics.held_out_scores(penalty).clamp(0, 1)
    prior = statistics.held_out_prior()
    beta = scores.new_tensor(_SHARPNESS)[:, None, None]
    logits = prior.log() + beta * (scores - prior)  # (9, n, C)
    surprise = logits.logsumexp(dim=2) - of_class(logits, statistics.columns())
    rows = torch.cat([surprise, torch.ones_like(surprise[:1])])
    return rows.new_zeros(len(rows), FOLDS).index_add(1, statistics.folds(), rows)


def _information(surprise: Tensor) -> Tensor:
    sums, n = surprise[:-1], surprise[-1].sum()
    others = sums.sum(dim=1, keepdim=True) - sums
    # Where several tell all the other folds rightly, rounding must not choose among them.
    is_best = others <= others.amin(dim=0) + _TIE * n
    best = is_best.to(torch.uint8).argmax(dim=0, keepdim=True)
    return (sums[0] - sums.gather(0, best).squeeze(0)).sum() / n
