"""Splits that yield batches: by index from tensors on the device, or through a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmp_core.data.augment import shift_and_flip
from cmp_core.data.reader import Reader
from cmp_core.layers.arrays import precise


@attrs.frozen(eq=False)
class Batch:
    """Normalised inputs (n, …), labels (n,) and sample ids (n,), on the device."""

    inputs: Tensor
    labels: Tensor
    sample_ids: Tensor


class Split(Protocol):
    """A fixed set of samples, known by their ids."""

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]

    def batches(
        self, order: NDArray[np.intp], size: int, augment: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the samples at the positions `order`, `size` at a time, the last ones fewer."""
        ...


@attrs.frozen(eq=False)
class Preparation:
    """What happens to every batch: augmentation where asked for, then (x - mean) / std."""

    mean: Tensor
    std: Tensor
    augments: bool

    def __call__(self, samples: Tensor, augment: torch.Generator | None) -> Tensor:
        """Return float32 inputs for samples (n, …)."""
        if augment is not None and self.augments:
            samples = shift_and_flip(samples, augment)
        shape = (1, -1, *[1] * (samples.ndim - 2))
        # float64 and wide whole numbers may have an offset that float32 would lose. The samples are
        # a copy that a split has just made: no need for two more.
        is_wide = samples.dtype in (torch.float64, torch.int32, torch.int64)
        numbers = samples.to(precise(samples.device)) if is_wide else samples.float()
        mean, std = (x.to(numbers.dtype).view(shape) for x in (self.mean, self.std))
        return numbers.sub_(mean).div_(std).float()


class TensorSplit:
    """Some samples of one tensor, which splits share; a batch is one indexing operation.

    Args:
        samples: (n, …), all samples of the set that the split is taken from.
        labels: (n,).
        ids: positions of the split's samples in it.
        prepare: what happens to a batch.
        device: where batches go; the samples may lie elsewhere.
    """

    def __init__(
        self,
        samples: Tensor,
        labels: Tensor,
        ids: NDArray[np.int64],
        prepare: Preparation,
        device: torch.device,
    ) -> None:
        self.ids, self.labels = ids, labels.numpy()[ids]
        self._samples = samples
        self._labels = labels.to(samples.device)
        self._prepare = prepare
        self._device = device

    def batches(
        self, order: NDArray[np.intp], size: int, augment: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the samples at the positions `order`, `size` at a time."""
        for start in range(0, len(order), size):
            ids = torch.from_numpy(self.ids[order[start : start + size]]).to(self._samples.device)
            # index_select copies whole rows; plain indexing of uint8 goes number by number.
            samples = self._samples.index_select(0, ids).to(self._device)
            labels = self._labels.index_select(0, ids).to(self._device)
            yield Batch(self._prepare(samples, augment), labels, ids.to(self._device))


class StreamSplit:
    """Some samples of a dataset that a DataLoader reads from their source, batch by batch."""

    def __init__(
        self,
        reader: Reader,
        labels: Tensor,
        ids: NDArray[np.int64],
        prepare: Preparation,
        device: torch.device,
    ) -> None:
        self.ids, self.labels = ids, labels.numpy()[ids]
        self._reader = reader
        self._prepare = prepare
        self._device = device

    def batches(
        self, order: NDArray[np.intp], size: int, augment: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the samples at the positions `order`, `size` at a time."""
        seed = 0 if augment is None else augment.initial_seed()
        ids, labels = torch.from_numpy(self.ids[order]), torch.from_numpy(self.labels[order])
        for index, samples in enumerate(self._reader.batches(self.ids[order], size, seed)):
            part = slice(index * size, (index + 1) * size)
            yield Batch(
                self._prepare(samples.to(self._device), augment),
                labels[part].to(self._device),
                ids[part].to(self._device),
            )
