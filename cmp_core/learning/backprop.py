"""Backpropagation: cross-entropy at the output, gradients through all layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from cmp_core.errors import UsageError
from cmp_core.events.hookspecs import Register, hookimpl
from cmp_core.layers.layer import Layer
from cmp_core.training.learning_rule import GradientRule


class Backprop(GradientRule):
    """One loss, H(p, q) of the last layer's scores, and one optimizer."""

    def losses(self, layers: Sequence[Layer], labels: Tensor) -> Tensor:
        """Return the cross-entropy of the output, shape (1,)."""
        scores = layers[-1].scores
        if scores is None:
            raise UsageError("learning rule 'backprop' needs a model whose last layer has scores")
        return torch.nn.functional.cross_entropy(scores, labels).reshape(1)

    def parameter_groups(self) -> Iterable[list[nn.Parameter]]:
        """Return all parameters as one group."""
        return [list(self.model.parameters())]


@hookimpl
def cmp_register_learning_rules(register: Register) -> None:
    """Register the rule."""
    register(Backprop, name="backprop")
