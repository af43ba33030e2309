"""The folds of samples, of which each is held out once."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from cmp_core.layers.sampling import folds_of, stratified_fold_order


class Folds:
    """Samples in five folds, stratified by class and made by a hash of the sample ids.

    Args:
        sample_ids: (n,), of a batch or of a whole split.
        labels: (n,), or none.
    """

    def __init__(self, sample_ids: Tensor, labels: Tensor | None) -> None:
        self.sample_ids, self.labels = sample_ids, labels

    def to(self, device: torch.device) -> Folds:
        """Return the folds on a device."""
        if self.sample_ids.device == device:
            return self
        labels = None if self.labels is None else self.labels.to(device)
        return Folds(self.sample_ids.to(device), labels)

    @cached_property
    def order(self) -> Tensor:
        """The order (n,) in which samples are assigned to folds."""
        return stratified_fold_order(self.sample_ids, self.labels)

    def of(self, sample_ids: Tensor) -> Tensor:
        """Return the fold (k,), 0 to 4, in which each of some samples is held out."""
        return self._fold if sample_ids is self.sample_ids else self._fold[self.places(sample_ids)]

    def places(self, sample_ids: Tensor) -> Tensor:
        """Return where some samples (k,) stand among all of them."""
        ids, order = self._sorted
        return order[torch.searchsorted(ids, sample_ids)]

    @cached_property
    def _fold(self) -> Tensor:
        return folds_of(self.order)

    @cached_property
    def _sorted(self) -> tuple[Tensor, Tensor]:
        ids, order = self.sample_ids.sort()
        return ids, order
