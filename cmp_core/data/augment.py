"""Augmentation of a whole batch of images at once."""

from __future__ import annotations

import torch
from torch import Tensor


def shift_and_flip(images: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """Pad by zeros, crop each image at its own random place, and mirror about half of them.

    Args:
        images: (n, channels, height, width).
        generator: on the CPU, so that every device draws the same numbers.
        padding: pixels on every side.
    """
    n, _, height, width = images.shape
    draws = torch.randint(0, 2 * padding + 1, (2, n), generator=generator).to(images.device)
    flip = torch.randint(0, 2, (n, 1), generator=generator).to(images.device)
    rows = draws[0, :, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(n, width)
    columns = draws[1, :, None] + torch.where(flip == 1, width - 1 - columns, columns)
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    sample = torch.arange(n, device=images.device)[:, None, None]
    # Indexing puts the sliced channel dimension last: (n, height, width, channels).
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
