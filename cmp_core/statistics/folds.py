"""Parts of samples, of which each is held out once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from cmp_core.layers.arrays import precise
from cmp_core.layers.sampling import FOLDS, GROUPS, fold_order, group_order, parts_of


class Partition(ABC):
    """Samples in parts of equal size, to within one, made by a hash of the sample ids.

    Args:
        sample_ids: (n,), of a batch or of a whole split.

    Attributes:
        count: how many parts.
    """

    count: int

    def __init__(self, sample_ids: Tensor) -> None:
        self.sample_ids = sample_ids

    @property
    @abstractmethod
    def order(self) -> Tensor:
        """The order (n,) in which samples are assigned to parts."""

    @abstractmethod
    def to(self, device: torch.device) -> Self:
        """Return the parts on a device."""

    def of(self, sample_ids: Tensor) -> Tensor:
        """Return the part (k,), from 0 on, in which each of some samples is held out."""
        return self._part if sample_ids is self.sample_ids else self._part[self.places(sample_ids)]

    def places(self, sample_ids: Tensor) -> Tensor:
        """Return where some samples (k,) stand among all of them."""
        ids, order = self._sorted
        return order[torch.searchsorted(ids, sample_ids)]

    @cached_property
    def _part(self) -> Tensor:
        return parts_of(self.order, self.count)

    @cached_property
    def _sorted(self) -> tuple[Tensor, Tensor]:
        ids, order = self.sample_ids.sort()
        return ids, order


class Folds(Partition):
    """Five parts, stratified by class, each of which is scored by fits to the others.

    Args:
        sample_ids: (n,).
        labels: (n,), or none.
    """

    count = FOLDS

    def __init__(self, sample_ids: Tensor, labels: Tensor | None) -> None:
        super().__init__(sample_ids)
        self.labels = labels

    @cached_property
    def order(self) -> Tensor:
        """The order (n,) in which samples are assigned to folds."""
        return fold_order(self.sample_ids, self.labels)

    def to(self, device: torch.device) -> Folds:
        """Return the folds on a device."""
        if self.sample_ids.device == device:
            return self
        labels = None if self.labels is None else self.labels.to(device)
        return Folds(self.sample_ids.to(device), labels)


class Groups(Partition):
    """Twenty parts, each of which is left out once: how much that changes a value is its error."""

    count = GROUPS

    @cached_property
    def order(self) -> Tensor:
        """The order (n,) in which samples are assigned to groups."""
        return group_order(self.sample_ids)

    def to(self, device: torch.device) -> Groups:
        """Return the groups on a device."""
        return self if self.sample_ids.device == device else Groups(self.sample_ids.to(device))

    def shares(self, sample_ids: Tensor) -> Tensor:
        """Return the share of each group in some samples, (20,)."""
        counts = self.of(sample_ids).bincount(minlength=self.count)
        return counts.to(precise(counts.device)) / len(sample_ids)
