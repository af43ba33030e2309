"""Tests of `cmp_core.statistics.cache`: what is computed once."""

from __future__ import annotations

import torch
from torch import Tensor

from cmp_core.statistics.cache import StatisticsCache, cached


class Squares(StatisticsCache):
    """Counts how often it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[float, bool]] = []

    @cached
    def of(self, number: float, negative: bool = False) -> Tensor:
        """Return the square of a number."""
        self.calls.append((number, negative))
        return torch.tensor(-number * number if negative else number * number)


def test_a_statistic_is_computed_once_for_each_set_of_arguments_and_guarded() -> None:
    squares = Squares()
    assert [float(squares.of(3)), float(squares.of(3)), float(squares.of(3, negative=True))] == [
        9,
        9,
        -9,
    ]
    assert squares.calls == [(3, False), (3, True)]
    assert [guard.what for guard in squares.guards.guarded] == ["statistics.of"] * 2
    assert squares.of(3) is squares.guards.guarded[0].tensor
