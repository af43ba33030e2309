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

from cmp_core.errors import DataError, UsageError
from cmp_core.layers.arrays import as_labels, as_whole_numbers

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
    """

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    labels: Tensor | None
    ids: Tensor | None

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
        None if labels is None else _classes(labels),
        None if ids is None else as_whole_numbers(ids, "sample_ids"),
    )


def _classes(labels: Any) -> Tensor:
    try:
        return as_labels(labels)
    except UsageError as error:
        raise DataError(
            f"{error}; give unpack=, a function of the batch that leaves labels out, or makes one "
            "class per sample of them"
        ) from error


@attrs.frozen(eq=False)
class Index:
    """The samples of a loader in the order of its first reading.

    Attributes:
        ids: (n,); labels: (n,), or none.
        sizes: of the batches.
        sums: a checksum of each batch, where the loader tells no ids: the position is the id.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    sizes: tuple[int, ...]
    sums: tuple[int, ...] | None


class Reader:
    """Reads a loader again and again, and makes sure that it gives the same samples.

    Args:
        loader: yields batches; each `for` over it begins anew.
        unpack: from a batch to one of the forms that `unpacked` knows.
    """

    def __init__(self, loader: Iterable[Any], unpack: Unpack | None = None) -> None:
        if isinstance(loader, Iterator):  # to begin one would draw from the global generators
            raise DataError(
                "expected a loader that can be read again, got an iterator; give the DataLoader"
            )
        self._loader, self._unpack = loader, unpack
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
        sums = self.index.sums
        start = 0
        for i, batch in enumerate(self._raw()):
            if batch.ids is None:
                n = len(batch.tensors[0])
                if in_order and (sums is None or i >= len(sums) or _checksum(batch) != sums[i]):
                    raise DataError(
                        "the loader gives other samples, or another order, at its second reading: "
                        "make it with shuffle=False and without random transforms, or have it give "
                        "batches (inputs, labels, sample ids)"
                    )
                batch = attrs.evolve(batch, ids=torch.arange(start, start + n))
            assert batch.ids is not None  # given just now, where it had none
            start += len(batch.ids)
            yield batch
        if in_order and start != len(self.index.ids):
            raise DataError(
                f"the loader gives {start} samples at its second reading, and gave "
                f"{len(self.index.ids)}; it must give the same ones each time"
            )

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
        if not n:
            raise DataError("the loader yields no samples")
        for name, parts in (("labels", labels), ("sample ids", ids)):
            if len(parts) not in (0, len(sizes)):
                raise DataError(f"{len(parts)} of {len(sizes)} batches have {name}")
        known = torch.cat(ids).numpy() if ids else np.arange(n)
        if len(np.unique(known)) < n:
            raise DataError(f"expected {n} different sample ids, got {len(np.unique(known))}")
        return Index(
            ids=known,
            labels=torch.cat(labels).numpy() if labels else None,
            sizes=tuple(sizes),
            sums=None if ids else tuple(sums),
        )


def _checksum(batch: Batch) -> int:
    """Return a checksum of inputs and labels."""
    found = 0
    for tensor in (*batch.tensors, *([] if batch.labels is None else [batch.labels])):
        plain = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        found = zlib.crc32(plain.numpy().tobytes(), found)
    return found


def _to(device: torch.device, value: Any) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
