"""The backprop baseline: blocks of `Linear → ReLU` and a linear head."""

from __future__ import annotations

from torch import Tensor, nn

from cmp_core.config.schema import Config
from cmp_core.events.hookspecs import Register, hookimpl
from cmp_core.layers.layer import Layer
from cmp_core.models._block import make_blocks
from cmp_core.training.model import LayeredModel


class MLP(LayeredModel):
    """A multilayer perceptron whose head is a layer of its own, with its logits as scores."""

    learning_rule = "backprop"

    def __init__(self, layers: nn.ModuleList, head: nn.Linear) -> None:
        super().__init__()
        self.layers = layers
        self.head = head

    def forward(self, inputs: Tensor, detach: bool = False) -> tuple[Layer, ...]:
        """Return the hidden layers, without scores, and the head."""
        hidden = inputs.flatten(1)
        outputs = []
        for depth, block in enumerate(self.layers):
            hidden = block(hidden.detach() if detach else hidden)
            outputs.append(Layer(f"layer_{depth}", depth, f"layers.{depth}", hidden))
        logits = self.head(hidden.detach() if detach else hidden)
        return (*outputs, Layer("head", len(outputs), "head", logits, scores=logits))


def make_mlp(config: Config, input_size: int, num_classes: int) -> MLP:
    """Return the MLP that the configuration describes."""
    blocks = make_blocks(input_size, config.N, config.layers, config.input_norm, config.residual)
    return MLP(blocks, nn.Linear(config.N, num_classes))


@hookimpl
def cmp_register_models(register: Register) -> None:
    """Register the model."""
    register(make_mlp, name="mlp")
