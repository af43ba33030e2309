"""Tests of the block that the built-in models are made of."""

from __future__ import annotations

import pytest
import torch

from cmp_core.config.schema import Config
from cmp_core.models._block import normalise
from cmp_core.models.greedy import make_greedy
from tests.batches import batch


@pytest.mark.parametrize("kind", ["none", "l1", "l2", "rms"])
def test_input_norm_makes_layers_blind_to_scale(kind: str) -> None:
    model = make_greedy(Config(N=8, layers=2, input_norm=kind), 10, 4).double()
    inputs, _ = batch()
    once, twice = model(inputs)[-1].activations, model(2 * inputs)[-1].activations
    assert torch.allclose(once, twice) is (kind != "none")


def test_residual_adds_the_input_where_widths_agree() -> None:
    plain = make_greedy(Config(N=8, layers=2), 10, 4).double()
    residual = make_greedy(Config(N=8, layers=2, residual=True), 10, 4).double()
    residual.load_state_dict(plain.state_dict())
    inputs, _ = batch()
    (first, second), (first_r, second_r) = plain(inputs), residual(inputs)
    assert first.activations.equal(first_r.activations)
    torch.testing.assert_close(second_r.activations, second.activations + first.activations)


@pytest.mark.parametrize(
    ("kind", "length"), [("none", 1), ("l1", 7), ("l2", 5), ("rms", 12.5**0.5)]
)
def test_rows_are_divided_by_their_length(kind: str, length: float) -> None:
    rows = torch.tensor([[3.0, -4.0], [0.0, 0.0]])
    torch.testing.assert_close(normalise(rows, kind), rows / length)
