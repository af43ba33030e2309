"""Small models of the kinds that people have, with outputs of many forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """An MLP whose activations are changed in place after they were put out."""

    def __init__(self, width: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(5, width)
        self.second = nn.Linear(width, width)
        self.drop = nn.Dropout(0.5)
        self.logits = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu_(self.first(x))
        hidden = torch.relu_(self.second(hidden))
        return self.logits(self.drop(hidden))


class Twice(nn.Module):
    """One module is called twice, and registered after the one that follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)
        self.shared = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.shared(self.shared(x)))


class Part(nn.Module):
    """Puts a tensor out in some form."""

    def __init__(self, form: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self._form = form

    def forward(self, x: Tensor) -> Any:
        return self._form(self.linear(x))


@dataclass
class Answer:
    """As Hugging Face's models return it."""

    loss: None
    logits: Tensor


class Tokens(nn.Module):
    """A transformer encoder of tokens, some of which are padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Answer:
        hidden = self.encoder(self.embed(input_ids), src_key_padding_mask=attention_mask == 0)
        weights = attention_mask.unsqueeze(2).float()
        return Answer(None, self.head((hidden * weights).sum(1) / weights.sum(1)))


def hooks_on(model: nn.Module) -> int:
    """How many hooks there are on a model and its modules."""
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


def samples(n: int = 60, seed: int = 0, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Inputs (n, 5) of classes that can be told, and their labels."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    inputs = torch.randn(n, 5, generator=draw)
    inputs[torch.arange(n), labels] += 2
    return inputs, labels


def loader(n: int = 60, size: int = 20, seed: int = 0, **options: Any) -> Any:
    """A data loader of `samples`."""
    data = torch.utils.data.TensorDataset(*samples(n, seed))
    return torch.utils.data.DataLoader(data, batch_size=size, **options)
