"""Reading a data loader: what of a batch goes into the model, its labels, and its sample ids."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DistributedSampler

from cmp_core.distributed.processes import ALONE, Processes
from cmp_core.errors import DataError, UsageError
from cmp_core.layers.arrays import as_labels, as_whole_numbers
from cmp_core.text import counted

LABELS = ("labels", "label", "targets", "target")
IDS = ("sample_ids", "ids", "id")
"""Keys of a batch that is a mapping."""

Unpack = Callable[[Any], Any]


@attrs.frozen(eq=False)
class Batch:
    """What a batch holds.

    Attributes:
        arguments, keywords: what the model is called with.
        labels: (n,) int64, or none; ids: (n,) int64, or none.
        own: (n,) bool, the samples that count here and in no other process; none: all.
    """

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    labels: Tensor | None
    ids: Tensor | None
    own: Tensor | None = None

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors that the model is called with."""
        return [x for x in (*self.arguments, *self.keywords.values()) if isinstance(x, Tensor)]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return attrs.evolve(
            self,
            arguments=tuple(_to(device, x) for x in self.arguments),
            keywords={name: _to(device, x) for name, x in self.keywords.items()},
            labels=_to(device, self.labels),
            ids=_to(device, self.ids),
            own=_to(device, self.own),
        )


def unpacked(batch: Any) -> Batch:
    """Return what a batch holds.

    A pair is (inputs, labels), three are (inputs, labels, sample ids), a tensor is inputs alone. Of
    a mapping `LABELS` and `IDS` are taken out, and the model is called with the others by name,
    with a single one by position. Inputs that are a tuple or a mapping are arguments of the model.

    Raises:
        DataError: it is none of these, or labels are no classes of samples.

    >>> unpacked({"input_ids": torch.zeros(2, 3), "labels": torch.tensor([0, 1])}).labels
    tensor([0, 1])
    """
    if isinstance(batch, Mapping):
        rest = dict(batch)
        labels, ids = (
            next((rest.pop(name) for name in names if name in rest), None)
            for names in (LABELS, IDS)
        )
        inputs: Any = next(iter(rest.values())) if len(rest) == 1 else rest
    elif isinstance(batch, (tuple, list)) and 1 <= len(batch) <= 3:
        inputs, labels, ids = (*batch, None, None)[:3]
    elif isinstance(batch, Tensor):
        inputs, labels, ids = batch, None, None
    else:
        length = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
        raise DataError(
            "expected batches (inputs, labels), (inputs, labels, sample ids), a mapping or a "
            f"tensor, got {type(batch).__name__}{length}; give unpack=, a function that returns one"
        )
    arguments = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    keywords = inputs if isinstance(inputs, Mapping) else {}
    return Batch(
        () if keywords else arguments,
        keywords,
        None if labels is None else classes_of(labels),
        None if ids is None else as_whole_numbers(ids, "sample_ids"),
    )


def classes_of(labels: Any) -> Tensor:
    """Return labels (n,), also of a column (n, 1).

    Raises:
        DataError: they are no classes of samples.
    """
    try:
        return as_labels(labels.reshape(-1) if np.shape(labels)[1:] == (1,) else labels)
    except UsageError as error:
        raise DataError(
            f"{error}; give unpack=, a function of the batch that leaves labels out, or makes one "
            "class per sample of them"
        ) from error


@attrs.frozen(eq=False)
class Index:
    """The samples of a loader in the order of its first reading.

    Attributes:
        ids: (n,); labels: (n,), or none. Of several processes those of all, each sample once.
        own_ids: of this process.
        sizes: of its batches.
        sums: a checksum of each batch, where the loader tells no ids: the position is the id.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    own_ids: NDArray[np.int64]
    sizes: tuple[int, ...]
    sums: tuple[int, ...] | None


class Reader:
    """Reads a loader again and again, and makes sure that it gives the same samples.

    A `DistributedSampler` tells the ids of its samples, their positions in the dataset.

    Args:
        loader: yields batches; each `for` over it begins anew.
        unpack: from a batch to one of the forms that `unpacked` knows.
        processes: of which each reads samples of its own. One that several have, as a sampler pads
            the shares to one length, is that of the first.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        unpack: Unpack | None = None,
        processes: Processes = ALONE,
    ) -> None:
        if isinstance(loader, Iterator):  # to begin one would draw from the global generators
            raise DataError(
                "expected a loader that can be read again, got an iterator; give the DataLoader"
            )
        self._loader, self._unpack, self._processes = loader, unpack, processes
        sampler = getattr(loader, "sampler", None)
        self._sampler = sampler if isinstance(sampler, DistributedSampler) else None
        self._has_ids = False
        self._index: Index | None = None

    @property
    def index(self) -> Index:
        """The samples, which are read once for that.

        Raises:
            DataError: there are none, ids repeat, or some batches have labels or ids and some not.
        """
        if self._index is None:
            self._index = self._indexed()
        return self._index

    def batches(self, *, in_order: bool = True) -> Iterator[Batch]:
        """Yield the batches, each with ids.

        Args:
            in_order: they must be the samples of the index; otherwise ids are positions, whatever
                samples come.

        Raises:
            DataError: they are others.
        """
        index = self.index
        sums, start = index.sums, 0
        told = self._told_ids()
        # A loader may drop the last batch, whose samples then count where others read them.
        own = self._owned(index.own_ids if told is None else told[: len(index.own_ids)])
        for i, batch in enumerate(self._raw()):
            n = len(batch.tensors[0])
            if batch.ids is None and told is not None:
                batch = attrs.evolve(batch, ids=torch.from_numpy(told[start : start + n]))
            elif batch.ids is None:
                if in_order and (sums is None or i >= len(sums) or _checksum(batch) != sums[i]):
                    raise DataError(
                        "the loader gives other samples, or another order, at its second reading: "
                        "make it with shuffle=False and without random transforms, or have it give "
                        "batches (inputs, labels, sample ids)"
                    )
                batch = attrs.evolve(batch, ids=torch.arange(start, start + n))
            assert batch.ids is not None  # given just now, where it had none
            start += n
            yield batch if own is None else attrs.evolve(batch, own=own.take(batch.ids))
        if in_order and start != len(index.own_ids):
            raise DataError(
                f"the loader gives {counted(start, 'sample')} at its second reading, and gave "
                f"{len(index.own_ids)}; it must give the same ones each time"
            )

    def first(self, n: int | None) -> tuple[int, int]:
        """Return how many batches have the first n samples, and how many samples they have.

        Args:
            n: in each process; none: all.

        Returns:
            The number of batches here, and of samples in all processes, each counted once.
        """
        index = self.index
        sizes = np.cumsum(index.sizes)
        count = len(sizes) if n is None else min(int(np.searchsorted(sizes, n)) + 1, len(sizes))
        told = self._told_ids()
        ids = (index.own_ids if told is None else told)[: sizes[count - 1]]
        return count, len(np.unique(np.concatenate(self._processes.gather(ids))))

    def _told_ids(self) -> NDArray[np.int64] | None:
        """Return the ids that the sampler tells of the next reading, or none."""
        if self._sampler is None or self._has_ids:
            return None
        return np.array(list(self._sampler), dtype=np.int64)

    def _owned(self, ids: NDArray[np.int64]) -> _Owned | None:
        """Return which samples of a reading count in this process, or none where all do."""
        if self._processes.size == 1:
            return None
        earlier = self._processes.gather(ids)[: self._processes.rank]
        return _Owned(np.setdiff1d(ids, np.concatenate([*earlier, ids[:0]])))

    def _of_all(self, own: Index) -> Index:
        """Return the index of all processes.

        Raises:
            DataError: what they have does not go together.
        """
        told = self._processes.gather(own)
        if any(index.sums != own.sums for index in told):
            raise DataError(
                "the processes read different samples, and nothing tells which: give the loader a "
                "DistributedSampler, or have it give batches (inputs, labels, sample ids)"
            )
        ids, first, inverse = np.unique(
            np.concatenate([index.ids for index in told]), return_index=True, return_inverse=True
        )
        labels = [index.labels for index in told if index.labels is not None]
        if len(labels) not in (0, len(told)):
            raise DataError(f"{len(labels)} of {len(told)} processes have labels")
        every = np.concatenate(labels) if labels else None
        if every is not None and not np.array_equal(every[first][inverse], every):
            raise DataError("samples of one id have different labels in two processes")
        return attrs.evolve(own, ids=ids, labels=None if every is None else every[first])

    def _raw(self) -> Iterator[Batch]:
        for batch in self._loader:
            found = unpacked(batch if self._unpack is None else self._unpack(batch))
            if not found.tensors:
                raise DataError("expected tensors as inputs; give unpack=, or collate them")
            n = len(found.tensors[0])
            for name, own in (("labels", found.labels), ("sample_ids", found.ids)):
                if own is not None and len(own) != n:
                    raise DataError(f"expected {n} {name}, as there are inputs, got {len(own)}")
            yield found

    def _indexed(self) -> Index:
        ids: list[Tensor] = []
        labels: list[Tensor] = []
        sums: list[int] = []
        sizes: list[int] = []
        for batch in self._raw():
            sizes.append(len(batch.tensors[0]))
            sums.append(_checksum(batch))
            ids += [] if batch.ids is None else [batch.ids.cpu()]
            labels += [] if batch.labels is None else [batch.labels.cpu()]
        n = sum(sizes)
        if empty := [i for i, size in enumerate(self._processes.gather(n)) if not size]:
            which = f" in process {empty[0]}" if self._processes.size > 1 else ""
            raise DataError(f"the loader yields no samples{which}")
        for name, parts in (("labels", labels), ("sample ids", ids)):
            if len(parts) not in (0, len(sizes)):
                raise DataError(f"{len(parts)} of {len(sizes)} batches have {name}")
        self._has_ids = bool(ids)
        told = self._told_ids()
        known = torch.cat(ids).numpy() if ids else np.arange(n) if told is None else told[:n]
        if self._processes.size == 1 and len(np.unique(known)) < n:
            raise DataError(f"expected {n} different sample ids, got {len(np.unique(known))}")
        own = Index(
            ids=known,
            labels=torch.cat(labels).numpy() if labels else None,
            own_ids=known,
            sizes=tuple(sizes),
            sums=None if ids or told is not None else tuple(sums),
        )
        return own if self._processes.size == 1 else self._of_all(own)


class _Owned:
    """The samples that count in a process, of which each is taken once."""

    def __init__(self, ids: NDArray[np.int64]) -> None:
        self._left = ids

    def take(self, ids: Tensor) -> Tensor:
        """Return which samples (n,) of a batch count."""
        known = ids.cpu().numpy()
        _, first = np.unique(known, return_index=True)
        own = np.zeros(len(known), bool)
        own[first] = np.isin(known[first], self._left)
        self._left = np.setdiff1d(self._left, known[own])
        return torch.from_numpy(own)


def _checksum(batch: Batch) -> int:
    """Return a checksum of inputs and labels."""
    found = 0
    for tensor in (*batch.tensors, *([] if batch.labels is None else [batch.labels])):
        plain = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        found = zlib.crc32(plain.numpy().tobytes(), found)
    return found


def _to(device: torch.device, value: Any) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
