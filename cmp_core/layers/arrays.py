"""What the plain functions of the metrics share: NumPy or torch in, a float out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError, one_line
from cmp_core.text import counted

Array = Tensor | NDArray[np.generic]
"""What the plain functions take."""

WHOLE_IN_FLOAT64 = 2**53
"""Up to here float64 holds every whole number."""


def precise(device: torch.device) -> torch.dtype:
    """Return the widest floating type of a device: float64, but float32 on MPS."""
    return torch.float32 if device.type == "mps" else torch.float64


def wide(tensor: Tensor) -> Tensor:
    """Return real numbers as float32 or float64, in which nothing of them is lost.

    Half precision becomes float32, whole numbers and bool float64.

    >>> wide(torch.zeros(1, dtype=torch.float16)).dtype
    torch.float32
    >>> wide(torch.zeros(1, dtype=torch.uint8)).dtype
    torch.float64
    """
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.float() if tensor.is_floating_point() else tensor.to(precise(tensor.device))


def as_tensor(array: Array, what: str = "an array of real numbers") -> Tensor:
    """Return real numbers of any type as a tensor without a graph, see `wide`.

    It shares the memory of the array where it can.

    Raises:
        UsageError: the numbers are complex, masked, sparse or no numbers, or whole numbers that
            float64 does not hold.

    >>> as_tensor(np.array([0, 65535], dtype=">u2"))
    tensor([    0., 65535.], dtype=torch.float64)
    """
    tensor = _real(array, what)
    numbers = wide(tensor)
    if numbers.numel() and not tensor.is_floating_point():
        largest = float(numbers.abs().max())
        if largest > WHOLE_IN_FLOAT64:
            raise UsageError(
                f"expected whole numbers up to 2^53, which float64 holds, got {largest:.6g}; "
                "subtract their common offset"
            )
    return numbers


def as_activations(array: Array, name: str = "") -> Tensor:
    """Return activations (n, …) as `as_tensor` does, with more than two dimensions as (n, p).

    Args:
        array: activations; NaN and infinity may be among them.
        name: of the layer, for the errors.

    Raises:
        UsageError: it is no array (n, …) of real numbers.

    >>> as_activations(torch.zeros(8, 3, 2, 2)).shape
    torch.Size([8, 12])
    """
    tensor = as_tensor(array, "activations (n, p) of real numbers")
    if tensor.ndim < 2:
        where = f" of {name}" if name else ""
        shape = tuple(tensor.shape)
        raise UsageError(f"expected activations (n, p) or (n, …), got shape {shape}{where}")
    return tensor.flatten(1)


def as_matrix(array: Array, what: str = "activations") -> Tensor:
    """Return an array (n, p) as `as_tensor` does.

    Args:
        array: activations, which are flattened as by `as_activations`, or scores or anchors, which
            must be (n, p).
        what: which of these.

    Raises:
        UsageError: it is no array (n, p) of real numbers.
        UndefinedError: it holds NaN or infinity.
    """
    if what == "activations":
        tensor = as_activations(array)
    else:
        tensor = as_tensor(array, f"{what} (n, p) of real numbers")
        if tensor.ndim != 2:
            raise UsageError(f"expected {what} (n, p), got shape {tuple(tensor.shape)}")
    if tensor.shape[1] == 0:
        raise UsageError(f"expected {what} (n, p) with p > 0, got shape {tuple(tensor.shape)}")
    if tensor.numel() and not torch.stack(tensor.aminmax()).isfinite().all():
        raise UndefinedError(f"the {what} hold NaN or infinity")
    return tensor


def as_matrices(*arrays: Array, what: str = "activations") -> list[Tensor]:
    """Return arrays (n, pᵢ) of the same samples, each as `as_matrix` does.

    Args:
        arrays: activations or scores.
        what: which of these.

    Raises:
        UsageError: one is no array (n, p) of real numbers, or the numbers of samples differ.
        UndefinedError: one holds NaN or infinity.
    """
    matrices = [as_matrix(array, what) for array in arrays]
    check_samples(matrices)
    return matrices


def as_labels(array: Array, of: Tensor | None = None, num_classes: int | None = None) -> Tensor:
    """Return class labels (n,) of any type as int64: the one way in for labels.

    Args:
        array: whole numbers from 0 on; as floating-point numbers or bool too.
        of: what the labels are of, (n, …); they are brought to its device.
        num_classes: C, where scores or anchors tell it; labels are below it.

    Raises:
        UsageError: the array is not (n,), holds something else, or the numbers of samples differ.

    >>> as_labels(np.array([0.0, 2.0]))
    tensor([0, 2])
    """
    labels = as_whole_numbers(array, "labels")
    if of is not None and len(of) != len(labels):
        raise UsageError(f"expected labels of {counted(len(of), 'sample')}, got {len(labels)}")
    if len(labels):
        low, high = int(labels.min()), int(labels.max())
        if low < 0:
            raise UsageError(f"expected labels from 0 on, got {low}; drop samples without a label")
        if num_classes is not None and high >= num_classes:
            raise UsageError(f"expected labels below {num_classes}, one for each class, got {high}")
    return labels if of is None else labels.to(of.device)


def class_indices(labels: Array, of: Tensor | None = None) -> Tensor:
    """Return the position (n,) of each label among the K classes that are present, from 0 to K-1.

    What is computed per class then costs the same whatever the classes are called.

    Args:
        labels: as `as_labels` takes them.
        of: what the labels are of, (n, …).

    >>> class_indices(np.array([1000, 7, 1000]))
    tensor([1, 0, 1])
    """
    positions: Tensor = torch.unique(as_labels(labels, of), return_inverse=True)[1]
    return positions


def as_whole_numbers(array: Array, what: str) -> Tensor:
    """Return whole numbers (n,) of any type as int64.

    Args:
        array: as whole numbers, floating-point numbers or bool.
        what: name of the array, for the errors.

    Raises:
        UsageError: it is not (n,), or holds fractions, NaN, infinity, or what int64 does not.
    """
    wanted = f"{what} (n,) of whole numbers"
    tensor = _real(array, wanted)
    if tensor.ndim != 1:
        raise UsageError(f"expected {wanted}, got shape {tuple(tensor.shape)}")
    whole = tensor.long()
    # The largest uint64 wrap around to negative numbers, which compare equal as such.
    is_wrong = whole.to(tensor.dtype) != tensor
    if tensor.dtype == torch.uint64:
        is_wrong |= whole < 0
    if is_wrong.any():
        first = int(is_wrong.int().argmax())
        raise UsageError(f"expected {wanted}, got {tensor[first].item()} at position {first}")
    return whole


def check_samples(tensors: Sequence[Tensor]) -> None:
    """Raise `UsageError` where tensors (n, …) are not of the same samples, or there are none."""
    if not tensors:
        raise UsageError("expected the activations of at least one layer, got none")
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if len({shape[0] for shape in shapes}) > 1:
        raise UsageError(f"expected as many samples everywhere, got shapes {shapes}")


def _real(array: Array, what: str) -> Tensor:
    """Return an array as a tensor of its own type where torch has it."""
    tensor = array if isinstance(array, Tensor) else torch.as_tensor(_native(array, what))
    if tensor.is_complex():
        hint = "take the modulus, or real and imaginary parts"
        raise _not_real(what, str(tensor.dtype).removeprefix("torch."), hint)
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise _not_real(what, tensor.layout, "make it a dense tensor")
    return tensor.detach()


def _native(array: object, what: str) -> NDArray[Any]:
    """Return an array in a type and layout that torch takes."""
    if np.ma.is_masked(array):
        raise _not_real(what, "a masked array", "drop the masked samples or fill them")
    try:
        values = np.asarray(array)
    except ValueError as error:  # lists of different lengths
        raise _not_real(what, type(array).__name__, one_line(error)) from error
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "V" and values.dtype.names is None:  # bfloat16 and float8 of the package ml_dtypes
        with suppress(TypeError, ValueError):
            return values.astype(np.float32)
    if kind not in "biufc":
        example = f" such as {values.ravel()[:1].tolist()[0]!r}" if values.size else ""
        raise _not_real(what, f"{values.dtype}{example}", "convert them to numbers")
    is_strange = not values.dtype.isnative or min(values.strides, default=0) < 0
    if size > 8 and kind == "f":  # torch has no longer ones
        return values.astype(np.float64)
    if is_strange or not values.flags.writeable:  # torch warns of memory it may not write to
        return values.astype(values.dtype.newbyteorder("="))
    return values


def _not_real(what: str, found: object, hint: str) -> UsageError:
    return UsageError(f"expected {what}, got {found}; {hint}")


def binary_scale(tensor: Tensor) -> Tensor:
    """Return the largest power of two (0-d) up to the largest size in a tensor; 1 where that is 0.

    Activations divided by it keep every digit, and none of their products leaves the range of
    float64, however large or small they are.

    >>> binary_scale(torch.tensor([3.0, -5.0]))
    tensor(4., dtype=torch.float64)
    """
    return binary_scales([tensor])[0]


def binary_scales(tensors: Sequence[Tensor]) -> Tensor:
    """Return the `binary_scale` of each of some tensors on one device, (k,)."""
    largest = torch.stack([_largest_size(tensor) for tensor in tensors])
    one = torch.ones_like(largest)
    scales = torch.ldexp(one, torch.frexp(largest).exponent - 1)
    return torch.where((largest > 0) & largest.isfinite(), scales, one)


def _largest_size(tensor: Tensor) -> Tensor:
    """Return max |x| (0-d), in float64 (float32 on MPS)."""
    if not tensor.numel():
        return torch.zeros((), dtype=precise(tensor.device), device=tensor.device)
    low, high = wide(tensor).aminmax()
    return torch.maximum(-low, high).to(precise(tensor.device))


def rescaled(activations: Tensor) -> Tensor:
    """Return activations divided by their `binary_scale`, in float64 (float32 on MPS).

    What scale leaves alone is computed from these: it is then right at any scale.
    """
    return activations.to(precise(activations.device)) / binary_scale(activations)


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
