"""What must hold of a dataset before anything is trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmp_core.data.raw import Images, RawData, Samples, Stream
from cmp_core.data.reader import Reader
from cmp_core.errors import DataError
from cmp_core.text import described

_CHUNK = 1024


def check_data(raw: RawData, workers: int) -> tuple[int, ...]:
    """Return the shape of every sample, after a look at all that can be seen without training.

    Of samples that stay where they are the first of each split is read, by `workers` processes.

    Raises:
        DataError: all that is wrong, together.
    """
    problems = list(_problems_of_class_names(raw.class_names))
    classes = 0 if problems else len(raw.class_names)
    shapes: dict[str, tuple[int, ...]] = {}
    for split, samples in raw.splits.items():
        try:
            shapes[split] = _shape_of(samples, split, workers)
        except DataError as error:
            problems.append(str(error))
        if classes and isinstance(samples, (Images, Stream)):
            problems += _problems_of_labels(split, samples.labels, classes)
    if shape := shapes.get("training"):
        problems += _problems_of_shapes(shapes)
        problems += _problems_of_moments("mean", raw.mean, raw.train, shape)
        problems += _problems_of_moments("std", raw.std, raw.train, shape)
        if raw.augment and len(shape) != 3:
            problems.append(f"augment: expected images (channels, height, width), got {shape}")
    if problems:
        raise DataError("\n  ".join(problems if len(problems) == 1 else ["", *problems]))
    return shapes["training"]


def as_moments(values: Any) -> Tensor:
    """Return numbers per channel, or one for all, as float64 (k,).

    Raises:
        TypeError, ValueError, RuntimeError: they are no numbers.

    >>> as_moments(0.5)
    tensor([0.5000], dtype=torch.float64)
    """
    numbers = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    return numbers if numbers.ndim else numbers[None]


def _problems_of_class_names(names: Any) -> Iterator[str]:
    if not isinstance(names, (tuple, list, np.ndarray)) or not len(names):
        yield f"class_names: expected a tuple of one text per class, got {described(names)}"
    elif wrong := [name for name in names if not isinstance(name, str)]:
        yield f"class_names: expected one text per class, got {described(wrong[0])} among them"


def _problems_of_labels(split: str, labels: Tensor, classes: int) -> Iterator[str]:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        yield (
            f"{split}: expected labels from 0 to {classes - 1}, got labels from {low} to {high}; "
            f"there are {classes} class_names"
        )


def _problems_of_shapes(shapes: dict[str, tuple[int, ...]]) -> Iterator[str]:
    expected = shapes["training"]
    for split, shape in shapes.items():
        if shape != expected:
            yield f"{split}: expected samples {expected} as in training, got {shape}"


def _problems_of_moments(
    name: str, values: Any, train: Samples, shape: tuple[int, ...]
) -> Iterator[str]:
    if values is None:
        if isinstance(train, Stream):
            yield f"{name}: expected numbers for a Stream; only of samples in memory it is computed"
        return
    try:
        numbers = as_moments(values)
    except (TypeError, ValueError, RuntimeError):
        yield f"{name}: expected one number per channel, got {described(values)}"
        return
    if numbers.ndim != 1 or len(numbers) not in (1, shape[0]):
        yield (
            f"{name}: expected 1 number, or {shape[0]} for the channels of samples {shape}, "
            f"got shape {tuple(numbers.shape)}"
        )
    elif not numbers.isfinite().all():
        yield f"{name}: expected finite numbers, got {described(values)}"
    elif name == "std" and not (numbers.float() > 0).all():
        yield f"std: expected numbers above 0, got {described(values)}"


def _shape_of(samples: object, split: str, workers: int) -> tuple[int, ...]:
    """Return the shape of the samples, whose numbers are finite as far as they are in memory."""
    if isinstance(samples, Stream):
        first = next(Reader(samples.dataset, split, min(workers, 1)).batches(np.arange(1), 1))
        return tuple(first.shape[1:])
    if not isinstance(samples, Images):
        raise DataError(f"{split}: expected Images or Stream, got {type(samples).__name__}")
    shape = tuple(samples.pixels.shape[1:])
    if 0 in shape:
        raise DataError(f"{split}: expected at least one number per sample, got shape {shape}")
    if samples.pixels.is_floating_point():
        for start in range(0, len(samples.pixels), _CHUNK):
            finite = samples.pixels[start : start + _CHUNK].float().isfinite().flatten(1).all(1)
            if not finite.all():
                position = start + int(finite.logical_not().nonzero()[0])
                raise DataError(
                    f"{split} sample {position}: expected finite numbers, got NaN or infinity"
                )
    return shape
