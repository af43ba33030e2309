"""What the plain functions of the metrics share: NumPy or torch in, a float out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmp_core.errors import UndefinedError

Array = Tensor | NDArray[np.generic]
"""What the plain functions take."""


def as_tensor(array: Array) -> Tensor:
    """Return a tensor without a graph that shares the memory where it can; float16 is widened."""
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        array = array.copy()  # torch warns of memory that it may not write to
    tensor = torch.as_tensor(array).detach()
    return wide(tensor) if tensor.is_floating_point() else tensor


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
