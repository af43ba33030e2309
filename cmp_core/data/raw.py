"""What a dataset plugin returns."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cmp_core.errors import DataError, UsageError, one_line
from cmp_core.layers.arrays import as_labels
from cmp_core.text import counted


def _as_labels(labels: Any) -> Tensor:
    try:
        return as_labels(labels).cpu()
    except UsageError as error:
        raise DataError(str(error)) from error


def _as_pixels(pixels: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(pixels).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"expected samples (n, …) of numbers, all of one shape: {one_line(error)}"
        ) from error
    if tensor.ndim < 2 or tensor.is_complex():
        raise DataError(
            f"expected samples (n, …) of real numbers, got {tensor.dtype} {tuple(tensor.shape)}"
        )
    return tensor


def _check_lengths(samples: int, labels: int) -> None:
    if samples != labels or not labels:
        raise DataError(
            "expected as many samples as labels, and at least one, "
            f"got {counted(samples, 'sample')} and {counted(labels, 'label')}"
        )


@attrs.frozen(eq=False)
class Images:
    """Samples in memory, as arrays or tensors.

    Attributes:
        pixels: (n, …), images as (n, channels, height, width).
        labels: (n,) whole numbers.

    Raises:
        DataError: there are no samples, the two disagree in length, or one has another form.
    """

    pixels: Tensor = attrs.field(converter=_as_pixels)
    labels: Tensor = attrs.field(converter=_as_labels)

    def __attrs_post_init__(self) -> None:
        _check_lengths(len(self.pixels), len(self.labels))


@attrs.frozen(eq=False)
class Stream:
    """Samples that stay where they are: any torch `Dataset` of (tensor, label), and its labels.

    Attributes:
        dataset: item i is (tensor, label); loaded by a DataLoader.
        labels: (n,), known without loading the samples; they count, not those of the items.

    Raises:
        DataError: there are no samples, the two disagree in length, or one has another form.
    """

    dataset: Dataset[tuple[Tensor, int]]
    labels: Tensor = attrs.field(converter=_as_labels)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.dataset, Dataset) or not hasattr(self.dataset, "__len__"):
            raise DataError(
                f"expected a torch Dataset with a length, got {type(self.dataset).__name__}"
            )
        _check_lengths(len(self.dataset), len(self.labels))


Samples = Images | Stream


@attrs.frozen(eq=False)
class RawData:
    """A dataset as its plugin found it.

    Attributes:
        train: training samples.
        test: test samples; none has a fixed fifth of the training samples set aside.
        class_names: one name per class; labels are positions in it.
        mean, std: per channel, in the units of the samples; batches are (x - mean) / std. None:
            those of the training samples without validation and test, which are in memory.
        augment: shift and flip training images (pad by 4, crop, mirror).
        val: validation samples; none takes `val_size` of the training samples.
    """

    train: Samples
    test: Samples | None
    class_names: tuple[str, ...]
    mean: tuple[float, ...] | None = (0.0,)
    std: tuple[float, ...] | None = (1.0,)
    augment: bool = False
    val: Samples | None = None

    @property
    def splits(self) -> dict[str, Samples]:
        """The sets of samples that there are, by the names that errors call them."""
        others = {"validation": self.val, "test": self.test}
        given = {name: samples for name, samples in others.items() if samples is not None}
        return {"training": self.train, **given}
