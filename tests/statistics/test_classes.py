"""Tests of `cmp_core.statistics.classes`: which classes there are, and how frequent each is."""

from __future__ import annotations

import pytest
import torch

from cmp_core.statistics.classes import Classes

LABELS = torch.tensor([0, 2, 2, 5, 5, 5])


def test_few_classes_keep_their_numbers() -> None:
    classes = Classes(6, LABELS)
    assert classes.width == 6
    assert classes.columns(LABELS).equal(LABELS)
    assert classes.one_hot(LABELS).argmax(dim=1).equal(LABELS)
    assert classes.is_present.tolist() == [True, False, True, False, False, True]


def test_of_more_classes_than_samples_those_count_that_any_sample_has() -> None:
    """On either side: a class of the scored samples may be none of the fitting ones."""
    scored = torch.tensor([2**40, 5])
    classes = Classes(2**62, LABELS, scored)
    assert classes.width == 4
    assert classes.columns(LABELS).tolist() == [0, 1, 1, 2, 2, 2]
    assert classes.columns(scored).tolist() == [3, 2]
    assert classes.is_present.all()


def test_the_prior_makes_no_class_impossible_that_is_there_and_gives_none_to_others() -> None:
    classes = Classes(6, LABELS, torch.tensor([1]))
    prior = classes.prior(torch.tensor([[1.0, 0, 2, 0, 0, 3]]))
    assert prior[0].tolist() == pytest.approx([0.2, 0.1, 0.3, 0, 0, 0.4])
