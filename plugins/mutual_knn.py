"""Mutual nearest neighbours: whether two layers find the same samples alike.

A metric in one file. Use it with `cmp run -p cmp:mutual_knn`, or copy it and change it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cmp_core import (
    Array,
    LayerView,
    PositiveInt,
    UndefinedError,
    as_matrices,
    centred,
    metric,
    rescaled,
)

_UNDEFINED = "all samples of a layer are equally near to each other"
_TIE = 1e-12
"""Squared distances that differ by less, relative to the largest, are equal but for rounding."""


def mutual_knn(x: Array, y: Array, *, k: int = 10) -> dict[str, float]:
    """Return which share of a sample's k nearest neighbours two layers have in common, by name.

    Neighbours are those of largest cosine, the sample itself left out.

    - an empty name: the mean share over samples, mean_i |N_x(i) ∩ N_y(i)| / k;
    - `chance`: its exact mean over all pairings of the samples, c = k / (n-1), which it has
      for layers that are independent;
    - `above_chance`: (share - c) / (1 - c): 0 by chance, 1 for the same neighbours.

    Samples that tie for the last places share them: the value is the mean over all ways to break
    the ties, in each layer by itself. So chance stays exact, and a layer with ties reads less than
    1 even with itself, as its neighbours are ambiguous. A sample without activation has cosine 0
    with all others.

    Args:
        x: (n, p).
        y: (n, q), the same samples in the same order.
        k: number of neighbours.

    Raises:
        UndefinedError: fewer than k + 2 samples, or a layer in which all cosines are equal.

    Huh et al. 2024, arXiv:2405.07987, whose clipping of outlying activations is left out.

    >>> import numpy as np
    >>> angle = np.linspace(0.0, 3.0, 12)[:, None]
    >>> x = np.hstack([np.cos(angle), np.sin(angle)])
    >>> mutual_knn(x, 7 * x[:, ::-1], k=2)[""]
    1.0
    """
    x, y = as_matrices(x, y)
    shares = _shares(x, y, k)
    values = {name: float(value) for name, value in shares.items()}
    if values[""] != values[""]:
        raise UndefinedError(_UNDEFINED)
    return values


@metric(
    "mutual_knn",
    split="subset",
    scope="pair",
    unit="fraction",
    question="different",
    bounds=(0, 1),
    invariances={"orthogonal", "permute_samples", "permute_units", "scale", "symmetric"},
    slow=True,
    undefined=_UNDEFINED,
)
def mutual_knn_metric(
    first: LayerView, second: LayerView, *, k: PositiveInt = 10
) -> dict[str, Tensor | float]:
    """Share of the k nearest neighbours that a layer has in common with the previous one.

    Over a split on the fixed subset; further `chance` and `above_chance`. It asks who is nearest,
    whatever the distances, where `linear_cka` is led by the directions of largest variance. With
    more samples neighbours are nearer and harder to agree on, so compare equal n and k only.
    """
    return _shares(first.activations, second.activations, k)


def _shares(x: Tensor, y: Tensor, k: int) -> dict[str, Tensor | float]:
    n = len(x)
    if n < k + 2:
        raise UndefinedError(f"at least k + 2 = {k + 2} samples are needed, there are {n}")
    a, b = _memberships(x, k), _memberships(y, k)
    are_all_equal = max(a.values().numel(), b.values().numel()) == n * (n - 1)
    share = torch.nan if are_all_equal else torch.sparse.sum(a * b) / (n * k)
    chance = k / (n - 1)
    return {"": share, "chance": chance, "above_chance": (share - chance) / (1 - chance)}


def _memberships(activations: Tensor, k: int) -> Tensor:
    """Return how sure sample j is among the k nearest of i, sparse (n, n): 1, or less at a tie."""
    n = len(activations)
    distances, rounding = _distances(rescaled(activations))
    last = distances.topk(k, dim=1, largest=False).values[:, -1] + rounding
    i, j = (distances <= last[:, None]).nonzero(as_tuple=True)
    is_tied = distances[i, j] >= (last - 2 * rounding)[i]
    places = k - i[~is_tied].bincount(minlength=n)
    sure = places.to(distances.dtype) / i[is_tied].bincount(minlength=n)
    return torch.sparse_coo_tensor(
        torch.stack([i, j]),
        torch.where(is_tied, sure[i], 1.0),
        (n, n),
        is_coalesced=True,
        check_invariants=True,
    )


def _distances(activations: Tensor) -> tuple[Tensor, Tensor]:
    """Return 2 - 2 cos (n, n) of all pairs of samples, infinite with itself, and its rounding.

    It is ‖u - v‖² of the directions u and v, which are counted from their mean: under a common
    offset the cosines themselves differ in their last digits alone.
    """
    peaks = activations.abs().amax(dim=1, keepdim=True)
    is_zero = peaks.squeeze(1) == 0
    rows = (activations / peaks).nan_to_num(0.0)
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    rows = centred((rows / lengths).nan_to_num(0.0))
    squares = rows.square().sum(dim=1)
    distances = squares[:, None] + squares - 2 * rows @ rows.T
    distances[is_zero | is_zero[:, None]] = 2
    size = torch.where(is_zero, 0.0, squares).max()
    unit = 16 * torch.finfo(size.dtype).eps  # of the directions, which are of length 1
    return distances.fill_diagonal_(torch.inf), _TIE * size + unit * size.sqrt() + unit**2
