"""From what a module puts out to a layer's activations: (n, …) to (n, N)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch import Tensor

from cmp_core.errors import UsageError
from cmp_core.observation.layout import Layout

Reduction = str | int | Callable[[Tensor], Tensor]
"""A name of `REDUCTIONS`, a position, or a function from (n, …) to (n, N)."""

REDUCTIONS = ("mean", "max", "flatten", "cls", "last", "samples")


@attrs.frozen(eq=False)
class Reduced:
    """A layer's activations (k, N), and which sample each row is of, (k,), with its position.

    None where row i is of sample i.
    """

    values: Tensor
    samples: Tensor | None = None
    positions: Tensor | None = None


def check_reduction(reduction: Reduction) -> None:
    """Raise an error for what is no reduction."""
    is_known = callable(reduction) or isinstance(reduction, int) or reduction in REDUCTIONS
    if not is_known or isinstance(reduction, bool):
        raise UsageError(
            f"reduce: expected one of {', '.join(REDUCTIONS)}, a position, or a function "
            f"(n, …) -> (n, N); got {reduction!r}"
        )


@torch.no_grad()
def reduced(
    output: Tensor,
    reduction: Reduction,
    mask: Tensor | None = None,
    layout: Layout | None = None,
) -> Reduced:
    """Return what a module puts out as a layer's activations, with memory of its own.

    Outputs (n, N) are taken as they are. In feature maps (n, c, h, w), or channels-last
    (n, h, w, c), the positions are places, of which each has c units; in sequences (n, t, d), or
    (n, c, l), they are tokens, of which each has d.

    - `mean`, `max`: over the positions;
    - `flatten`: all numbers of a sample;
    - `cls`, `last`, or a number: one position, the first, the last, or that one;
    - `samples`: every position is a sample of its own.

    Args:
        output: (n, …), whose first dimension is that of samples.
        reduction: how.
        mask: (n, t), 0 for tokens that are padding and left out; of sequences alone.
        layout: where the units stand.

    Raises:
        UsageError: the output has no dimension of samples, the positions are not as many, or the
            mask is one of other positions.

    >>> maps = torch.arange(8.0).reshape(1, 2, 2, 2)
    >>> reduced(maps, "mean").values, reduced(maps, "samples").values.shape
    (tensor([[1.5000, 5.5000]]), torch.Size([4, 2]))
    >>> tokens = torch.tensor([[[1.0], [3.0], [9.0]]])
    >>> reduced(tokens, "mean", mask=torch.tensor([[1, 1, 0]])).values
    tensor([[2.]])
    """
    values = output.detach()
    if callable(reduction):
        found = reduction(values)
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(values):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UsageError(
                f"reduce: expected the function to return (n, N) = ({len(values)}, N), got {shape}"
            )
        return Reduced(_own(found, values))
    if values.ndim < 2:
        raise UsageError(
            f"expected an output (n, …) with units, got shape {tuple(values.shape)}; choose other "
            "layers, or give a function with reduce="
        )
    if values.ndim == 2:
        if reduction == "samples":
            raise UsageError(f"samples: there are no positions in shape {tuple(values.shape)}")
        return Reduced(_own(values, output))
    if reduction == "flatten":
        return Reduced(_own(values.flatten(1), output))
    is_last = (layout or Layout()).is_channels_last(tuple(values.shape))
    tokens = values.flatten(1, -2) if is_last else values.flatten(2).transpose(1, 2)  # (n, t, d)
    if values.ndim > 3 or mask is None:
        return _of_tokens(tokens, reduction, None)
    return _of_tokens(tokens, reduction, _fitting(mask, tokens, reduction, 1 if is_last else 2))


def _fitting(mask: Tensor, tokens: Tensor, reduction: Any, dim: int) -> Tensor | None:
    """Return the mask of these tokens as bool; None for `cls` of tokens that have no mask.

    The tokens are dimension `dim` of the output.
    """
    if mask.shape != tokens.shape[:2]:
        if reduction == "cls":
            return None
        n, count, _ = tokens.shape
        raise UsageError(
            f"mask: the output has {count} positions of {n} samples, and the mask that the model "
            f"was given is of shape {tuple(mask.shape)}, not ({n}, {count}); give a function with "
            f"reduce=, such as lambda x: x.mean({dim})"
        )
    there = mask.to(tokens.device) != 0
    if not bool(there.any(1).all()):
        raise UsageError("mask: a sample has no token that is no padding")
    return there


def _of_tokens(tokens: Tensor, reduction: Any, mask: Tensor | None) -> Reduced:
    n, count, _ = tokens.shape
    there = torch.ones(n, count, dtype=torch.bool, device=tokens.device) if mask is None else mask
    if reduction == "samples":
        samples, positions = there.nonzero(as_tuple=True)
        return Reduced(tokens[samples, positions], samples, positions)
    if reduction == "mean":
        exact = tokens.float() if tokens.dtype in (torch.float16, torch.bfloat16) else tokens
        if mask is None:
            return Reduced(exact.mean(1))
        weights = mask.unsqueeze(2).to(exact.dtype)
        return Reduced((exact * weights).sum(1) / weights.sum(1))
    if reduction == "max":
        lowest = torch.finfo(tokens.dtype).min if tokens.is_floating_point() else 0
        return Reduced(tokens.masked_fill(~there.unsqueeze(2), lowest).amax(1))
    place = {"cls": 0, "last": -1}.get(reduction, reduction)
    if not -count <= place < count:
        raise UsageError(f"reduce: there is no position {place}, the output has {count}")
    # Positions count tokens that are no padding, wherever that stands.
    counts = there.sum(1)
    rank = place if place >= 0 else counts + place
    if mask is not None and bool(((rank < 0) | (rank >= counts)).any()):
        raise UsageError(f"reduce: a sample has no position {place}, it has fewer tokens")
    rank = torch.as_tensor(rank, device=tokens.device).expand(n)
    order = (there.cumsum(1) - 1).masked_fill(~there, -1)
    position = (order == rank.unsqueeze(1)).to(torch.int64).argmax(1)
    return Reduced(tokens[torch.arange(n, device=tokens.device), position])


def _own(values: Tensor, output: Tensor) -> Tensor:
    """Return values that a later change of the output in place does not reach."""
    is_shared = values.untyped_storage().data_ptr() == output.untyped_storage().data_ptr()
    return values.clone() if is_shared else values
