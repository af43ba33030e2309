"""Tests of `cmp_core.observation.reduction` against loops over samples and positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cmp_core.errors import UsageError
from cmp_core.observation.layout import Layout
from cmp_core.observation.reduction import check_reduction, reduced

MAPS = torch.arange(2 * 3 * 2 * 4, dtype=torch.float32).reshape(2, 3, 2, 4).sin()
TOKENS = torch.arange(2 * 5 * 3, dtype=torch.float32).reshape(2, 5, 3).cos()
MASK = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("mean", lambda x: [m.mean() for m in x]),
        ("max", lambda x: [m.max() for m in x]),
        ("cls", lambda x: [m[0, 0] for m in x]),
        ("last", lambda x: [m[-1, -1] for m in x]),
        (5, lambda x: [m[1, 1] for m in x]),
        (-2, lambda x: [m[1, 2] for m in x]),
    ],
)
def test_feature_maps(how: Any, expected: Any) -> None:
    found = reduced(MAPS, how).values
    assert found.shape == (2, 3)
    for row, sample in zip(found, MAPS.numpy(), strict=True):
        assert row.numpy() == pytest.approx(np.array(expected(sample)))
    last = reduced(MAPS.contiguous(memory_format=torch.channels_last), how).values
    assert torch.equal(last, found) or torch.allclose(last, found)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("mean", lambda x: x.mean(0)),
        ("max", lambda x: x.max(0).values),
        ("cls", lambda x: x[0]),
        ("last", lambda x: x[-1]),
        (1, lambda x: x[1]),
        (-3, lambda x: x[-3]),
    ],
)
@pytest.mark.parametrize("mask", [None, MASK])
def test_tokens_without_their_padding(how: Any, expected: Any, mask: Tensor | None) -> None:
    found = reduced(TOKENS, how, mask).values
    for i, row in enumerate(found):
        own = TOKENS[i] if mask is None else TOKENS[i][mask[i] == 1]
        assert torch.allclose(row, expected(own))


def test_positions_as_samples() -> None:
    found = reduced(TOKENS, "samples", MASK)
    assert found.samples is not None
    assert found.positions is not None
    assert found.samples.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert found.positions.tolist() == [0, 1, 2, 1, 2, 3, 4]
    for row, i, j in zip(found.values, found.samples, found.positions, strict=True):
        assert torch.equal(row, TOKENS[i, j])
    assert reduced(MAPS, "samples").values.shape == (16, 3)
    assert torch.equal(reduced(MAPS, "samples").values[5], MAPS[0, :, 1, 1])


def test_flat_outputs_and_functions() -> None:
    assert torch.equal(reduced(MAPS, "flatten").values, MAPS.flatten(1))
    assert torch.equal(reduced(TOKENS[:, 0], "max").values, TOKENS[:, 0])
    assert torch.equal(reduced(TOKENS, lambda x: x.sum(2)).values, TOKENS.sum(2))


def test_convolutions_over_a_sequence_have_their_channels_first() -> None:
    first = Layout({3: ((False, None),)})
    assert torch.allclose(reduced(TOKENS, "mean", layout=first).values, TOKENS.mean(2))
    mask = torch.tensor([[1, 0, 1], [1, 1, 1]])
    found = reduced(TOKENS, "mean", mask, first).values
    assert torch.allclose(found[0], TOKENS[0][:, [0, 2]].mean(1))


@pytest.mark.parametrize("how", ["mean", "max", "last", "samples", 0])
def test_masks_of_other_positions_are_refused(how: Any) -> None:
    with pytest.raises(UsageError, match=r"mask: .* 5 positions of 2 samples, .* \(2, 4\), not"):
        reduced(TOKENS, how, MASK[:, :4])
    with pytest.raises(UsageError, match=r"3 positions .* x\.mean\(2\)"):
        reduced(TOKENS, how, MASK, Layout({3: ((False, None),)}))


def test_masks_of_other_positions_do_not_matter_where_none_is_used() -> None:
    wrong = MASK[:, :4]
    assert torch.equal(reduced(TOKENS, "cls", wrong).values, TOKENS[:, 0])
    assert torch.equal(reduced(TOKENS, "flatten", wrong).values, TOKENS.flatten(1))
    assert torch.equal(reduced(TOKENS[:, 0], "mean", wrong).values, TOKENS[:, 0])
    assert torch.allclose(reduced(MAPS, "mean", wrong).values, MAPS.mean((2, 3)))


@pytest.mark.parametrize("how", ["mean", "max", "cls", "last", 5, "samples"])
def test_maps_with_channels_last_have_the_values_of_maps_with_channels_first(how: Any) -> None:
    last = reduced(MAPS.movedim(1, 3), how, layout=Layout({4: ((True, None),)})).values
    assert torch.allclose(last, reduced(MAPS, how).values)


@pytest.mark.parametrize("how", ["mean", "flatten", "cls", lambda x: x.flatten(1)])
@pytest.mark.parametrize("output", [MAPS, TOKENS, TOKENS[:, 0]])
def test_a_later_change_in_place_does_not_reach_the_values(how: Any, output: Tensor) -> None:
    own = output.clone()
    values = reduced(own, how).values
    before = values.clone()
    own.fill_(7)
    assert torch.equal(values, before)
    assert not values.requires_grad


def test_half_precision_is_averaged_in_float32() -> None:
    many = torch.ones(1, 4096, 1, dtype=torch.bfloat16)
    many[0, ::2] = 1.0078125  # the next number: sums in bfloat16 would not see it
    assert reduced(many, "mean").values.item() == pytest.approx(1.00390625)


@pytest.mark.parametrize(
    ("output", "how", "message"),
    [
        (torch.ones(3), "mean", r"expected an output \(n, …\) with units, got shape \(3,\)"),
        (torch.tensor(1.0), "mean", r"got shape \(\)"),
        (torch.ones(3, 2), "samples", "there are no positions"),
        (TOKENS, 5, "no position 5, the output has 5"),
        (TOKENS, lambda x: x, r"return \(n, N\) = \(2, N\), got \(2, 5, 3\)"),
        (TOKENS, lambda x: 1, "got int"),
    ],
)
def test_what_cannot_be_reduced_is_told(output: Tensor, how: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        reduced(output, how)


def test_masks_that_leave_too_little_are_told() -> None:
    with pytest.raises(UsageError, match="no token that is no padding"):
        reduced(TOKENS, "mean", torch.tensor([[0] * 5, [1] * 5]))
    with pytest.raises(UsageError, match="a sample has no position 3"):
        reduced(TOKENS, 3, MASK)


@pytest.mark.parametrize("wrong", ["median", None, True, 1.5])
def test_unknown_reductions_are_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="expected one of mean, max"):
        check_reduction(wrong)
