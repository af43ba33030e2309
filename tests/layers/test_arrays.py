"""Tests of `cmp_core.layers.arrays`: what the plain functions of the metrics take and return."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cmp_core.errors import UndefinedError
from cmp_core.layers.arrays import as_tensor, average, of_class, wide


def test_an_array_is_taken_without_a_copy_unless_it_is_read_only() -> None:
    array = np.ones((3, 2))
    tensor = as_tensor(array)
    array[0, 0] = 5
    assert tensor[0, 0] == 5
    array.flags.writeable = False
    assert as_tensor(array).equal(tensor)  # without the warning that torch has for it


def test_a_graph_is_left_behind() -> None:
    assert not as_tensor(torch.ones(2, requires_grad=True) * 2).requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_numbers_are_widened_and_others_are_kept(dtype: torch.dtype) -> None:
    assert as_tensor(torch.ones(2, dtype=dtype)).dtype == torch.float32
    assert wide(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
    assert as_tensor(np.arange(3)).dtype == torch.float64


def test_each_sample_has_the_value_of_its_own_class_in_every_layer() -> None:
    values = torch.arange(12.0).reshape(2, 2, 3)
    assert of_class(values, torch.tensor([2, 0])).tolist() == [[2, 3], [8, 9]]


def test_samples_without_a_value_do_not_count() -> None:
    nan = float("nan")
    assert average(torch.tensor([nan, 1.0, 2.0])) == 1.5
    for empty in ([nan, nan], []):
        with pytest.raises(UndefinedError, match="no sample has a value"):
            average(torch.tensor(empty))
