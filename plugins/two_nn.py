"""TwoNN: of how many dimensions the set is that a layer's activations fill.

A metric in one file. Use it with `cmp run -p cmp:two_nn`, or copy it and change it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cmp_core import (
    Array,
    LayerView,
    UndefinedError,
    as_matrix,
    centred,
    metric,
    rescaled,
)

_UNDEFINED = "the two nearest neighbours are equally near"
_SAME = 1e-6
"""Samples that are nearer than this share of the layer's spread count as one."""
_TIE = 1e-12
"""Squared distances that differ by less, relative to their size, are equal but for rounding."""
_MOST_TIES = 0.1
"""Share of samples with r₁ = r₂ above which there is no density: the activations are discrete."""
_CANDIDATES = 8
"""Neighbours whose distances are computed from differences; the others cannot be the nearest."""


def two_nn(activations: Array) -> float:
    """Return the intrinsic dimension of activations (n, p), from each sample's two nearest ones.

    Where the density hardly changes within that reach, μ = r₂/r₁ of their distances has the
    distribution 1 - μ^(-d). Returned is d = (n-1) / Σ log μ: the estimate of maximum likelihood,
    n / Σ log μ, less its bias for independent μ. The standard error is about d/√n. All samples
    count, where Facco et al. fit a line to the distribution of μ without its largest tenth.

    Activations of few values, such as bits, have no density: where r₁ = r₂ for more than a tenth of
    the samples there is no value.

    Copies of a sample say nothing about dimension and are left out first, n being what remains:
    samples nearer to each other than a millionth of the spread √(tr S / n).

    Args:
        activations: (n, p).

    Raises:
        UndefinedError: fewer than 3 distinct samples, or r₁ = r₂ for more than a tenth of them.

    Facco et al. 2017, doi:10.1038/s41598-017-11873-y; the unbiased estimate: Denti et al. 2022,
    doi:10.1038/s41598-022-20991-1.

    >>> import numpy as np
    >>> line = 2.0 ** np.arange(4)[:, None]  # 1, 2, 4, 8: μ = 3, 2, 3/2, 3/2
    >>> round(two_nn(line), 6)  # 3 / log 13.5
    1.152654
    """
    return float(_dimension(as_matrix(activations)))


@metric(
    "two_nn",
    split="subset",
    unit="dimensions",
    question="compressing",
    bounds=(0, float("inf")),
    invariances={"orthogonal", "permute_samples", "permute_units", "scale"},
    slow=True,
    undefined=_UNDEFINED,
)
def two_nn_metric(view: LayerView) -> Tensor:
    """Intrinsic dimension by the distances of the two nearest neighbours, over a split's subset.

    It sees curved sets for what they are: a circle in any number of units has one dimension, where
    `participation_ratio` counts two. It looks at the smallest scale that n samples show, noise
    included, and reads too low in many dimensions: about 17 for 20 normal ones at n = 2,048.
    """
    return _dimension(view.activations)


def _dimension(activations: Tensor) -> Tensor:
    rows = centred(rescaled(activations))
    lengths = rows.square().sum(dim=1)
    squares = torch.addmm(lengths, rows, rows.T, alpha=-2).add_(lengths[:, None])
    squares.fill_diagonal_(torch.inf)
    is_copy = (squares <= _SAME**2 * lengths.mean()).tril(-1).any(dim=1)
    n = len(rows) - int(is_copy.sum())
    if n < 3:
        raise UndefinedError(f"at least 3 distinct samples are needed, there are {n}")
    squares.masked_fill_(is_copy, torch.inf)
    near = squares.topk(min(_CANDIDATES, n - 1), dim=1, largest=False).indices
    kept = is_copy.logical_not().nonzero().squeeze(1)
    first, second = torch.cat([_two_nearest(rows, i, near[i]) for i in torch.split(kept, _ROWS)]).T
    is_tie = second <= first * (1 + _TIE)
    share = float(is_tie.to(rows.dtype).mean())
    if share > _MOST_TIES:
        raise UndefinedError(f"{_UNDEFINED} for {share:.0%} of the samples")
    logarithms = torch.where(is_tie, 0.0, (second / first).log() / 2)
    dimension: Tensor = (n - 1) / logarithms.sum()
    return dimension


_ROWS = 256
"""Samples whose differences to their candidates are in memory at once."""


def _two_nearest(rows: Tensor, samples: Tensor, near: Tensor) -> Tensor:
    """Return the two smallest squared distances (k, 2) of samples to their candidates (k, m).

    From differences: ‖x‖² + ‖y‖² - 2 x·y, which found the candidates, is rounded off where samples
    are far from the mean.
    """
    squares = (rows[samples, None] - rows[near]).square().sum(dim=2)
    return squares.topk(2, dim=1, largest=False).values
