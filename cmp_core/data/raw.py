"""What a dataset plugin returns."""

from __future__ import annotations

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from cmp_core.errors import DataError


@attrs.frozen(eq=False)
class Images:
    """Samples in memory: `pixels` (n, …), images as (n, channels, height, width), and labels (n,).

    Raises:
        DataError: there are no samples, or the two disagree in length.
    """

    pixels: Tensor
    labels: Tensor

    def __attrs_post_init__(self) -> None:
        if len(self.pixels) != len(self.labels) or not len(self.labels):
            raise DataError(
                f"expected as many samples as labels, and at least one, "
                f"got {len(self.pixels)} samples and {len(self.labels)} labels"
            )


@attrs.frozen(eq=False)
class Stream:
    """Samples that stay where they are: any torch `Dataset` of (tensor, label), and its labels.

    Args:
        dataset: item i is (tensor, label); loaded by a DataLoader.
        labels: (n,) int64, known without loading the samples.
    """

    dataset: Dataset[tuple[Tensor, int]]
    labels: Tensor


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


def as_images(pixels: NDArray[np.generic] | Tensor, labels: NDArray[np.generic] | Tensor) -> Images:
    """Return arrays as `Images`; labels become int64."""
    return Images(torch.as_tensor(pixels), torch.as_tensor(labels).long())
