"""Tests of `cmp_core.observation.layout`: the units of models as they are built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from cmp_core.observation.capture import Capture
from cmp_core.observation.layout import layouts_of


def taken(model: nn.Module, layers: Any, x: Tensor) -> dict[str, Tensor]:
    """The means that are captured, by path."""
    capture = Capture(model.eval(), layers)
    capture.on()
    with torch.no_grad():
        model(x)
    return {one.path: one.values.values for one in capture.take()}


@contextmanager
def raw_outputs(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """What modules put out, by hooks of torch's own."""
    found: dict[str, Tensor] = {}

    def keep(path: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                found[path] = output.detach().double()

        return hook

    handles = [
        module.register_forward_hook(keep(path)) for path, module in model.named_modules() if path
    ]
    yield found
    for handle in handles:
        handle.remove()


def check(model: nn.Module, x: Tensor, places: dict[str, tuple[int, ...]]) -> None:
    """Compare what is captured with means over the dimensions that are told to be places."""
    with raw_outputs(model.eval()) as raw, torch.no_grad():
        model(x)
    for path, values in taken(model, list(places), x).items():
        expected = raw[path].mean(places[path])
        assert values.shape == expected.shape, path
        assert torch.allclose(values.double(), expected, atol=1e-5), path


FIRST, LAST = (2, 3), (1, 2)


@pytest.mark.parametrize("height", [64, 96])
def test_swin(height: int) -> None:
    model = torchvision.models.swin_t(weights=None)
    places = dict.fromkeys([f"features.{i}" for i in range(8)], LAST)
    places |= {"features.1.0.mlp": LAST, "norm": LAST, "permute": FIRST, "avgpool": FIRST}
    x = torch.randn(2, 3, height, 64)
    check(model, x, places)
    widths = [values.shape[1] for values in taken(model, "features.*", x).values()]
    assert widths == [96, 96, 192, 192, 384, 384, 768, 768]


@pytest.mark.parametrize("height", [64, 96])
def test_convnext(height: int) -> None:
    model = torchvision.models.convnext_tiny(weights=None)
    places = dict.fromkeys([f"features.{i}" for i in range(8)], FIRST)
    places |= {"features.1.0.block.3": LAST, "features.1.0.block.4": LAST, "features.0.1": FIRST}
    check(model, torch.randn(2, 3, height, 64), places)


@pytest.mark.parametrize("height", [64, 96])
def test_resnet(height: int) -> None:
    model = torchvision.models.resnet18(weights=None)
    paths = [
        "conv1",
        "bn1",
        "relu",
        "maxpool",
        *(f"layer{i}" for i in range(1, 5)),
        "layer1.0.relu",
    ]
    check(model, torch.randn(2, 3, height, 64), dict.fromkeys(paths, FIRST))


def test_convolutions_of_which_the_sizes_look_like_channels_last() -> None:
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16)), nn.ReLU(), nn.Conv2d(16, 16, 1)
    )
    check(model, torch.randn(2, 3, 16, 8), dict.fromkeys("012", FIRST))


class Gated(nn.Module):
    """Squeeze and excitation: linear maps of (n, c) in a block of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)
        self.gate = nn.Sequential(nn.Linear(8, 2), nn.ReLU(), nn.Linear(2, 8), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * self.gate(x.mean((2, 3)))[:, :, None, None]


class Permuted(nn.Module):
    """A block of ConvNeXt that permutes dimensions by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm(self.conv(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class Attentive(nn.Module):
    """Attention between the places of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        return x + self.attention(tokens, tokens, tokens)[0].transpose(1, 2).reshape(x.shape)


class Embedding(nn.Module):
    """A convolution whose output is permuted."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).permute(0, 2, 3, 1)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 20)])
def test_blocks_whose_last_module_has_another_layout(height: int, width: int) -> None:
    places = {"0": FIRST, "0.conv": FIRST, "1": FIRST, "1.mlp": LAST, "1.mlp.1": LAST}
    places |= {"2": FIRST, "3": FIRST}
    model = nn.Sequential(Gated(), Permuted(), Attentive(), nn.ReLU())
    check(model, torch.randn(2, 3, height, width), places)
    embed = nn.Sequential(Embedding(), nn.ReLU(), nn.Linear(8, 4), nn.ReLU())
    if height == width:  # otherwise neither sizes nor modules tell it
        check(embed, torch.randn(2, 3, height, width), dict.fromkeys("01", LAST))
    check(embed, torch.randn(2, 3, height, width), dict.fromkeys("23", LAST))


def test_branches_that_are_put_together_have_the_layout_of_the_last_one() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv1d(3, 4, 1), nn.Conv1d(3, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.one(x), self.two(x)], 1)

    check(nn.Sequential(Branches(), nn.ReLU()), torch.randn(2, 3, 6), {"0": (2,), "1": (2,)})


def test_one_dimensional_convolutions_in_blocks() -> None:
    block = nn.Sequential(nn.Conv1d(3, 7, 3), nn.ReLU(), nn.Dropout(0.1))
    after = nn.ReLU(), nn.Dropout(0.1), nn.MaxPool1d(2), nn.Identity()
    model = nn.Sequential(block, *after, nn.Flatten(), nn.Linear(49, 2))
    paths = ["0", "0.0", "0.1", "0.2", "1", "2", "3", "4"]
    check(model, torch.randn(4, 3, 16), dict.fromkeys(paths, (2,)))


def test_three_dimensional_convolutions() -> None:
    model = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU())
    check(model, torch.randn(2, 1, 5, 6, 7), dict.fromkeys("01", (2, 3, 4)))


class VisionTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.drop = nn.Dropout(0.1)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.cls = nn.Parameter(torch.randn(1, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(x), 1, 8), tokens], 1)
        tokens = self.encoder(self.drop(tokens))
        return torch.cat([tokens[:, 0], self.pool(tokens.transpose(1, 2)).flatten(1)], 1)


def test_vision_transformer_with_a_cls_token() -> None:
    tokens = ["drop", "encoder.layers.0", "encoder.layers.1", "encoder.layers.0.dropout"]
    places = {"patches": FIRST, "pool": (2,)} | dict.fromkeys(tokens, (1,))
    check(VisionTransformer(), torch.randn(2, 3, 16, 24), places)


def test_a_pool_behind_tokens_tells_nothing_of_the_block() -> None:
    class Whole(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            tokens: Tensor = self[0](x)
            self[1](tokens.transpose(1, 2))
            return tokens

    model = nn.Sequential(Whole(nn.Linear(5, 6), nn.AdaptiveAvgPool1d(1)))
    check(model, torch.randn(2, 4, 5), {"0": (1,), "0.1": (2,)})


def test_tokens_of_recurrent_networks() -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.LSTM(4, 6, batch_first=True))
    ids = torch.randint(0, 9, (3, 5))
    (found,) = taken(model, "1", ids).values()
    expected = model(ids)[0].detach().double().mean(1)
    assert torch.allclose(found.double(), expected, atol=1e-6)


class Keras(nn.Module):
    """As a layer of Keras, which is no leaf: its parameters are in a module of their own."""

    def __init__(self, data_format: str) -> None:
        super().__init__()
        self.data_format = data_format
        self.torch_params = nn.ParameterDict()

    def forward(self, x: Tensor) -> Tensor:
        return x * 2


@pytest.mark.parametrize(
    ("data_format", "places"), [("channels_last", LAST), ("channels_first", FIRST)]
)
def test_layers_that_tell_their_layout(data_format: str, places: tuple[int, int]) -> None:
    model = nn.Sequential(Keras(data_format), nn.ReLU())
    check(model, torch.randn(2, 5, 6, 7), dict.fromkeys("01", places))


@pytest.mark.parametrize(
    ("shape", "is_last"),
    [
        ((2, 7, 7, 9), True),
        ((2, 9, 7, 7), False),
        ((2, 7, 7, 7), False),
        ((2, 7, 9, 7), False),
        ((2, 5, 6, 7), False),
        ((2, 5, 6), True),
        ((2, 4, 4, 4, 9), False),
    ],
)
def test_sizes_alone(shape: tuple[int, ...], is_last: bool) -> None:
    layout = layouts_of(nn.Sequential(nn.Identity()), ["0"])["0"]
    assert layout.is_channels_last(shape) == is_last


def test_names_that_begin_alike_and_modules_that_are_registered_twice() -> None:
    shared = nn.Conv1d(3, 3, 1)
    children = {"a": nn.Sequential(shared), "ab": nn.Linear(3, 3), "c": nn.Sequential(shared)}
    found = layouts_of(nn.ModuleDict(children), ["a", "ab", "c"])
    answers = [layout.is_channels_last((2, 3, 3)) for layout in found.values()]
    assert answers == [False, True, False]
