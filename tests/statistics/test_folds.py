"""Tests of `cmp_core.statistics.folds`: which fold a sample is in, and what classes others have."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cmp_core.errors import UndefinedError
from cmp_core.statistics.folds import Folds
from tests.oracles import metrics as oracles

LABELS = torch.tensor([0, 2, 2, 0, 5, 5, 5, 2, 0, 0, 2, 5])


def folds(num_classes: int = 6) -> Folds:
    return Folds(torch.arange(12) * 7, LABELS, num_classes)


def test_a_sample_is_in_its_fold_wherever_it_stands() -> None:
    where = torch.tensor([11, 3, 0])
    whole = folds()
    assert whole.of(whole.sample_ids[where]).equal(whole.of(whole.sample_ids)[where])
    assert whole.places(whole.sample_ids[where]).equal(where)


def test_the_prior_is_that_of_the_other_folds_over_the_classes_that_there_are() -> None:
    fold = folds().of(folds().sample_ids).numpy()
    prior = folds().prior
    for f in range(5):
        others = LABELS.numpy()[fold != f]
        counts = np.array([(others == c).sum() + 1 for c in (0, 2, 5)])
        assert prior[f, [0, 2, 5]].numpy() == pytest.approx(counts / counts.sum(), rel=1e-12)
        assert prior[f, [1, 3, 4]].eq(0).all()


def test_samples_of_one_class_have_no_classes_to_tell() -> None:
    one = Folds(torch.arange(9), torch.full((9,), 2), 4)
    assert not one.has_classes
    assert folds().has_classes
    with pytest.raises(UndefinedError, match="there are no labels"):
        _ = Folds(torch.arange(9), None, 0).prior


def test_folds_are_those_of_the_twin() -> None:
    ids = torch.arange(40)
    labels = ids % 3
    found = Folds(ids, labels, 3).of(ids)
    assert found.tolist() == oracles.folds(40, labels.numpy()).tolist()
