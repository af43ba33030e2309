"""The block that both networks are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_TINY = 1e-12


class Block(nn.Module):
    """h = ReLU(W norm(x) + b), plus x where `residual` is set and the widths agree."""

    def __init__(self, inputs: int, units: int, input_norm: str, residual: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, units)
        self._input_norm = input_norm
        self._residual = residual and inputs == units

    def forward(self, inputs: Tensor) -> Tensor:
        """Return activations (n, N) for inputs (n, d)."""
        hidden = torch.relu(self.linear(normalise(inputs, self._input_norm)))
        return hidden + inputs if self._residual else hidden


def make_blocks(
    input_size: int, units: int, layers: int, input_norm: str, residual: bool
) -> nn.ModuleList:
    """Return `layers` blocks, the first from `input_size` to `units`, the others square."""
    sizes = [input_size, *[units] * layers]
    return nn.ModuleList(Block(d, units, input_norm, residual) for d in sizes[:-1])


def normalise(inputs: Tensor, kind: str) -> Tensor:
    """Divide every row by its l2 norm, its l1 norm or its root mean square; `none` leaves it.

    >>> normalise(torch.tensor([[3.0, 4.0]]), "l2")
    tensor([[0.6000, 0.8000]])
    """
    if kind == "none":
        return inputs
    if kind == "rms":
        return inputs * inputs.square().mean(1, keepdim=True).clamp_min(_TINY).rsqrt()
    order = {"l1": 1, "l2": 2}[kind]
    return nn.functional.normalize(inputs, p=order, dim=1)
