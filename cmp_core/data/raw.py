"""What a dataset plugin returns."""

from __future__ import annotations

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from cmp_core.errors import DataError


def _as_labels(labels: NDArray[np.generic] | Tensor) -> Tensor:
    tensor = torch.as_tensor(labels)
    if tensor.is_floating_point() or tensor.ndim != 1:
        raise DataError(
            f"expected labels (n,) of whole numbers, got {tensor.dtype} {tuple(tensor.shape)}"
        )
    return tensor.long()


def _check_lengths(samples: int, labels: int) -> None:
    if samples != labels or not labels:
        raise DataError(
            "expected as many samples as labels, and at least one, "
            f"got {samples} samples and {labels} labels"
        )


@attrs.frozen(eq=False)
class Images:
    """Samples in memory, as arrays or tensors.

    Args:
        pixels: (n, …), images as (n, channels, height, width).
        labels: (n,) whole numbers.

    Raises:
        DataError: there are no samples, or the two disagree in length.
    """

    pixels: Tensor = attrs.field(converter=torch.as_tensor)
    labels: Tensor = attrs.field(converter=_as_labels)

    def __attrs_post_init__(self) -> None:
        _check_lengths(len(self.pixels), len(self.labels))


@attrs.frozen(eq=False)
class Stream:
    """Samples that stay where they are: any torch `Dataset` of (tensor, label), and its labels.

    Args:
        dataset: item i is (tensor, label); loaded by a DataLoader.
        labels: (n,), known without loading the samples; they count, not those of the items.

    Raises:
        DataError: there are no samples, or the two disagree in length.
    """

    dataset: Dataset[tuple[Tensor, int]]
    labels: Tensor = attrs.field(converter=_as_labels)

    def __attrs_post_init__(self) -> None:
        _check_lengths(len(self.dataset), len(self.labels))  # type: ignore[arg-type]


Samples = Images | Stream


@attrs.frozen(eq=False)
class RawData:
    """A dataset as its plugin found it.

    Attributes:
        train: training samples, of which validation takes its share.
        test: test samples; none has a fixed fifth of the training samples set aside.
        class_names: one name per class; labels are positions in it.
        mean, std: per channel, in the units of the samples; batches are (x - mean) / std.
        augment: shift and flip training images (pad by 4, crop, mirror).
    """

    train: Samples
    test: Samples | None
    class_names: tuple[str, ...]
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    augment: bool = False
