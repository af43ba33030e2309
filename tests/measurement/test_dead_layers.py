"""The reason of a value that is missing: that the layer is dead, or what the metric says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cmp_core import metric
from cmp_core.events.rows import Row
from cmp_core.plugins.registry import definition_of
from cmp_core.testing import example_event, measure_batch, measure_split
from cmp_core.testing.events import change_first

DEAD = "layer_0 is dead: all its activations are 0"


@metric("ratio", undefined="the mean is 0")
def ratio(view: Any) -> Any:
    """The mean square over the squared mean."""
    return view.activations.square().mean() / view.activations.mean() ** 2


@metric("ratios", scope="pair", undefined="a mean is 0")
def ratios(first: Any, second: Any) -> Any:
    """The ratio of two means."""
    return 0 * first.activations.mean() / (first.activations.mean() * second.activations.mean())


def balanced(x: torch.Tensor) -> torch.Tensor:
    """Zeros but for the last two samples, small ones whose mean is 0."""
    last = torch.tensor([[2.0**-10], [-(2.0**-10)]], dtype=x.dtype)
    return torch.cat([torch.zeros_like(x[2:]), last.expand(2, x.shape[1])])


def reasons(rows: list[Row]) -> dict[tuple[str, str | None], str | None]:
    return {(row.layer, row.other): row.reason for row in rows if row.layer != "input"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [(torch.zeros_like, DEAD), (balanced, "the mean is 0"), (torch.ones_like, None)],
)
def test_only_a_layer_of_zeros_is_dead(
    change: Callable[..., torch.Tensor], reason: str | None
) -> None:
    event = change_first(example_event(part="chunk"), change)
    of_ratio = definition_of(ratio, "metric")()
    for rows in (
        measure_batch(of_ratio, event),
        *(measure_split(of_ratio, event, n) for n in (7, 50)),
    ):
        assert reasons(rows) == {("layer_0", None): reason, ("layer_1", None): None}


@pytest.mark.parametrize("way", [measure_split, measure_batch])
def test_a_dead_neighbour_is_the_one_that_is_named(way: Callable[..., list[Row]]) -> None:
    event = change_first(example_event(widths=(6, 5, 4), part="chunk"), torch.zeros_like)
    rows = [row for row in way(definition_of(ratios, "metric")(), event) if not row.pair]
    found = reasons(rows)
    assert found["layer_1", "layer_0"] == DEAD
    assert found["layer_2", "layer_1"] is None


def test_a_value_of_a_dead_layer_stays() -> None:
    @metric("largest")
    def largest(view: Any) -> Any:
        """The largest activation."""
        return view.activations.max()

    event = change_first(example_event(part="chunk"), torch.zeros_like)
    rows = measure_split(definition_of(largest, "metric")(), event)
    assert [(row.value, row.reason) for row in rows if row.layer == "layer_0"] == [(0.0, None)]
