"""The greedy MLP: the baseline's blocks without its head, each scored against class anchors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cmp_core.config.schema import Config
from cmp_core.events.hookspecs import Register, hookimpl
from cmp_core.layers.layer import Layer
from cmp_core.layers.similarity import fixed_anchors, scores
from cmp_core.models._block import make_blocks
from cmp_core.training.model import LayeredModel


class GreedyMLP(LayeredModel):
    """A multilayer perceptron every layer of which has scores against the same fixed anchors."""

    learning_rule = "layerwise"
    anchors: Tensor

    def __init__(
        self, layers: nn.ModuleList, anchors: Tensor, anchor_kind: str, similarity: str, tau: float
    ) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("anchors", anchors)
        self._anchor_kind = anchor_kind
        self._similarity = similarity
        self._tau = tau

    def forward(self, inputs: Tensor, detach: bool = False) -> tuple[Layer, ...]:
        """Return the layers, each with its scores and the anchors."""
        hidden = inputs.flatten(1)
        outputs = []
        for depth, block in enumerate(self.layers):
            hidden = block(hidden.detach() if detach else hidden)
            outputs.append(
                Layer(
                    name=f"layer_{depth}",
                    depth=depth,
                    module=f"layers.{depth}",
                    activations=hidden,
                    scores=self._score(hidden),
                    anchors=self.anchors,
                    anchor_kind=self._anchor_kind,
                )
            )
        return tuple(outputs)

    def _score(self, hidden: Tensor) -> Tensor:
        # A temperature of 0.05 multiplies rounding errors by 20: keep autocast out of the scores.
        with torch.autocast(hidden.device.type, enabled=False):
            return scores(hidden.to(self.anchors.dtype), self.anchors, self._similarity, self._tau)


def make_greedy(config: Config, input_size: int, num_classes: int) -> GreedyMLP:
    """Return the greedy MLP that the configuration describes."""
    blocks = make_blocks(input_size, config.N, config.layers, config.input_norm, config.residual)
    anchors = fixed_anchors(config.anchors, num_classes, config.N, config.seed)
    return GreedyMLP(blocks, anchors, config.anchors, config.similarity, config.tau)


@hookimpl
def cmp_register_models(register: Register) -> None:
    """Register the model."""
    register(make_greedy, name="greedy")
