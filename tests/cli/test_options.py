"""Tests of the options that several commands have."""

from __future__ import annotations

from typing import Any

import pytest

from cmp_core.cli._options import selection, split_labels
from cmp_core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("all", "all"),
        ("", []),
        ("margin", ["margin"]),
        ("a, no:b", ["a", "no:b"]),
        ("[a, b]", ["a", "b"]),
        ("a, {name: b, snr: 8}", ["a", {"name": "b", "snr": 8}]),
        ("all, no:a", ["all", "no:a"]),
    ],
)
def test_a_list_is_what_yaml_would_have(text: str | None, expected: Any) -> None:
    assert selection(text, "--metrics") == expected


def test_what_is_no_yaml_names_the_option() -> None:
    with pytest.raises(UsageError, match="--plots is not valid YAML"):
        selection("{name: a", "--plots")


@pytest.mark.parametrize(
    ("text", "labels"),
    [(None, ()), ("", ("",)), ("a", ("a",)), (" a b , c", ("a b", "c")), ("a,,", ("a", "", ""))],
)
def test_labels_are_split_at_commas(text: str | None, labels: tuple[str, ...]) -> None:
    assert split_labels(text) == labels
