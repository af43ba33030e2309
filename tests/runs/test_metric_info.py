"""Tests of `cmp_core.runs.metric_info`: what is written and read, and what is no such file."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from cmp_core.runs.metric_info import MetricInfo, dump_metric_info, load_metric_info

ACCURACY = {"metric": "accuracy", "question": "predictive", "evidence": "rises"}


def test_facts_survive_json() -> None:
    facts = (
        MetricInfo("margin", "margin", "Mine.", "furlongs", bounds=(-2.0, math.inf)),
        MetricInfo("r2", "ridge_r2", neighbour="next", options={"penalty": 0.1}),
        MetricInfo("acc", "accuracy", question="predictive", evidence="rises", bounds=(0.0, 1.0)),
    )
    text = dump_metric_info(facts)
    json.loads(text, parse_constant=pytest.fail)  # strict: no NaN and no infinity
    assert load_metric_info(text) == {"margin": facts[0], "r2": facts[1], "acc": facts[2]}


def test_fields_of_later_versions_are_left_alone_and_missing_ones_have_defaults() -> None:
    stored = {
        "accuracy": ACCURACY | {"colour": "red", "bounds": [None, 1]},
        "bare": {"metric": "x"},
    }
    read = load_metric_info(json.dumps(stored))
    assert read["accuracy"].bounds == (-math.inf, 1)
    assert read["bare"] == MetricInfo("bare", "x")


@pytest.mark.parametrize(
    ("fields", "comparable"),
    [
        ({"unit": "fraction of variance"}, True),
        ({"unit": "directions", "question": "compressing", "evidence": "falls"}, True),
        ({"unit": "nats"}, False),
        ({"unit": "nats", "comparable": True}, True),
        ({"unit": "fraction", "comparable": False}, False),
    ],
)
def test_what_earlier_versions_have_not_stored_follows_from_the_rest(
    fields: dict[str, Any], comparable: bool
) -> None:
    read = load_metric_info(json.dumps({"m": {"metric": "m"} | fields}))
    assert read["m"].comparable is comparable


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ("{", "Expecting property name"),
        ("[" * 100_000, "it is nested too deeply"),
        ("", "it is empty; expected {name: value}"),
        ([], "expected {name: value}, got []"),
        ({"accuracy": None}, "expected {label: {metric: …}}"),
        ({"accuracy": {}}, "expected {label: {metric: …}}"),
        ({"accuracy": ACCURACY | {"bounds": [0, 1, 2]}}, "too many values"),
        ({"accuracy": ACCURACY | {"bounds": ["a", 1]}}, "accuracy.bounds: expected numbers"),
        ({"accuracy": ACCURACY | {"metric": ["a"]}}, "accuracy.metric: expected a text, got"),
        ({"accuracy": ACCURACY | {"unit": None}}, "accuracy.unit: expected a text, got null"),
        ({"accuracy": ACCURACY | {"margin": -1}}, "accuracy.margin: expected a number above 0"),
        ({"accuracy": ACCURACY | {"comparable": 1}}, "accuracy.comparable: expected true or false"),
        ({"accuracy": ACCURACY | {"options": None}}, "accuracy.options: expected {name: value}"),
        (
            {"accuracy": ACCURACY | {"evidence": "grows"}},
            'accuracy.evidence: expected one of "rises", "falls", "similarity", null, got "grows"',
        ),
        (
            {"accuracy": ACCURACY | {"question": "why"}},
            'accuracy.question: expected one of "predictive", "compressing", "different", null',
        ),
        (
            {"accuracy": ACCURACY | {"neighbour": "both"}},
            'accuracy.neighbour: expected one of "previous", "next", null, got "both"',
        ),
    ],
)
def test_what_are_no_facts_is_told(facts: Any, sentence: str) -> None:
    text = facts if isinstance(facts, str) else json.dumps(facts)
    with pytest.raises(ValueError) as told:
        load_metric_info(text)
    assert sentence in str(told.value)
