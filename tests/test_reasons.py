"""Tests of `cmp_core.reasons`: one line for what many layers have in common."""

from __future__ import annotations

from cmp_core.reasons import grouped

LAYERS = tuple(f"layer_{i}" for i in range(27))


def test_a_reason_of_27_layers_is_one_entry_whichever_of_them_it_names() -> None:
    records = [(f"{layer} has no anchors", metric, layer) for layer in LAYERS for metric in "ab"]
    assert grouped(records, lambda _: "it") == [("it has no anchors", (("a", "b"), LAYERS))]
    assert grouped(records)[0][0] == "layer_0–layer_26 has no anchors"


def test_a_name_is_told_where_there_is_one_and_no_part_of_another_is_taken_for_it() -> None:
    records = [("layer_1 is before layer_10", "a", "layer_1"), ("none", "a", "layer_10")]
    assert grouped(records) == [
        ("layer_1 is before layer_10", (("a",), ("layer_1",))),
        ("none", (("a",), ("layer_10",))),
    ]


def test_nothing_is_told_of_a_pair_that_was_not_given() -> None:
    records = [("none", "a", "0"), ("none", "a", "1"), ("none", "b", "1")]
    told = {(m, x) for _, (metrics, layers) in grouped(records) for m in metrics for x in layers}
    assert told == {("a", "0"), ("a", "1"), ("b", "1")}


def test_odd_names_and_reasons_are_just_text() -> None:
    records = [("", "", ""), (r"\1 of (a", "(a", r"\1"), ("error: [x]", "b", "x")]
    assert [reason for reason, _ in grouped(records)] == [reason for reason, *_ in records]
    assert grouped([]) == []
