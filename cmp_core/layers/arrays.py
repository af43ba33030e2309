"""What the plain functions of the metrics share: NumPy or torch in, a float out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError

Array = Tensor | NDArray[np.generic]
"""What the plain functions take."""


def as_tensor(array: Array) -> Tensor:
    """Return a tensor without a graph that shares the memory where it can; float16 is widened."""
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        array = array.copy()  # torch warns of memory that it may not write to
    tensor = torch.as_tensor(array).detach()
    return wide(tensor) if tensor.is_floating_point() else tensor


def as_whole_numbers(array: Array, what: str) -> Tensor:
    """Return an array of labels or sample ids as int64.

    Raises:
        UsageError: it is not (n,), or holds fractions, NaN or infinity.

    >>> as_whole_numbers(np.array([0.0, 1.0]), "labels")
    tensor([0, 1])
    """
    tensor = as_tensor(array)
    if tensor.ndim != 1:
        raise UsageError(f"expected {what} (n,), got shape {tuple(tensor.shape)}")
    whole = tensor.long()
    if not (tensor == whole).all():
        wrong = tensor[tensor != whole][0].item()
        raise UsageError(f"expected {what} to be whole numbers, got {wrong}")
    return whole


def check_shapes(activations: Sequence[Tensor], labels: Tensor | None) -> None:
    """Check that layers and labels are of the same samples.

    Raises:
        UsageError: there is no layer, a layer is not (n, p), a label is negative, or the numbers
            of samples differ.
    """
    if not activations:
        raise UsageError("expected the activations of at least one layer, got none")
    for tensor in activations:
        if tensor.ndim != 2:
            raise UsageError(f"expected activations (n, p), got shape {tuple(tensor.shape)}")
    shapes = [tuple(tensor.shape) for tensor in activations]
    if labels is not None:
        shapes.append(tuple(labels.shape))
        if len(labels) and int(labels.min()) < 0:
            raise UsageError(f"expected labels (n,) from 0 on, got {int(labels.min())}")
    if len({shape[0] for shape in shapes}) > 1:
        raise UsageError(f"expected as many samples everywhere, got shapes {shapes}")


def wide(tensor: Tensor) -> Tensor:
    """Return the tensor in at least float32.

    >>> wide(torch.zeros(1, dtype=torch.float16)).dtype
    torch.float32
    """
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def of_class(values: Tensor, labels: Tensor) -> Tensor:
    """Return each sample's entry of its own class, (…, n), of values (…, n, C).

    >>> of_class(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1]))
    tensor([0.9000, 0.8000])
    """
    return values.gather(-1, labels.expand(values.shape[:-1])[..., None]).squeeze(-1)


def average(values: Tensor) -> float:
    """Return the mean over samples (n,), leaving out those that are NaN.

    Raises:
        UndefinedError: no sample has a value.

    >>> average(torch.tensor([1.0, 2.0, float("nan")]))
    1.5
    """
    if values.isnan().all():
        raise UndefinedError("no sample has a value")
    return float(values.cpu().double().nanmean())
