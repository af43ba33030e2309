"""What the engine asks of a learning rule, and the step that the built-in rules share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from cmp_core.config.schema import Config
from cmp_core.layers.layer import Layer
from cmp_core.training.model import LayeredModel


class LearningRule(ABC):
    """A way of turning a batch into an update of the weights."""

    def __init__(self, model: LayeredModel, config: Config, total_steps: int) -> None:
        self.model = model
        self.config = config
        self.total_steps = total_steps

    @abstractmethod
    def step(self, inputs: Tensor, labels: Tensor) -> tuple[tuple[Layer, ...], Tensor]:
        """Update the weights once; return the layers as they were before it, and the mean loss."""

    @abstractmethod
    def losses(self, layers: Sequence[Layer], labels: Tensor) -> Tensor:
        """Return the losses (k,) of a batch, each a mean over its samples, in nats.

        Their mean is the loss that the log gives.

        Raises:
            UsageError: the layers lack what the rule needs.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on, as plain values and tensors."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""

    def warnings(self) -> list[str]:
        """Return a sentence for each known limit that the configuration exceeds."""
        return []


class GradientRule(LearningRule):
    """A rule that lowers losses of its own by AdamW; it gives `losses` and `parameter_groups`."""

    detach = False
    """Whether the layers are cut off from each other during a step."""

    def __init__(self, model: LayeredModel, config: Config, total_steps: int) -> None:
        super().__init__(model, config, total_steps)
        self._steps = 0
        self._optimizers = [
            torch.optim.AdamW(
                group, lr=config.lr, weight_decay=config.weight_decay, fused=_can_fuse(model)
            )
            for group in self.parameter_groups()
        ]

    @abstractmethod
    def parameter_groups(self) -> Iterable[list[nn.Parameter]]:
        """Return the parameters of each optimizer."""

    def step(self, inputs: Tensor, labels: Tensor) -> tuple[tuple[Layer, ...], Tensor]:
        """Update the weights once; return the layers as they were before it, and the mean loss."""
        with self._precision(inputs.device):
            layers = self.model(inputs, detach=self.detach)
            losses = self.losses(layers, labels)
        # One backward serves all losses: where they share no graph, neither do their gradients.
        torch.autograd.backward(losses, torch.ones_like(losses))
        self._set_rate(self._steps)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self._steps += 1
        return layers, losses.detach().mean()

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizers and the number of steps."""
        return {
            "steps": self._steps,
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._steps = int(state["steps"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            _check_moments(saved["state"], optimizer)
            # The options are those of the configuration, and torch believes others.
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
        if self._steps:  # so that what is saved before the next step is what was loaded
            self._set_rate(self._steps - 1)

    def _set_rate(self, step: int) -> None:
        rate = self.config.lr * rate_factor(self.config, step, self.total_steps)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate

    def _precision(self, device: torch.device) -> AbstractContextManager[Any]:
        return torch.autocast(device.type, torch.bfloat16) if self.config.amp else nullcontext()


def _check_moments(state: Mapping[int, Mapping[str, Any]], optimizer: torch.optim.AdamW) -> None:
    """Raise where an optimizer's state does not fit its parameters; torch would, at the next step.

    Raises:
        ValueError: it does not.
    """
    parameters = [x for group in optimizer.param_groups for x in group["params"]]
    for place, moments in state.items():
        shape = parameters[place].shape
        expected = {"step": torch.Size(), "exp_avg": shape, "exp_avg_sq": shape}
        if {name: getattr(x, "shape", None) for name, x in moments.items()} != expected:
            raise ValueError(f"the optimizer's state {place} has other names or shapes")


def rate_factor(config: Config, step: int, total_steps: int) -> float:
    """Return the share of `lr` in force at a step: a linear warm-up, then cosine or constant.

    >>> config = Config(warmup_ratio=0.5)
    >>> [round(rate_factor(config, step, 4), 2) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warmup = round(config.warmup_ratio * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.scheduler == "constant":
        return 1.0
    progress = (step - warmup) / max(1, total_steps - warmup)
    return (1 + math.cos(math.pi * progress)) / 2


def _can_fuse(model: nn.Module) -> bool:
    kinds = {parameter.device.type for parameter in model.parameters()}
    return kinds <= {"cpu", "cuda", "mps"}
