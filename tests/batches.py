"""A batch for models and learning rules."""

from __future__ import annotations

import torch


def batch(n: int = 32, d: int = 10, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, d, generator=g, dtype=torch.float64)
    return inputs, torch.randint(0, classes, (n,), generator=g)
