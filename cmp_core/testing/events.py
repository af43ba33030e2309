"""Activations to measure: random ones, and such as go wrong in practice."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import torch
from torch import Tensor

from cmp_core.events.activations import LayerActivations, Part
from cmp_core.events.rows import INPUT
from cmp_core.layers.layer import Layer


def example_event(
    n: int = 50,
    widths: tuple[int, ...] = (6, 5),
    classes: int = 3,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    part: Part = "batch",
) -> LayerActivations:
    """Return random ReLU activations of n samples, with anchors and scores at every layer.

    Each layer is a random function of the one before. A chunk has the input as reference too.
    """
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    inputs = normal(n, 4)
    layers: list[Layer] = []
    for depth, width in enumerate(widths):
        below = layers[-1].activations if layers else inputs
        layers.append(
            Layer(
                name=f"layer_{depth}",
                depth=depth,
                module=f"layers.{depth}",
                activations=(below @ normal(below.shape[1], width) + normal(n, width)).relu(),
                scores=3 * normal(n, classes),
                anchors=normal(classes, width),
                anchor_kind="orthonormal",
            )
        )
    event = LayerActivations(
        source="live",
        phase="val",
        part=part,
        epoch=1,
        step=1,
        layers=tuple(layers),
        sample_ids=torch.arange(n),
        labels=torch.randint(0, classes, (n,), generator=g),
        inputs=inputs,
        num_classes=classes,
        reference=Layer(INPUT, -1, INPUT, inputs) if part != "batch" else None,
    )
    return event.map_tensors(lambda x: x.to(dtype) if x.is_floating_point() else x)


def select(event: LayerActivations, where: Tensor, pass_index: int = 1) -> LayerActivations:
    """Return some samples of an event, by position, as a chunk."""
    return attrs.evolve(event.select(where, "chunk"), pass_index=pass_index)


def damaged_event(damage: str) -> LayerActivations:
    """Return an `example_event` with a damage, one of `DAMAGES`."""
    return DAMAGES[damage]()


def change_first(event: LayerActivations, change: Callable[[Tensor], Tensor]) -> LayerActivations:
    """Return the event with the first layer's activations changed."""
    first, *others = event.layers
    first = attrs.evolve(first, activations=change(first.activations))
    return attrs.evolve(event, layers=(first, *others))


def _constant_units(activations: Tensor) -> Tensor:
    return torch.cat([torch.full_like(activations[:, :3], 0.1), activations[:, 3:]], dim=1)


def _one_class(event: LayerActivations) -> LayerActivations:
    return attrs.evolve(event, labels=torch.zeros_like(event.sample_ids))


def _bare(event: LayerActivations) -> LayerActivations:
    layers = tuple(attrs.evolve(x, scores=None, anchors=None) for x in event.layers)
    return attrs.evolve(event, layers=layers, inputs=None, labels=None)


DAMAGES: Mapping[str, Callable[[], LayerActivations]] = {
    "a dead layer": lambda: change_first(example_event(part="chunk"), torch.zeros_like),
    "a constant layer": lambda: change_first(example_event(part="chunk"), lambda x: 0 * x + 0.1),
    "constant units": lambda: change_first(example_event(part="chunk"), _constant_units),
    "one class": lambda: _one_class(example_event(part="chunk")),
    "no labels": lambda: attrs.evolve(example_event(part="chunk"), labels=None),
    "more classes than units": lambda: example_event(widths=(3, 2), classes=9, part="chunk"),
    "fewer samples than units": lambda: example_event(n=12, widths=(40, 30), part="chunk"),
    "3 samples": lambda: example_event(n=3, part="chunk"),
    "2 samples": lambda: example_event(n=2, part="chunk"),
    "1 sample": lambda: example_event(n=1, part="chunk"),
    "no samples": lambda: example_event(n=0, part="chunk"),
    "bare layers": lambda: _bare(example_event(part="chunk")),
}
"""What a metric must meet with a value or a reason: what it is, and how it is made."""
