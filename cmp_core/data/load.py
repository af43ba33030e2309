"""From a dataset's name to training, validation and test splits on the device."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from cmp_core.config.schema import Config
from cmp_core.console import say, track
from cmp_core.data.checks import as_moments, check_data
from cmp_core.data.raw import Images, RawData, Samples, Stream
from cmp_core.data.reader import Reader, read_item
from cmp_core.data.splits import Preparation, Split, StreamSplit, TensorSplit
from cmp_core.errors import ConfigError, DataError
from cmp_core.layers.arrays import precise
from cmp_core.layers.memory import memory_of
from cmp_core.layers.sampling import balanced, by_hash, choose

MEMORY_SHARE = 0.25
"""Share of the machine's (or the GPU's free) memory that a dataset may take."""

FITTING = 8192
"""Most training samples that linear fits take at the end of an epoch."""

_REFERENCE_PER_CLASS = 50
_TEST_SHARE = 0.2
_TEST_SEED = 7919


@attrs.frozen(eq=False)
class Data:
    """The splits of a dataset.

    Attributes:
        train, val, test: disjoint; ids are positions in the set that the samples come from, which
            of validation and test is the training set where they have none of their own.
        measured: positions in `train` of the fixed subset that is measured beside validation.
        reference: positions in `train` of the samples that class means are taken from, disjoint
            from `measured` where there are enough.
        fitting: positions in `train` of the samples that linear fits take at the end of an epoch,
            disjoint from `measured`; the test's fits take all of `train`.
        class_names: one name per class.
        input_size: numbers per sample, d.
    """

    train: Split
    val: Split
    test: Split
    measured: NDArray[np.intp]
    reference: NDArray[np.intp]
    fitting: NDArray[np.intp]
    class_names: tuple[str, ...]
    input_size: int

    def fingerprint(self) -> dict[str, Any]:
        """Return the sizes of the splits, and a hash of their ids, labels and class names.

        Samples themselves are not hashed, which may be many and read from files.
        """
        content = hashlib.sha256("\0".join(self.class_names).encode())
        splits = {"train": self.train, "val": self.val, "test": self.test}
        for split in splits.values():
            content.update(np.asarray(split.ids, dtype=np.int64).tobytes())
            content.update(np.asarray(split.labels, dtype=np.int64).tobytes())
        sizes = {name: len(split.ids) for name, split in splits.items()}
        return sizes | {"sha256": content.hexdigest()}


def load_data(
    config: Config,
    load: Callable[[], RawData | Dataset[tuple[Tensor, int]]],
    device: torch.device,
) -> Data:
    """Read a dataset and split it; the split depends on `seed` and the sample ids alone.

    Args:
        config: `dataset`, `seed`, `val_size`, `num_workers`.
        load: returns what the dataset's plugin does.
        device: where batches go.

    Raises:
        DataError: the dataset is missing, damaged or too small.
        ConfigError: `val_size` leaves no sample to train on.
    """
    found = load()
    try:
        raw = _as_raw(found)
        shape = check_data(raw, config.num_workers)
        train_ids, test_ids = _test_split(raw)
    except DataError as error:
        raise DataError(f"dataset '{config.dataset}': {error}") from error
    if raw.val is None:
        val_count = _val_count(config, len(train_ids))
        order = train_ids[by_hash(train_ids, config.seed)]
        val_ids, fit_ids = np.sort(order[:val_count]), np.sort(order[val_count:])
    else:
        val_ids, fit_ids = np.arange(len(raw.val.labels)), train_ids
    mean, std = _moments(raw, fit_ids)
    mean, std = (values.to(device, precise(device)) for values in (mean, std))
    prepare = Preparation(mean, std, raw.augment)
    names = {id(samples): name for name, samples in raw.splits.items()}
    placed = {id(samples): _place(samples, device) for samples in raw.splits.values()}

    def split(samples: Samples, ids: NDArray[np.int64]) -> Split:
        name, samples = names[id(samples)], placed[id(samples)]
        if isinstance(samples, Images):
            return TensorSplit(samples.pixels, samples.labels, ids, prepare, device)
        reader = Reader(samples.dataset, name, config.num_workers, shape)
        return StreamSplit(reader, samples.labels, ids, prepare, device)

    train = split(raw.train, fit_ids)
    measured = choose(train.ids, len(val_ids), config.seed)
    rest = np.setdiff1d(np.arange(len(train.ids)), measured)
    fitting = rest[choose(train.ids[rest], FITTING, config.seed)]
    rest = rest if len(rest) >= len(measured) else np.arange(len(train.ids))
    count = max(len(val_ids), _REFERENCE_PER_CLASS * len(raw.class_names))
    reference = rest[balanced(train.ids[rest], train.labels[rest], count, config.seed)]
    return Data(
        train=train,
        val=split(raw.train if raw.val is None else raw.val, val_ids),
        test=split(raw.train if raw.test is None else raw.test, test_ids),
        measured=measured,
        reference=reference,
        fitting=fitting,
        class_names=tuple(raw.class_names),
        input_size=math.prod(shape),
    )


def memory_budget(device: torch.device) -> int:
    """Return the bytes that a dataset may take on the device."""
    return int(MEMORY_SHARE * memory_of(device))


def _test_split(raw: RawData) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids of training and test samples; a set without a test split gives a fifth."""
    everything = np.arange(len(raw.train.labels))
    if raw.test is not None:
        return everything, np.arange(len(raw.test.labels))
    order = by_hash(everything, _TEST_SEED)
    count = round(_TEST_SHARE * len(everything))
    if count == 0:
        raise DataError(
            f"expected at least 3 samples to set some aside for testing, got {len(everything)}"
        )
    return np.sort(order[count:]), np.sort(order[:count])


def _val_count(config: Config, available: int) -> int:
    size = config.val_size
    count = size if isinstance(size, int) else max(1, round(size * available))
    if count >= available:
        raise ConfigError(
            [f"val_size: expected fewer than the {available} training samples, got {count}"]
        )
    return count


def _place(samples: Samples, device: torch.device) -> Samples:
    """Return samples in memory on the device, if they fit there."""
    if not isinstance(samples, Images) or device.type == "cpu":
        return samples
    size, budget = samples.pixels.nbytes, memory_budget(device)
    if size > budget:
        say(
            f"{size / 2**30:.1f} GiB of samples are more than a quarter of the free memory of "
            f"{device}: they stay in the machine's, and batches are copied"
        )
        return samples
    return attrs.evolve(samples, pixels=samples.pixels.to(device))


def _moments(raw: RawData, ids: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (k,), where they are not given those of some samples."""
    if raw.mean is not None and raw.std is not None:
        return as_moments(raw.mean), as_moments(raw.std)
    assert isinstance(raw.train, Images)  # checked with the rest of the dataset
    chosen = raw.train.pixels[torch.from_numpy(ids)]
    # One channel at a time: all of them in float64 might not fit in memory.
    pairs = [
        torch.std_mean(chosen[:, channel].double(), correction=0)
        for channel in range(chosen.shape[1])
    ]
    std, mean = (torch.stack(values) for values in zip(*pairs, strict=True))
    std[std == 0] = 1  # the same in all samples: there is nothing to scale
    return (
        mean if raw.mean is None else as_moments(raw.mean),
        std if raw.std is None else as_moments(raw.std),
    )


def _as_raw(found: RawData | Dataset[tuple[Tensor, int]]) -> RawData:
    """Return a plain torch dataset as a stream without a test split of its own."""
    if isinstance(found, RawData):
        return found
    if not isinstance(found, Dataset) or not hasattr(found, "__len__"):
        raise DataError(
            f"expected RawData, or a torch Dataset with a length, got {type(found).__name__}"
        )
    labels = getattr(found, "targets", None)
    if labels is None:
        items = track(range(len(found)), "Reading labels")
        labels, shape = [], None
        for index in items:
            sample, label = read_item(found, index, "training", shape)
            labels.append(_as_number(label))
            shape = tuple(sample.shape)
    stream = Stream(found, labels)
    names: Any = getattr(found, "classes", None)
    if names is None:
        names = range(int(stream.labels.max()) + 1)
    if isinstance(names, (range, list, tuple, np.ndarray)):  # anything else, the checks refuse
        names = tuple(map(str, names))
    return RawData(stream, None, names)


def _as_number(label: object) -> object:
    """Return the number that an array or tensor of one number holds; anything else as it is."""
    array = label.numpy(force=True) if isinstance(label, Tensor) else label
    if isinstance(array, (np.ndarray, np.generic)) and array.size == 1:
        return array.item()
    return array
