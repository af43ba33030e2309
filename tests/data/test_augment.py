"""Tests of `cmp_core.data.augment`, against one image at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from cmp_core.data.augment import shift_and_flip


def shift_slowly(image: Tensor, down: int, right: int, flip: bool) -> Tensor:
    padded = torch.nn.functional.pad(image, (4, 4, 4, 4))
    height, width = image.shape[1:]
    crop = padded[:, down : down + height, right : right + width]
    return crop.flip(2) if flip else crop


def test_augmentation_is_a_crop_and_a_flip_per_image() -> None:
    images = torch.randint(1, 255, (64, 3, 5, 6), dtype=torch.uint8)
    shifted = shift_and_flip(images, torch.Generator().manual_seed(0))
    assert shifted.dtype == images.dtype
    g = torch.Generator().manual_seed(0)
    shifts = torch.randint(0, 9, (2, 64), generator=g)
    flips = torch.randint(0, 2, (64, 1), generator=g)
    assert 0 < flips.float().mean() < 1
    for i in range(64):
        expected = shift_slowly(images[i], int(shifts[0, i]), int(shifts[1, i]), bool(flips[i]))
        assert shifted[i].equal(expected)
