"""Tests of `cmp_core.statistics.guards`: tensors that are not to be written to."""

from __future__ import annotations

import pytest
import torch

from cmp_core.statistics.guards import Guards


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex128],
)
def test_a_write_through_data_is_found_by_values_alone(dtype: torch.dtype) -> None:
    guards, tensor = Guards(), torch.zeros(3, dtype=dtype)
    guards.add("before", tensor)
    guards.keep_copies()
    later = torch.zeros(2, dtype=dtype)
    guards.add("later", later)
    assert guards.modified() is None
    later.data.fill_(1)
    assert guards.modified() == "later"
    tensor.fill_(1)
    assert guards.modified() == "before"
