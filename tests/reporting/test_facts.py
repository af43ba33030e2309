"""Tests of `cmp_core.reporting.facts`: what a page tells without absolute paths."""

from __future__ import annotations

import pytest

from cmp_core.reporting.facts import without_places


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/home/me/data", "…/data"),
        ("/home/me/data/", "…/data"),
        ("data_dir=/a/b c", "data_dir=…/b c"),
        ("'/a/b.json' is left out, ('/c/d')", "'…/b.json' is left out, ('…/d')"),
        ("[/a/b.py,/c/d.py]", "[…/b.py,…/d.py]"),
        ("a/b, 1/2, https://a.org/b, ../c, ~/d, </e>, & /<", None),
    ],
)
def test_of_absolute_paths_the_last_part_is_left(text: str, told: str | None) -> None:
    assert without_places(text) == (text if told is None else told)
