"""Tests of `cmp_core.testing.metric_checks`: each check fails for a metric made to break it."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from cmp_core import UndefinedError, metric
from cmp_core.testing import check_metric, metric_checks


def failed(declared: Any) -> set[str]:
    """The names of the checks that fail."""
    names = set()
    for check in metric_checks(declared):
        try:
            check()
        except AssertionError:
            names.add(check.name)
    return names


def declare(function: Any, summary: str = "It.", **traits: Any) -> Any:
    function.__doc__ = summary
    return metric("mine", **traits)(function)


def never(view: Any) -> Any:
    raise UndefinedError("never")


def writes(view: Any) -> Any:
    return view.activations.mul_(2).sum()


def draws(view: Any) -> Any:
    random.random()
    return view.activations.mean()


def first_sample(view: Any) -> Any:
    return view.activations[0].sum()


def raises_on_few(view: Any) -> Any:
    return view.activations.sort(dim=0).values[2].mean()


def mixes(first: Any, second: Any) -> Any:
    return first.activations.mean() - second.activations.mean()


def raw_moment(view: Any) -> Any:
    """E[x²] - E[x]² in float32 loses the variance beside an offset."""
    x = view.activations
    return (x.square().mean(0) - x.mean(0).square()).mean()


def self_terms(view: Any) -> Any:
    """The square of one large sample, taken away again, takes those of the others with it."""
    gram = view.activations @ view.activations.T
    return gram.square().sum() - gram.diagonal().square().sum()


def over_all_classes(view: Any) -> Any:
    counts = torch.bincount(view.labels, minlength=view.num_classes) + 1.0
    return (counts / counts.sum()).square().sum()


@pytest.mark.parametrize(
    ("function", "traits", "name"),
    [
        (raw_moment, {}, "reads float32 as float64: an offset of a thousand"),
        (self_terms, {}, "reads float32 as float64: one sample a thousand times as large"),
        (raw_moment, {"invariances": {"scale"}}, "is invariant: scale"),
        (over_all_classes, {"needs": ("labels",)}, "is the same with classes that no sample has"),
        (first_sample, {"summary": ""}, "says in its docstring what it is"),
        (never, {}, "reads a split in chunks of 1 as at once"),
        (first_sample, {}, "is invariant: permute_samples"),
        (first_sample, {"bounds": (0, 0.1)}, "keeps to its bounds"),
        (first_sample, {"invariances": {"scale"}}, "is invariant: scale"),
        (first_sample, {"invariances": {"orthogonal"}}, "is invariant: orthogonal"),
        (writes, {}, "changes no input"),
        (draws, {}, "draws no random number"),
        (raises_on_few, {}, "meets 2 samples with a value or a reason"),
        (mixes, {"scope": "pair", "invariances": {"symmetric"}}, "is symmetric"),
    ],
)
def test_a_broken_promise_fails_its_check(function: Any, traits: Any, name: str) -> None:
    assert name in failed(declare(function, **traits))


def test_a_sound_metric_passes_and_its_checks_are_counted() -> None:
    squares = declare(lambda view: view.activations.square().mean(1), split="mean")
    assert check_metric(squares) == len(metric_checks(squares)) > 20


def test_a_failure_lists_all_that_does_not_hold() -> None:
    with pytest.raises(AssertionError) as told:
        check_metric(declare(first_sample, summary="", bounds=(0, 0.1)))
    message = str(told.value)
    assert message.startswith("mine: ")
    assert "- says in its docstring what it is: there is no docstring" in message
    assert "- keeps to its bounds: " in message
    assert "is outside of [0, 0.1]" in message
