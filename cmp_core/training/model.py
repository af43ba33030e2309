"""What the engine asks of a model: a forward pass that shows all layers."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from rich.filesize import decimal
from torch import Tensor, nn

from cmp_core.config.schema import Config
from cmp_core.errors import ConfigError
from cmp_core.layers.layer import Layer
from cmp_core.layers.memory import memory_of
from cmp_core.text import counted


class LayeredModel(nn.Module, ABC):
    """A network that returns its layers, the last of which carries the output's scores.

    A model plugin subclasses this and registers a function
    `(config, input_size, num_classes) -> LayeredModel`.
    """

    learning_rule: str
    """Name of the rule that trains the model where the configuration names none."""

    layers: nn.ModuleList
    """The layers below the head."""

    @abstractmethod
    def forward(self, inputs: Tensor, detach: bool = False) -> tuple[Layer, ...]:
        """Return the layers' activations for inputs (n, …), in order of depth.

        Args:
            inputs: a batch; everything after the first dimension is flattened.
            detach: cut the autograd graph between layers, so that each learns by itself.
        """


def check_size(config: Config, input_size: int, device: torch.device) -> None:
    """Raise where layers as wide as the configuration says cannot be trained in this memory.

    Raises:
        ConfigError: weights, gradients and AdamW's two averages do not fit.
    """
    weights = config.N * (input_size + config.N * (config.layers - 1))
    needed, there = 4 * 4 * weights, memory_of(device)
    if needed > there:
        raise ConfigError(
            [
                f"N, layers: {counted(config.layers, 'layer')} of {counted(config.N, 'unit')} have "
                f"{weights:,} weights, which take {decimal(needed)} to be trained; there are "
                f"{decimal(there)}"
            ]
        )
