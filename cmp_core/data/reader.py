"""Reading the samples of a torch dataset through a DataLoader, each one checked."""

from __future__ import annotations

import pickle
import signal
import warnings
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

from cmp_core.data.plugin_modules import PluginModules
from cmp_core.errors import DataError, one_line


@attrs.frozen(eq=False)
class Reader:
    """Reads samples of a dataset, in this process or in workers.

    Attributes:
        dataset: item i is (tensor, label).
        split: the name of the split in errors.
        workers: processes that read; 0 reads in this one.
        shape: of every sample; none takes any.
    """

    dataset: Dataset[Any]
    split: str
    workers: int = 0
    shape: tuple[int, ...] | None = None

    def batches(self, ids: NDArray[np.int64], size: int, seed: int = 0) -> Iterator[Tensor]:
        """Yield the samples at some positions of the dataset, `size` at a time.

        Args:
            ids: positions, (n,).
            size: samples per batch; the last one may have fewer.
            seed: of the workers, drawn from no generator: loading changes no other random number.

        Raises:
            DataError: a sample cannot be read, is no tensor of the shape, or is not finite; or the
                dataset cannot be sent to workers.
        """
        loader = DataLoader(
            Subset(_Samples(self), ids.tolist()),
            batch_size=size,
            num_workers=self.workers,
            collate_fn=_collate,
            generator=torch.Generator().manual_seed(seed),
            worker_init_fn=_leave_signals,
        )
        # The workers end with their iterator: no name keeps it alive in an error's traceback.
        for batch in self._start(loader):
            if isinstance(batch, DataError):
                raise batch
            yield batch

    def _start(self, loader: DataLoader[Any]) -> Iterator[Tensor | DataError]:
        """Return the loader's iterator, which starts the workers and reads nothing here."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Got pickle error")  # torch's, beside the error
                return iter(loader)
        except (AttributeError, TypeError, ValueError, pickle.PicklingError) as error:
            raise DataError(
                f"the {self.split} samples cannot be sent to worker processes "
                f"({one_line(error)}); read them in this one: --set num_workers=0"
            ) from error


def read_item(
    dataset: Dataset[Any], index: int, split: str, shape: tuple[int, ...] | None
) -> tuple[Tensor, object]:
    """Return sample and label of an item.

    Raises:
        DataError: it cannot be read, is no pair, or its sample is no tensor of the shape (none:
            any) of finite numbers.
    """
    where = f"{split} sample {index}"
    try:
        item: object = dataset[index]
    except (DataError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever the code of a plugin raises
        raise DataError(f"{where} cannot be read: {one_line(error)}") from error
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        number = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
        raise DataError(f"{where}: expected (tensor, label), got {type(item).__name__}{number}")
    return _as_sample(item[0], where, shape), item[1]


class _Samples(Dataset[Tensor | DataError]):
    """The samples as tensors, with errors as values.

    An exception in a worker would come back with a traceback for its message.
    """

    def __init__(self, reader: Reader) -> None:
        self._plugins = PluginModules()  # before the dataset, see there
        self._reader = reader

    def __getitem__(self, index: int) -> Tensor | DataError:
        reader = self._reader
        try:
            return read_item(reader.dataset, index, reader.split, reader.shape)[0]
        except DataError as error:
            return error


def _as_sample(sample: object, where: str, shape: tuple[int, ...] | None) -> Tensor:
    if isinstance(sample, np.ndarray) and sample.dtype.kind in "biuf":
        sample = torch.as_tensor(sample)
    if not isinstance(sample, Tensor) or sample.is_complex() or not sample.ndim * sample.numel():
        raise DataError(f"{where}: expected a tensor of real numbers, got {_described(sample)}")
    if shape is not None and tuple(sample.shape) != shape:
        raise DataError(f"{where}: expected shape {shape}, got {tuple(sample.shape)}")
    if sample.is_floating_point() and not sample.float().isfinite().all():
        raise DataError(f"{where}: expected finite numbers, got NaN or infinity")
    return sample.detach()


def _described(sample: object) -> str:
    if isinstance(sample, (Tensor, np.ndarray)):
        return f"{type(sample).__name__} {sample.dtype} {tuple(sample.shape)}"
    return type(sample).__name__


def _collate(samples: list[Tensor | DataError]) -> Tensor | DataError:
    """Return a batch, or the first error."""
    tensors = []
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
        tensors.append(sample)
    if len({tensor.dtype for tensor in tensors}) > 1:  # which torch stacks in this process alone
        tensors = [tensor.float() for tensor in tensors]
    batch: Tensor = default_collate(tensors)
    return batch


def _leave_signals(_: int) -> None:
    """Leave Ctrl-C, and a closed terminal, to the main process, which ends between two steps.

    A worker that is forked has inherited its handlers, but must end when it is told to.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
