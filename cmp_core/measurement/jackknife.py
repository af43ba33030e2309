"""Standard errors by leaving out each of twenty groups of samples once.

Of a value θ̂ of n samples, and θ̂₋ⱼ of those without the mⱼ samples of group j, the influences are
tⱼ = G (1 - mⱼ/n) (θ̂ - θ̂₋ⱼ): of a mean, G/n times the sum over the group of what its samples differ
from it. They are G independent numbers whose mean has the error of θ̂. Busing, Meijer & van der
Leeden 1999, doi:10.1023/A:1008800423698, for groups of unequal size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

FEWEST = 40
"""Samples below which there is no standard error: a group would be a single one."""


def influences(
    value: Mapping[str, Any], replicates: Sequence[Mapping[str, Any]], shares: Tensor
) -> dict[str, Tensor]:
    """Return the influences of the groups, (G,) or (G, p), for each value that all have.

    Args:
        value: of all samples, by name.
        replicates: without each group.
        shares: mⱼ/n, (G,).

    >>> x = torch.tensor([1.0, 2.0, 6.0])
    >>> without = [{"": x[[1, 2]].mean()}, {"": x[[0, 2]].mean()}, {"": x[[0, 1]].mean()}]
    >>> influences({"": x.mean()}, without, torch.full((3,), 1 / 3))[""]  # x - 3
    tensor([-2.0000, -1.0000,  3.0000])
    """
    found = {}
    for name, own in value.items():
        others = [replicate.get(name) for replicate in replicates]
        if any(not isinstance(one, Tensor) or one.shape != own.shape for one in others):
            continue
        stacked = torch.stack([one for one in others if one is not None])
        weights = (len(others) * (1 - shares)).view(-1, *[1] * own.ndim)
        found[name] = weights * (own - stacked)
    return found


def of_mean(values: Tensor) -> Tensor:
    """Return the influences of samples on the mean of their values (n,), NaN left out.

    >>> of_mean(torch.tensor([1.0, 3.0, float("nan")]))
    tensor([-1.5000,  1.5000,  0.0000])
    """
    known = values.isnan().logical_not()
    deviations = torch.where(known, values - values.nanmean(), 0.0)
    return deviations * (len(values) / known.sum())


def standard_error(influence: Tensor) -> Tensor:
    """Return the standard error (…,) for influences (u, …) of samples or groups.

    >>> standard_error(torch.tensor([-1.0, 1.0]))
    tensor(1.)
    """
    error: Tensor = influence.std(dim=0) / len(influence) ** 0.5
    return error
