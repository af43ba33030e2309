"""How activations are scored against class anchors, and which anchors there are."""

from __future__ import annotations

import torch
from torch import Tensor

from cmp_core.errors import UsageError

_TINY = 1e-12


def cosine(activations: Tensor, anchors: Tensor) -> Tensor:
    """Return cos(hᵢ, e_c) for activations (n, N) and anchors (C, N), shape (n, C).

    A zero vector has no direction; its cosines read 0 here, which gives it equal scores for all
    classes. To measure, use `defined_cosine`.

    >>> cosine(torch.tensor([[3.0, 4.0]]), torch.eye(2))
    tensor([[0.6000, 0.8000]])
    """
    lengths = torch.linalg.vector_norm(activations, dim=1, keepdim=True)
    lengths = torch.mul(lengths, torch.linalg.vector_norm(anchors, dim=1))
    return torch.div(activations @ anchors.T, lengths.clamp_min(_TINY))


def defined_cosine(activations: Tensor, anchors: Tensor) -> Tensor:
    """Return `cosine`, (n, C), with NaN where one of the vectors is zero and has no direction.

    Vectors of any length count, also where its square is outside of the range of their type.

    Raises:
        UsageError: the vectors are of different widths.

    >>> defined_cosine(torch.tensor([[0.0, 0.0]]), torch.eye(2))
    tensor([[nan, nan]])
    """
    if activations.shape[1] != anchors.shape[1]:
        shapes = tuple(activations.shape), tuple(anchors.shape)
        raise UsageError(f"expected anchors as wide as the activations, got shapes {shapes}")
    dtype = torch.promote_types(activations.dtype, anchors.dtype)
    return _directions(activations.to(dtype)) @ _directions(anchors.to(dtype)).T


def _directions(vectors: Tensor) -> Tensor:
    """Return vectors (n, N) with length 1, NaN for a zero one."""
    rows = vectors / vectors.abs().amax(dim=1, keepdim=True)  # 0/0 is NaN
    return rows.div_(torch.linalg.vector_norm(rows, dim=1, keepdim=True))


def negative_squared_distance(activations: Tensor, anchors: Tensor) -> Tensor:
    """Return -‖hᵢ - e_c‖² for activations (n, N) and anchors (C, N), shape (n, C).

    >>> negative_squared_distance(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2))
    tensor([[-25.]])
    """
    squares = activations.square().sum(1, keepdim=True) + anchors.square().sum(1)
    return 2 * activations @ anchors.T - squares


def scores(activations: Tensor, anchors: Tensor, similarity: str, tau: float) -> Tensor:
    """Return similarity / τ, the logits of q = softmax(scores), shape (n, C).

    Args:
        activations: (n, N).
        anchors: (C, N).
        similarity: `cosine`, or `l2` for the negative squared distance.
        tau: temperature, above 0.
    """
    measure = {"cosine": cosine, "l2": negative_squared_distance}[similarity]
    return measure(activations, anchors) / tau


def fixed_anchors(kind: str, num_classes: int, width: int, seed: int) -> Tensor:
    """Return unit-norm class anchors (C, N) in float32 that depend on nothing but the arguments.

    `orthonormal`: random orthonormal vectors with signed entries (QR of a Gaussian matrix).
    `block`: each class owns a contiguous block of units with equal positive entries, so the
    anchors are orthonormal and within reach of ReLU features.

    Raises:
        UsageError: `width` is smaller than `num_classes`.

    >>> fixed_anchors("block", 2, 4, seed=0)
    tensor([[0.7071, 0.7071, 0.0000, 0.0000],
            [0.0000, 0.0000, 0.7071, 0.7071]])
    """
    if width < num_classes:
        raise UsageError(
            f"N: {kind} anchors need at least as many units as classes, "
            f"got N = {width} for {num_classes} classes"
        )
    if kind == "block":
        owner = torch.arange(width) * num_classes // width
        blocks = torch.nn.functional.one_hot(owner, num_classes).T.float()
        return blocks.div(blocks.sum(1, keepdim=True).sqrt())
    generator = torch.Generator().manual_seed(seed)
    gaussian = torch.randn(width, num_classes, generator=generator, dtype=torch.float64)
    basis: Tensor = torch.linalg.qr(gaussian).Q
    return basis.T.float().contiguous()
