"""Tests of `cmp_core.measurement.tensor_sum`: a monoid of tensors."""

from __future__ import annotations

import pytest
import torch

from cmp_core import TensorSum, UndefinedError


def summed(*numbers: float) -> TensorSum:
    state = TensorSum()
    for number in numbers:
        state.add(torch.tensor([number, 1.0]))
    return state


def test_chunks_and_shards_add_up_and_neither_side_changes() -> None:
    a, b = summed(1, 2), summed(4)
    assert a.merge(b).total.tolist() == [7, 3]
    assert TensorSum().merge(a).total.tolist() == a.merge(TensorSum()).total.tolist() == [3, 2]
    assert (a.total.tolist(), b.total.tolist()) == ([3, 2], [4, 1])
    merged = a.merge(b)
    merged.add(torch.ones(2))
    assert a.total.tolist() == [3, 2]


def test_an_empty_sum_is_undefined_and_a_stored_one_comes_back() -> None:
    with pytest.raises(UndefinedError, match="there are no samples"):
        _ = TensorSum().total
    restored = TensorSum()
    restored.load_state_dict(summed(5).state_dict())
    assert restored.total.tolist() == [5, 1]
