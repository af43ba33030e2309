"""What the engine asks of a model: a forward pass that shows all layers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from cmp_core.layers.layer import Layer


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
