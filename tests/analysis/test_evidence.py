"""Tests of `cmp_core.analysis.evidence`: effects, their errors by hand, and what is settled."""

from __future__ import annotations

import math

import attrs
import numpy as np
import pytest

from cmp_core.analysis.evidence import MetricEvidence, Values
from cmp_core.runs.metric_info import Evidence, MetricInfo

RNG = np.random.default_rng(0)
N = 300
VALUES = np.array([[0.5, 0.6, 0.8], [0.52, 0.6, 0.83]])
INFLUENCES = RNG.normal(size=(1, N, 3)) + RNG.normal(size=(2, N, 3))
INFLUENCES -= INFLUENCES.mean(axis=1, keepdims=True)


def item(evidence: Evidence, values: np.ndarray = VALUES) -> MetricEvidence:
    info = MetricInfo("m", "m", question="predictive", evidence=evidence)
    names = tuple(f"layer_{i}" for i in range(values.shape[1]))
    return MetricEvidence(info, "test", N, names, Values(values, INFLUENCES[: len(values)]))


@pytest.mark.parametrize(
    ("evidence", "effect"),
    [
        ("rises", np.mean([0.3, 0.31])),
        ("falls", -np.mean([math.log(0.8 / 0.5), math.log(0.83 / 0.52)])),
        ("similarity", 1 - VALUES.mean()),
    ],
)
def test_the_effect_is_positive_where_it_says_yes(evidence: Evidence, effect: float) -> None:
    assert item(evidence).effect.effect == pytest.approx(effect)


@pytest.mark.parametrize("evidence", ["rises", "falls", "similarity"])
def test_an_error_of_one_seed_is_that_of_the_linearised_effect(evidence: Evidence) -> None:
    """By differences of the effect itself, for a step of each sample."""
    one = item(evidence, VALUES[:1])
    step = 1e-6

    def effect(shift: np.ndarray) -> float:
        return attrs.evolve(one, trained=Values(VALUES[:1] + shift)).effect.effect

    moved = [(effect(step * d) - effect(np.zeros(3))) / step for d in INFLUENCES[0]]
    assert one.effect.error == pytest.approx(np.std(moved, ddof=1) / math.sqrt(N), rel=1e-4)


def test_what_was_learned_is_paired_by_sample() -> None:
    """Of a network that training did not change nothing was learned, and that without an error."""
    same = attrs.evolve(item("rises"), before=Values(VALUES, INFLUENCES))
    assert same.learned is not None
    assert (same.learned.effect, same.learned.error) == (0, 0)
    shift = np.array([[0.1, 0.1, 0.1], [0.1, 0.1, 0.12]])
    other = attrs.evolve(item("rises"), before=Values(VALUES - shift, None))
    assert other.learned is not None
    assert other.learned.effect == pytest.approx(0.01)
    assert other.learned.freedom == 1  # over the two seeds alone


def test_steps_and_places() -> None:
    found = item("rises")
    assert found.between(0, 1).effect == pytest.approx(np.mean([0.1, 0.08]))
    assert found.between(1, 0).effect == -found.between(0, 1).effect
    assert found.at(2).effect == pytest.approx(0.815)
    assert item("similarity").at(2).effect == pytest.approx(1 - 0.815)


@pytest.mark.parametrize(
    ("evidence", "moves", "is_settled"),
    [
        ("rises", [0.05, 0.05, 0.0515], True),  # all fall, and the rise by less than .002
        ("rises", [0.0, 0.0, 0.003], False),
        ("rises", [0.0, 0.5, 0.0], True),  # a layer between, on which the effect does not rest
        ("falls", [0.0, 0.0, 0.0001], True),  # a fifth of −log .95 is .0103, and so is of .815 .008
        ("falls", [0.0, 0.0, 0.0082], True),
        ("falls", [0.0, 0.0, 0.0087], False),
        ("similarity", [0.009, 0.009, 0.0], True),  # a fifth of .05 is .01
        ("similarity", [0.011, 0.0, -0.011], False),
    ],
)
def test_the_effect_is_settled_where_half_of_the_samples_give_it(
    evidence: Evidence, moves: list[float], is_settled: bool
) -> None:
    halves = VALUES - np.array(moves)
    assert attrs.evolve(item(evidence), n_fit=100, halves=halves).is_settled is is_settled


def test_without_the_value_by_half_nothing_is_settled_and_what_is_not_fitted_is() -> None:
    assert not attrs.evolve(item("rises"), n_fit=100).is_settled
    assert item("rises").is_settled
