"""Tests of `cmp_core.statistics.folds`: which fold a sample is in."""

from __future__ import annotations

import torch

from cmp_core.statistics.folds import Folds
from tests.oracles import metrics as oracles


def test_a_sample_is_in_its_fold_wherever_it_stands() -> None:
    whole = Folds(torch.arange(12) * 7, torch.tensor([0, 2, 2, 0, 5, 5, 5, 2, 0, 0, 2, 5]))
    where = torch.tensor([11, 3, 0])
    assert whole.of(whole.sample_ids[where]).equal(whole.of(whole.sample_ids)[where])
    assert whole.places(whole.sample_ids[where]).equal(where)


def test_folds_are_those_of_the_twin() -> None:
    ids = torch.arange(40)
    labels = ids % 3
    found = Folds(ids, labels).of(ids)
    assert found.tolist() == oracles.folds(40, labels.numpy()).tolist()
