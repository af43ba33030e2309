"""Tests of `cmp_core.analysis.words`: numbers, effects and answers as people write them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, strategies as st

from cmp_core.analysis import words
from cmp_core.analysis.comparison import Difference
from cmp_core.analysis.crossed import Estimate
from cmp_core.analysis.evidence import MetricEvidence, Values
from cmp_core.analysis.questions import Answer, Finding
from cmp_core.runs.metric_info import MetricInfo

ACCURACY = MetricInfo("accuracy", "accuracy", "", "fraction", "predictive", "rises")
BITS = MetricInfo("information", "information", "", "bits", "predictive", "rises")
PR = MetricInfo("participation_ratio", "participation_ratio", "", "", "compressing", "falls")
CKA = MetricInfo(
    "linear_cka", "linear_cka", question="different", evidence="similarity", neighbour="next"
)


def item(
    facts: MetricInfo, values: Sequence[Sequence[float]], untrained: Any = None
) -> MetricEvidence:
    rows = np.array(values, dtype=np.float64)
    places = tuple(f"layer_{i}" for i in range(rows.shape[1]))
    before = None if untrained is None else Values(np.array(untrained, dtype=np.float64))
    beside = {name: f"layer_{i + 1}" for i, name in enumerate(places)}
    return MetricEvidence(facts, "val", 100, places, Values(rows), before, beside=beside)


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
    assert words.effect(item(facts, [[1, 1]]), Estimate(value)) == text


def test_intervals_in_words() -> None:
    one = item(ACCURACY, [[0.5, 0.6]])
    assert words.interval(one, one.effect) == "–"
    assert words.interval(one, None) == "–"
    several = item(ACCURACY, [[0.5, 0.6], [0.5, 0.61], [0.5, 0.62]])
    reach = 100 * 4.302653 * 0.01 / math.sqrt(3)
    assert (
        words.interval(several, several.effect) == f"+{11 - reach:.1f} to +{11 + reach:.1f} points"
    )
    falls = item(PR, [[4, 2], [4, 1.9], [4, 2.1]])
    low, high = words.interval(falls, falls.effect).removesuffix(" %").split(" to ")
    assert low.startswith("−")
    assert float(low[1:]) > float(high[1:])  # −57 to −43 %
    far = item(PR, [[1e-300, 1e300], [1, 1]])
    assert words.interval(far, far.effect) == f"−100 to +{100 * math.exp(700):.2g} %"


def with_samples(facts: MetricInfo, values: Sequence[Sequence[float]], error: float) -> Any:
    """Evidence whose values have an error each, and none of them with another."""
    rows = np.array(values, dtype=np.float64)
    influences = np.random.default_rng(0).normal(size=(1, 4000, rows.shape[1]))
    influences -= influences.mean(axis=1, keepdims=True)
    influences *= error * math.sqrt(4000) / influences.std(axis=1, ddof=1, keepdims=True)
    trained = Values(rows, np.repeat(influences, len(rows), axis=0))
    return attrs.evolve(item(facts, values), trained=trained)


def test_one_seed_has_an_interval_in_words() -> None:
    found = with_samples(ACCURACY, [[0.5, 0.6]], 0.01)
    assert words.estimated(found, found.effect) == "+10.0 (+7.2 to +12.8) points"  # 1.96 · .01 · √2
    found = with_samples(PR, [[4, 2]], 0.02)
    assert words.estimated(found, found.effect).startswith("−50.0 (−5")
    assert words.estimated(found, found.effect).endswith(" %")


def test_findings_in_words() -> None:
    assert words.finding(Finding(item(PR, [[4, 2]]))) == "participation_ratio −50 %"
    before = Finding(item(ACCURACY, [[0.5, 0.7]], [[0.1, 0.1]]))
    assert words.finding(before) == "accuracy +20.0 points, learned +20.0 points"
    cka = Finding(item(CKA, [[0.9, 0.8]], [[1, 1]]))
    assert words.finding(cka) == "linear_cka: 0–1 +0.1, 1–2 +0.2, mean learned +0.15"
    flat = [[0.5, 0.9, 0.9 + x] for x in (0.0, 0.001, 0.002)]
    assert words.finding(Finding(item(ACCURACY, flat))) == (
        "accuracy yes: +40.10 (+39.85 to +40.35) points; nothing is gained after layer_1"
    )
    several = Finding(item(CKA, [[0.3], [0.31], [0.29]]))
    assert words.finding(several) == "linear_cka yes: 0–1 yes +0.700 (+0.675 to +0.725)"


def test_what_is_not_decided_stands_beside_what_is() -> None:
    """The last layer is below the first in all seeds, and the one between as often above it."""
    values = [[0.5, 0.5 + x, 0.3 + x / 100] for x in (-0.1, 0.0, 0.1)]
    found = words.finding(Finding(item(ACCURACY, values)))
    told, _, rest = found.partition("; ")
    assert told == "accuracy inconclusive: −20.00 (−20.25 to −19.75) points"
    assert rest == "layer_1 above layer_0 is not decided: +0 (−25 to +25) points"
    wide = words.finding(Finding(item(PR, [[4, 4], [4, 2], [4, 7]])))
    assert "not decided" not in wide  # the effect itself is not


@given(
    st.sampled_from([ACCURACY, BITS, PR, CKA]),
    st.floats(-0.3, 0.3),
    st.floats(1e-7, 0.5),
)
def test_what_is_printed_is_on_the_side_of_the_margin_where_it_is(
    facts: MetricInfo, value: float, error: float
) -> None:
    found = Estimate(value, error=error, freedom=math.inf, seeds=3)
    evidence = item(facts, [[1.0, 0.5]])
    text = words.interval(evidence, found).replace("−", "-")
    printed = sorted(float(part.split()[0]) for part in text.split(" to "))
    scale = {"accuracy": 100, "information": 1, "linear_cka": 1}.get(facts.label)
    for end, shown in zip(found.interval, printed if scale else printed[::-1], strict=True):
        for reference in (evidence.margin, 0):
            exact = (end - reference) * (scale or 1)
            own = scale * reference if scale else 100 * math.expm1(-reference)
            if abs(exact) > 1e-6:
                assert (shown > own) == ((exact > 0) if scale else (exact < 0))


def test_an_answer_in_words() -> None:
    seen = Finding(item(PR, [[4, 2]])), Finding(item(BITS, [[0, 1]]))
    described = Answer("compressing", 1, seen)
    assert words.sentence(described) == "participation_ratio −50 %; information +1 bits"
    assert words.verdict(described) == "one seed"
    silent = Answer("compressing", 3, notes=("one thing", "another"))
    assert words.sentence(silent) == "another"
    assert words.verdict(silent) == "no evidence"


@pytest.mark.parametrize(
    ("facts", "margin", "text"),
    [
        (ACCURACY, None, "1 point"),
        (ACCURACY, 0.025, "2.5 points"),
        (BITS, 0.2, "0.2 bits"),
        (PR, None, "a fall of 5 %"),
        (PR, 0.5, "a fall of 50 %"),
        (CKA, None, "0.05"),
    ],
)
def test_margins_in_words(facts: MetricInfo, margin: float | None, text: str) -> None:
    evidence = item(attrs.evolve(facts, margin=margin), [[1.0, 0.5]])
    assert words.margin(evidence) == text
    alone = Answer("predictive", 1, (Finding(evidence),))
    assert words.margins(alone) == f"{text} is the smallest that matters"
    both = Answer("predictive", 1, (Finding(evidence), Finding(item(BITS, [[1.0, 0.5]]))))
    wanted = f"the smallest that matters is of {facts.label} {text}, of information 0.01 bits"
    assert words.margins(both) == wanted or facts is BITS


def test_a_narrow_interval_tells_on_which_side_of_0_it_ends() -> None:
    found = Estimate(0.001, error=0.00055, freedom=math.inf, seeds=3)
    assert words.interval(item(ACCURACY, [[0.5, 0.501]]), found) == "−0.01 to +0.21 points"


@pytest.mark.parametrize(
    ("unit", "effect", "half", "p", "text"),
    [
        ("fraction", -0.0136, 0.0047, 0.01, "−1.36 ± 0.47*"),
        ("fraction", 0.0136, 0.0047, 0.05, "+1.36 ± 0.47"),
        ("directions", 2.5, 0.31, math.nan, "+2.50 ± 0.31"),
        ("directions", 2.5, math.nan, math.nan, "+2.5"),
        ("", 0.0, 0.0, 1.0, "0"),
    ],
)
def test_differences_in_words(unit: str, effect: float, half: float, p: float, text: str) -> None:
    estimate = Estimate(effect, half / 1.959964, freedom=math.inf)
    found = Difference("m", "layer_0", unit, 0.0, effect, estimate, p)
    assert words.difference(found) == text
    assert words.difference(None) == ""
