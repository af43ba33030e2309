"""Tests of `cmp_core.events.rows`: rows as they stand in a line of the log."""

from __future__ import annotations

from cmp_core.events.rows import Row, log_form


def test_log_form_keeps_reference_and_reasons_apart() -> None:
    rows = [
        Row("input", "a", 0.5, 4),
        Row("layer_0", "a", 0.25, 4),
        Row("layer_0", "b", None, 4, "no reason at all"),
        Row("layer_0", "c", None, 4, "broken", other="head", pair=True),
    ]
    assert log_form(rows, ("layer_0", "head"), n=5, prefix="train_") == {
        "train_n": 5,
        "train_counts": {"input": {"a": 4}, "layer_0": {"a": 4}},
        "train_metrics": {"layer_0": {"a": 0.25}},
        "train_reference": {"a": 0.5},
        "train_missing": {"layer_0": {"b": "no reason at all", "c:head": "broken"}},
    }
