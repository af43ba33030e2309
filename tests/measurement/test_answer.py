"""Tests of `cmp_core.measurement.answer`: real numbers under plain names, and not too many."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from cmp_core.measurement.answer import by_name, check_state, of_samples, on_device


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (Fraction(1, 4), 0.25),
        (True, 1.0),
        (np.longdouble(0.25), 0.25),
        (torch.tensor(0.25, requires_grad=True), 0.25),
        (torch.nn.Parameter(torch.tensor(0.25)), 0.25),
        (torch.tensor(3, dtype=torch.int8), 3.0),
    ],
)
def test_a_real_number_of_any_kind_is_taken(value: Any, number: float) -> None:
    taken = on_device(value)
    assert type(taken) is torch.Tensor
    assert not taken.requires_grad
    assert taken.item() == number


@pytest.mark.parametrize(
    "value",
    [
        1j,
        "1",
        None,
        10**400,
        [1.0],
        torch.ones(2, 2),
        torch.ones((), dtype=torch.complex64),
        torch.ones((), device="meta"),
        torch.ones(3).to_sparse(),
        torch.ones(10_001),
    ],
)
def test_what_cannot_be_brought_to_the_host_as_numbers_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        on_device(value)


def test_one_number_per_sample_is_taken() -> None:
    values = torch.ones(3, dtype=torch.int64, requires_grad=False)
    assert of_samples(values, 3).tolist() == [1.0, 1.0, 1.0]
    for wrong in (1.0, torch.ones(2), torch.ones(3, device="meta"), torch.ones(3).to_sparse()):
        with pytest.raises(ValueError, match=r"expected one real number per sample, shape \(3,\)"):
            of_samples(wrong, 3)


def test_an_answer_has_names_or_is_the_headline() -> None:
    assert by_name(1.0) == {"": 1.0}
    assert by_name({"": 1.0, "top 5": 2.0}) == {"": 1.0, "top 5": 2.0}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({}, "empty mapping"),
        (dict.fromkeys(map(str, range(1001)), 1.0), "at most 1,000 sub-values"),
        ({"x" * 101: 1.0}, "a text of 1 to 100 characters"),
        ({"a/b": 1.0}, "without slashes"),
        ({"a\x1b": 1.0}, "without slashes and control characters"),
        ({1: 1.0}, "got int 1"),
    ],
)
def test_names_are_few_and_plain(value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        by_name(value)
    assert len(str(caught.value)) < 300


def test_a_state_is_what_a_checkpoint_can_hold() -> None:
    check_state({"a": [1, 2.0, "x", None, True, (torch.ones(1),)], "b": {"c": b""}})
    for wrong in (object(), np.ones(1), np.float64(1), {1, 2}, {"a": [object()]}):
        with pytest.raises(TypeError, match="state_dict: expected numbers, texts, tensors"):
            check_state(wrong)
