"""The folds of which each is held out once, and how often each class is in them."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from cmp_core.errors import UndefinedError
from cmp_core.layers.arrays import precise
from cmp_core.layers.sampling import FOLDS, folds_of, stratified_fold_order


class Folds:
    """Samples in five folds, stratified by class and made by a hash of the sample ids.

    Args:
        sample_ids: (n,), of a batch or of a whole split.
        labels: (n,) from 0 to C-1, or none.
        num_classes: C.
    """

    def __init__(self, sample_ids: Tensor, labels: Tensor | None, num_classes: int) -> None:
        self.sample_ids, self.labels, self.num_classes = sample_ids, labels, num_classes

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
    def _classes(self) -> Tensor | None:
        """The K classes that there are, or none where those are taken to be 0 to C-1.

        There are never more than samples: a class that nobody has costs nothing.
        """
        if self.labels is None:
            raise UndefinedError("there are no labels")
        if self.num_classes <= len(self.labels):
            return None  # without a look at the labels, which would hold up a GPU
        classes: Tensor = torch.unique(self.labels)
        return classes

    @property
    def width(self) -> int:
        """K, number of classes that targets and scores are about.

        Raises:
            UndefinedError: there are no labels.
        """
        return self.num_classes if self._classes is None else len(self._classes)

    def columns(self, labels: Tensor) -> Tensor:
        """Return the position (k,) of each of some labels among the K classes."""
        return labels if self._classes is None else torch.searchsorted(self._classes, labels)

    def one_hot(self, labels: Tensor) -> Tensor:
        """Return labels (k,) as 0 and 1, (k, K)."""
        columns = torch.nn.functional.one_hot(self.columns(labels), self.width)
        return columns.to(precise(labels.device))

    @cached_property
    def targets(self) -> Tensor:
        """The one-hot labels, (n, K)."""
        if self.labels is None:
            raise UndefinedError("there are no labels")
        return self.one_hot(self.labels)

    @cached_property
    def class_counts(self) -> Tensor:
        """How many samples of each class every fold holds, (5, K)."""
        if self.labels is None:
            raise UndefinedError("there are no labels")
        dtype = precise(self.labels.device)
        ones = torch.ones_like(self.labels, dtype=dtype)
        counts = ones.new_zeros(FOLDS * self.width)
        counts.index_add_(0, self._fold * self.width + self.columns(self.labels), ones)
        return counts.view(FOLDS, self.width)

    @property
    def has_classes(self) -> Tensor:
        """Whether there are samples of two classes or more, (0-d) bool."""
        return (self.class_counts.sum(dim=0) > 0).sum() > 1

    @cached_property
    def prior(self) -> Tensor:
        """The class frequencies in all folds but one, for each, (5, K).

        One sample is added of each class that is there at all: one that the other folds lack is
        then unlikely, not impossible.
        """
        counts = self.class_counts
        total = counts.sum(dim=0)
        raised = total - counts + (total > 0).to(counts.dtype)
        return raised / raised.sum(dim=1, keepdim=True)

    @cached_property
    def _fold(self) -> Tensor:
        return folds_of(self.order)

    @cached_property
    def _sorted(self) -> tuple[Tensor, Tensor]:
        ids, order = self.sample_ids.sort()
        return ids, order
