"""Tests of `cmp_core.report.words`: numbers, effects and answers as people write them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cmp_core.analysis.questions import Answer, MetricEvidence
from cmp_core.report import words
from cmp_core.runs.metric_info import MetricInfo

ACCURACY = MetricInfo("accuracy", "accuracy", "", "fraction", "predictive", "rises")
BITS = MetricInfo("information", "information", "", "bits", "predictive", "rises")
PR = MetricInfo("participation_ratio", "participation_ratio", "", "", "compressing", "falls")
CKA = MetricInfo("linear_cka", "linear_cka", question="different", evidence="similarity")


def item(
    facts: MetricInfo, values: Sequence[Sequence[float]], untrained: Any = None
) -> MetricEvidence:
    rows = np.array(values, dtype=np.float64)
    places = tuple(f"layer_{i}" for i in range(rows.shape[1]))
    before = None if untrained is None else np.array(untrained, dtype=np.float64)
    return MetricEvidence(facts, "val", 100, places, rows, before, None)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 3, "–"),
        (math.nan, 3, "–"),
        (math.inf, 3, "–"),
        (-math.inf, 3, "–"),
        (0.0, 3, "0"),
        (-0.0, 3, "0"),
        (1.0, 3, "1"),
        (0.99951, 3, "1"),
        (-0.12345, 3, "−0.123"),
        (99.4, 2, "99"),
        (99.6, 2, "100"),  # not 1e+02
        (-99.6, 2, "−100"),
        (99.96, 3, "100"),
        (100.4, 3, "100"),
        (123456.7, 2, "123457"),
        (999_999.4, 3, "1e+06"),
        (1e6, 3, "1e+06"),
        (-1.5e-7, 3, "−1.5e−07"),
        (1.7e308, 3, "1.7e+308"),
        (5e-324, 3, "4.94e−324"),
    ],
)
def test_numbers_in_words(value: float | None, digits: int, text: str) -> None:
    assert words.number(value, digits) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "< .001"),
        (5e-324, "< .001"),
        (0.00099, "< .001"),
        (0.001, ".001"),
        (0.05, ".050"),
        (0.9994, ".999"),
        (0.9996, "1"),
        (1.0, "1"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_p_values_in_words(p: float, text: str) -> None:
    assert words.p_value(p) == text


@pytest.mark.parametrize(
    ("facts", "value", "text"),
    [
        (ACCURACY, 0.0123, "+1.2 points"),
        (ACCURACY, -0.0123, "−1.2 points"),
        (ACCURACY, 0.0, "+0.0 points"),
        (ACCURACY, -0.0001, "+0.0 points"),
        (ACCURACY, math.nan, "–"),
        (ACCURACY, math.inf, "–"),
        (ACCURACY, 1e300, f"+{1e302:.1f} points"),
        (BITS, 1.25, "+1.2 bits"),
        (BITS, -1e-9, "−1e−09 bits"),
        (PR, math.log(2), "−50 %"),
        (PR, -math.log(2), "+100 %"),
        (PR, -math.log(1.996), "+100 %"),  # not 1e+02
        (PR, 0.0, "+0 %"),
        (PR, 1e4, "−100 %"),
        (PR, -1e4, f"+{100 * math.exp(700):.2g} %"),  # no overflow
        (PR, -math.inf, "–"),
        (CKA, 0.051, "+0.051"),
        (CKA, -0.2, "−0.2"),
        (CKA, math.nan, "–"),
    ],
)
def test_effects_in_words(facts: MetricInfo, value: float, text: str) -> None:
    assert words.effect(item(facts, [[1, 1]]), value) == text


def test_intervals_in_words() -> None:
    one = item(ACCURACY, [[0.5, 0.6]])
    tied = item(ACCURACY, [[0.5, 0.6], [0.5, 0.6]])
    assert [words.interval(one), words.interval(tied)] == ["–", "–"]
    low, high = words.interval(item(PR, [[4, 2], [4, 1.9], [4, 2.1]])).split(" to ")
    assert float(low[1:-2]) > float(high[1:-2])  # −57 % to −43 %
    assert low.startswith("−")
    far = words.interval(item(PR, [[1e-300, 1e300], [1, 1]]))
    assert far == f"−100 % to +{100 * math.exp(700):.2g} %"


def test_the_untrained_network_in_words() -> None:
    trained = [[0.5, 0.7], [0.5, 0.8]]
    assert words.untrained(item(ACCURACY, trained)) == "–"
    assert words.untrained(item(ACCURACY, trained, [[0.1, 0.1], [0.1, 0.12]])) == "+1.0 points"
    assert words.untrained(item(CKA, trained, [[0.9, 0.8], [1, 1]])) == "0.075"


def test_evidence_in_words() -> None:
    assert words.finding(item(PR, [[4, 2]])) == "participation_ratio −50 %"
    assert words.finding(item(CKA, [[0.9, 0.8]])) == "linear_cka differs by 0.15"
    assert words.finding(item(CKA, [[0.9, 0.8]], [[1, 1]])) == (
        "linear_cka differs by 0.15 (untrained 0)"
    )


def test_an_answer_in_words() -> None:
    seen = item(PR, [[4, 2]]), item(BITS, [[0, 1]])
    assert words.sentence(Answer("compressing", "yes", 1, seen)) == (
        "participation_ratio −50 %, information +1 bits"
    )
    silent = Answer("compressing", "inconclusive", 1, notes=("one thing", "another"))
    assert words.sentence(silent) == "another"
