"""The classes that targets and scores of linear classifiers are about."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from cmp_core.layers.arrays import precise


class Classes:
    """K classes: 0 to C-1, or where that are more than there are samples those that are present.

    So a class that nobody has costs nothing, and there are never more than samples.

    Args:
        num_classes: C.
        labels: of all samples that are fitted to or scored, (n,) each.
    """

    def __init__(self, num_classes: int, *labels: Tensor) -> None:
        self._num_classes, self._labels = num_classes, labels
        self._is_all = num_classes <= sum(map(len, labels))

    @cached_property
    def _present(self) -> Tensor:
        """The classes that samples have, in ascending order."""
        classes: Tensor = torch.unique(torch.cat(self._labels))
        return classes

    @property
    def width(self) -> int:
        """K."""
        # Without a look at the labels, which would hold up a GPU, where that can be.
        return self._num_classes if self._is_all else len(self._present)

    def columns(self, labels: Tensor) -> Tensor:
        """Return the position (k,) of each of some labels among the K classes."""
        return labels if self._is_all else torch.searchsorted(self._present, labels)

    def one_hot(self, labels: Tensor) -> Tensor:
        """Return labels (k,) as 0 and 1, (k, K)."""
        columns = torch.nn.functional.one_hot(self.columns(labels), self.width)
        return columns.to(precise(labels.device))

    @cached_property
    def is_present(self) -> Tensor:
        """Whether any sample is of each class, (K,) bool."""
        there = torch.zeros(self.width, dtype=torch.bool, device=self._labels[0].device)
        for labels in self._labels:
            there[self.columns(labels)] = True
        return there

    def prior(self, counts: Tensor) -> Tensor:
        """Return class frequencies for counts of fitting samples (…, K), each row summing to 1.

        One sample is added of each class that is present at all: one that the fit has not seen is
        then unlikely, not impossible.
        """
        raised = counts + self.is_present.to(counts.dtype)
        return raised / raised.sum(dim=-1, keepdim=True)
