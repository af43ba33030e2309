"""Tests of `cmp_core.runs.notebook`: tables that hold nothing but text."""

from __future__ import annotations

from cmp_core.runs.notebook import html_table
from tests.reporting.reading import Page


def test_all_cells_are_in_the_table() -> None:
    html = html_table("head", ["layer", "a", "b"], [["fc", "1", "2"], ["out", "3", "–"]], ["note"])
    page = Page(html)
    assert page.rows == [["layer", "a", "b"], ["fc", "1", "2"], ["out", "3", "–"]]
    assert html.startswith("<p><b>head</b></p>")
    assert html.endswith("<p>note</p>")


def test_markup_is_text_everywhere() -> None:
    bad = "<img src=x onerror='f()'>&amp;"
    html = html_table(bad, ["layer", bad], [[bad, bad]], [bad])
    assert "<img" not in html
    assert html.count("&lt;img src=x onerror=&#x27;f()&#x27;&gt;&amp;amp;") == 5


def test_without_rows_there_is_no_table() -> None:
    assert html_table("head", ["layer"], []) == "<p><b>head</b></p>"
