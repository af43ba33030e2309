"""Neural collapse: how far a layer's classes have shrunk to points at the corners of a simplex.

A metric that reads a split twice, in one file. Use it with `cmp run -p cmp:neural_collapse`, or
copy it and change it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cmp_core import (
    Array,
    LayerView,
    TensorSum,
    UndefinedError,
    UsageError,
    as_labels,
    as_matrix,
    class_indices,
    metric,
    rescaled,
)


def neural_collapse(
    activations: Array,
    labels: Array,
    *,
    anchors: Array | None = None,
    scores: Array | None = None,
) -> dict[str, float]:
    """Return how far the classes are from neural collapse, by name; each is 0 where it is complete.

    With class means μ_c, their mean μ, and M of rows m_c = μ_c - μ:

    - an empty name: NC1, tr(Σ_W Σ_B⁺) / C, of the covariances within and between classes
      Σ_W = mean_c mean_i (h_ci - μ_c)(h_ci - μ_c)ᵀ and Σ_B = mean_c m_c m_cᵀ;
    - `nc2_norms`: the standard deviation of the ‖m_c‖ over their mean;
    - `nc2_angles`: the mean of |cos(m_c, m_c') + 1/(C-1)| over pairs of classes;
    - `nc3`, given anchors: ‖A/‖A‖ - M/‖M‖‖²_F, 0 to 4, with A the anchors less their mean, to
      which a softmax is blind (in the paper, the weights as they are);
    - `nc4`, given scores: the share of samples whose best score is not that of the nearest μ_c.

    Classes count alike whatever their sizes, as in the paper, where all are of one size; classes
    without samples are left out.

    Args:
        activations: (n, N).
        labels: (n,) whole numbers; with anchors or scores, positions in these.
        anchors: (C, N), such as the weights of a classifier.
        scores: (n, C).

    Raises:
        UndefinedError: fewer than 2 classes, or equal class means.

    Papyan, Han & Donoho 2020, arXiv:2008.08186.

    >>> import numpy as np
    >>> triangle = np.array([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]])
    >>> spread = np.repeat(triangle, 2, axis=0) + 0.1 * np.array([[1.0, 0.0], [-1.0, 0.0]] * 3)
    >>> values = neural_collapse(spread, np.arange(6) // 2, anchors=2 * triangle)
    >>> {name: round(value, 6) + 0.0 for name, value in values.items()}  # 0.01 / ½ / 3
    {'': 0.006667, 'nc2_norms': 0.0, 'nc2_angles': 0.0, 'nc3': 0.0}
    """
    h = rescaled(as_matrix(activations))
    e = None if anchors is None else as_matrix(anchors, "anchors")
    s = None if scores is None else as_matrix(scores, "scores")
    sizes = [] if e is None else [len(e)]
    sizes += [] if s is None else [s.shape[1]]
    if len(set(sizes)) > 1:
        raise UsageError(f"expected anchors and scores of the same classes, got {sizes}")
    y = as_labels(labels, h, sizes[0]) if sizes else class_indices(labels, h)
    centres = _Centres.of(_class_sums(h, y, int(y.max()) + 1 if len(y) else 1))
    values = centres.measures(centres.sample_sums(h, y, s), e)
    if values[""].isnan():
        raise UndefinedError("the class means are equal")
    given = {"nc3": anchors is not None, "nc4": scores is not None}
    return {name: float(value) for name, value in values.items() if given.get(name, True)}


@metric(
    "neural_collapse",
    split="state",
    question="predictive",
    bounds=(0, float("inf")),
    invariances={"orthogonal", "permute_samples", "permute_units", "scale"},
    needs=("labels",),
    passes=2,
    undefined="the class means are equal",
)
class NeuralCollapse(TensorSum):
    """NC1, variability within classes over that between them; further nc2_norms to nc4.

    0 is collapse. Exact over a whole split. It is no held-out value as `probe_accuracy` is: of few
    samples the means lie near to them, and n_c isotropic samples of each of C classes that do not
    differ read about (n_c - 1)(C - 1)/N, at 13 of 10 classes in 1,024 units 0.1. So compare equal n
    only. Where anchors are class means of training samples (an MLP's hidden layers), nc3 compares
    those with the measured ones and says nothing about a classifier.
    """

    _centres: _Centres | None = None
    _anchors: Tensor | None = None
    _has_scores = False

    def update(self, view: LayerView) -> None:
        """Add a chunk to the sums of its classes."""
        self.add(_class_sums(view.activations, view.labels, view.num_classes))

    def fit(self) -> None:
        """Take the class means."""
        self._centres, self._samples = _Centres.of(self.total), TensorSum()

    def score(self, view: LayerView) -> None:
        """Compare a chunk with the class means."""
        assert self._centres is not None  # fit comes first
        self._anchors, scores = _if_any(view, "anchors"), _if_any(view, "scores")
        self._has_scores = scores is not None
        self._samples.add(self._centres.sample_sums(view.activations, view.labels, scores))

    def compute(self) -> dict[str, Tensor | UndefinedError]:
        """Return NC1 and what goes with it."""
        if self._centres is None:
            raise UndefinedError("there are no samples")
        values: dict[str, Tensor | UndefinedError] = {
            **self._centres.measures(self._samples.total, self._anchors)
        }
        if self._anchors is None:
            values["nc3"] = UndefinedError("the layer has no anchors")
        if not self._has_scores:
            values["nc4"] = UndefinedError("the layer has no scores")
        return values


def _if_any(view: LayerView, what: str) -> Tensor | None:
    try:
        tensor: Tensor = getattr(view, what)
    except UndefinedError:
        return None
    return tensor


def _precise(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def _class_sums(activations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return for every class its number of samples and the sum of their activations, (C, 1+N)."""
    rows = torch.nn.functional.pad(_precise(activations), (1, 0), value=1.0)
    return rows.new_zeros(num_classes, rows.shape[1]).index_add_(0, labels, rows)


class _Centres(NamedTuple):
    """The means of those C classes that have samples.

    Attributes:
        classes: their labels, (C,).
        counts: their numbers of samples, (C,).
        mean: the mean of their means, (N,).
        rows: the class means less that, M (C, N).
        inverse: M⁺ (N, C): Σ_B⁺ is C M⁺M⁺ᵀ, so NC1 is the mean of ‖(h - μ_c) M⁺‖².
    """

    classes: Tensor
    counts: Tensor
    mean: Tensor
    rows: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, sums: Tensor) -> _Centres:
        classes = sums[:, 0].nonzero().squeeze(1)
        if len(classes) < 2:
            raise UndefinedError("at least 2 classes with samples are needed")
        counts = sums[classes, 0]
        means = sums[classes, 1:] / counts[:, None]
        mean = means.mean(dim=0)
        rows = means - mean
        rows = rows - rows.mean(dim=0)  # once more: a large offset leaves a sum other than 0
        # What is but rounding, as equal means and the sum of the rows are, must not be inverted.
        rounding = 1e4 * torch.finfo(rows.dtype).eps
        rows = torch.where(rows.norm() > rounding * means.norm(), rows, 0.0)
        return cls(classes, counts, mean, rows, torch.linalg.pinv(rows, rtol=rounding))

    def sample_sums(self, activations: Tensor, labels: Tensor, scores: Tensor | None) -> Tensor:
        """Return for every class Σ ‖(h - μ_c) M⁺‖² and the number for NC4, (C, 2)."""
        own = torch.searchsorted(self.classes, labels)
        rows = _precise(activations) - self.mean
        spread = (rows @ self.inverse - (self.rows @ self.inverse)[own]).square().sum(dim=1)
        if scores is None:
            differs = torch.full_like(spread, torch.nan)
        else:
            distances = self.rows.square().sum(dim=1) - 2 * rows @ self.rows.T  # less ‖h - μ‖²
            differs = _precise(self.classes[distances.argmin(dim=1)] != scores.argmax(dim=1))
        sums = spread.new_zeros(len(self.classes), 2)
        return sums.index_add_(0, own, torch.stack([spread, differs], dim=1))

    def measures(self, sample_sums: Tensor, anchors: Tensor | None) -> dict[str, Tensor]:
        """Return the values by name; NaN where there is none."""
        spread, differs = (sample_sums / self.counts[:, None]).T
        norms = self.rows.norm(dim=1)
        cosines = (self.rows @ self.rows.T) / (norms * norms[:, None])
        num = len(self.classes)
        pairs = torch.triu_indices(num, num, offset=1, device=norms.device)
        angles = cosines[pairs[0], pairs[1]] + 1 / (num - 1)
        duality = norms.new_full((), torch.nan)
        if anchors is not None:
            classifier = _precise(anchors[self.classes])
            classifier = classifier - classifier.mean(dim=0)
            duality = (classifier / classifier.norm() - self.rows / self.rows.norm()).square().sum()
        differ = torch.where(norms.sum() > 0, 1.0, torch.nan)
        return {
            "": spread.mean() * differ,
            "nc2_norms": norms.std(correction=0) / norms.mean(),
            "nc2_angles": angles.abs().mean(),
            "nc3": duality,
            "nc4": (differs * self.counts).sum() / self.counts.sum() * differ,
        }
