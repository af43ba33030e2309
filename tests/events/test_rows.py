"""Tests of `cmp_core.events.rows`: rows as they stand in a line of the log."""

from __future__ import annotations

import math

from cmp_core.events.rows import FitInfo, Row, as_frame, log_form


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


def test_a_frame_has_a_row_each_and_columns_of_one_type() -> None:
    fit = FitInfo(99, "training", 0.25)
    frame = as_frame(
        [
            Row("a", "m", 0.5, 4, other="b", fit=fit, error=0.1),
            Row("a", "v", (1.0, 2.0), 4),
            Row("b", "m", None, 3, "no labels"),
            Row("a", "m", 0.25, 4, other="b", pair=True),
        ]
    )
    assert frame.layer.tolist() == ["a", "a", "b"]
    assert frame.n.tolist() == [4, 4, 3]
    assert frame.n_fit.tolist() == [99, 0, 0]
    assert frame.value[0] == 0.5
    assert frame.error[0] == 0.1
    assert math.isnan(frame.value[1])
    assert frame.value.isna().tolist() == frame.error.isna().tolist() == [False, True, True]
    assert frame.vector[1] == (1.0, 2.0)
    assert frame.vector.isna().tolist() == [True, False, True]
    assert frame.reason[2] == "no labels"
    assert frame.reason.isna().tolist() == [True, True, False]
    assert (frame.other[0], frame.fit[0]) == ("b", "training")
    empty = as_frame([])
    numbers = ["value", "error", "n", "n_fit"]
    assert list(empty.columns) == list(frame.columns)
    assert dict(empty.dtypes[numbers]) == dict(frame.dtypes[numbers])
