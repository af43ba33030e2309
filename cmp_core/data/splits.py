"""Splits that yield batches: by index from tensors on the device, or through a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from cmp_core.data.augment import shift_and_flip


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
        return (samples.float() - self.mean.view(shape)) / self.std.view(shape)


class TensorSplit:
    """Samples held as one tensor; a batch is one indexing operation."""

    def __init__(
        self,
        samples: Tensor,
        labels: NDArray[np.int64],
        ids: NDArray[np.int64],
        prepare: Preparation,
        device: torch.device,
    ) -> None:
        self.ids, self.labels = ids, labels
        self._samples = samples
        self._labels_there = torch.as_tensor(labels, device=samples.device)
        self._prepare = prepare
        self._device = device

    def batches(
        self, order: NDArray[np.intp], size: int, augment: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the samples at the positions `order`, `size` at a time."""
        ids = torch.from_numpy(self.ids)
        for start in range(0, len(order), size):
            where = torch.from_numpy(np.asarray(order[start : start + size], np.int64))
            there = where.to(self._samples.device)
            # index_select copies whole rows; plain indexing of uint8 goes number by number.
            samples = self._samples.index_select(0, there).to(self._device)
            yield Batch(
                self._prepare(samples, augment),
                self._labels_there.index_select(0, there).to(self._device),
                ids[where].to(self._device),
            )


class StreamSplit:
    """Samples that a DataLoader reads from their source, batch by batch."""

    def __init__(
        self,
        dataset: Dataset[tuple[Tensor, int]],
        positions: NDArray[np.intp],
        labels: NDArray[np.int64],
        ids: NDArray[np.int64],
        prepare: Preparation,
        device: torch.device,
        workers: int,
    ) -> None:
        self.ids, self.labels = ids, labels
        self._dataset = dataset
        self._positions = positions
        self._prepare = prepare
        self._device = device
        self._workers = workers

    def batches(
        self, order: NDArray[np.intp], size: int, augment: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the samples at the positions `order`, `size` at a time."""
        subset = Subset(self._dataset, self._positions[order].tolist())
        loader = DataLoader(
            subset,
            batch_size=size,
            num_workers=self._workers,
            # A generator of its own: a DataLoader otherwise draws from the global one.
            generator=torch.Generator().manual_seed(0),
        )
        ids = torch.from_numpy(self.ids[order])
        for index, (samples, labels) in enumerate(loader):
            yield Batch(
                self._prepare(samples.to(self._device), augment),
                labels.to(self._device),
                ids[index * size : (index + 1) * size].to(self._device),
            )
