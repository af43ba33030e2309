"""Greedy layer-wise learning with the ACE diversity term between neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from cmp_core.errors import UsageError
from cmp_core.events.hookspecs import Register, hookimpl
from cmp_core.layers.layer import Layer
from cmp_core.training.ace import ACE_VARIANTS, ace_warnings
from cmp_core.training.learning_rule import GradientRule


class Layerwise(GradientRule):
    """Every layer minimises lossᵢ = H(p, qᵢ) - λᵢ R(qᵢ, qᵢ₊₁) by an optimizer of its own.

    The layer's input and qᵢ₊₁ are detached and R is 0 at the last layer, so the gradients of the
    layers are independent: one backward over Σ lossᵢ gives what L separate rounds would.
    """

    detach = True

    def losses(self, layers: Sequence[Layer], labels: Tensor) -> Tensor:
        """Return the loss of every layer, shape (L,)."""
        divergence = ACE_VARIANTS[self.config.ace_variant]
        log_q = [torch.log_softmax(_scores_of(layer), dim=1) for layer in layers]
        losses = [torch.nn.functional.nll_loss(log_q_i, labels) for log_q_i in log_q]
        for i, weight in enumerate(self.config.ace_weights[: len(layers) - 1]):
            if weight > 0:
                losses[i] = losses[i] - weight * divergence(log_q[i], log_q[i + 1].detach()).mean()
        return torch.stack(losses)

    def parameter_groups(self) -> Iterable[list[nn.Parameter]]:
        """Return one group per layer."""
        return [list(layer.parameters()) for layer in self.model.layers]

    def warnings(self) -> list[str]:
        """Return what is known to go wrong with these weights of the ACE term."""
        config = self.config
        return ace_warnings(config.ace_variant, config.similarity, config.tau, config.ace_weights)


def _scores_of(layer: Layer) -> Tensor:
    if layer.scores is None:
        raise UsageError(
            f"learning rule 'layerwise' needs scores at every layer; {layer.name} has none"
        )
    return layer.scores


@hookimpl
def cmp_register_learning_rules(register: Register) -> None:
    """Register the rule."""
    register(Layerwise, name="layerwise")
