"""Tests of `cmp_core.measurement.reference`: what is kept of a pass, and put before another's."""

from __future__ import annotations

import torch

from cmp_core.events.results import MetricResult
from cmp_core.measurement.reference import MeasuredReference


def result(layer: str, influence: torch.Tensor | None = None) -> MetricResult:
    return MetricResult(layer, "m", 5, value=torch.ones(()), influence=influence)


def test_kept_results_come_first_with_their_errors_or_without() -> None:
    influence = torch.arange(5.0)
    reference = MeasuredReference()
    assert not reference.is_known(errors=False)
    answers = {"metric:m": [result("input", influence), result("a")], "another plugin": None}
    reference.keep(answers, ["metric:m", "switched off"], "input", errors=True)
    assert reference.is_known(errors=True)
    for errors, kept in ((True, influence), (False, None)):
        added = reference.added_to({"metric:m": [result("a")], "another": 1}, errors=errors)
        first, second = added["metric:m"]
        assert (first.layer, second.layer, added["another"]) == ("input", "a", 1)
        assert first.influence is kept


def test_results_without_errors_are_not_known_where_errors_are_wanted() -> None:
    reference = MeasuredReference()
    reference.keep({"metric:m": [result("input")]}, ["metric:m"], "input", errors=False)
    assert reference.is_known(errors=False)
    assert not reference.is_known(errors=True)
    assert reference.added_to({}, errors=False) == {}
