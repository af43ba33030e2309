"""Tests of `cmp_core.runs.json_file`: whole files, and what is left of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmp_core.runs.json_file import read_optional


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_whole_file_is_read_with_or_without_a_mark(tmp_path: Path, mark: bytes) -> None:
    path, problems = tmp_path / "x.json", list[str]()
    path.write_bytes(mark + '{"größe": 1}'.encode())
    assert (read_optional(path, problems), problems) == ({"größe": 1}, [])


def test_a_file_that_is_not_there_is_no_problem(tmp_path: Path) -> None:
    problems: list[str] = []
    assert (read_optional(tmp_path / "x.json", problems), problems) == ({}, [])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty; expected {name: value}"),
        (b" \n", "it is empty; expected {name: value}"),
        (b'{"a": [1, ', "it is not whole JSON: Expecting value: line 1 column 11 (char 10)"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"[1, 2]", "expected {name: value}, got [1, 2]"),
        (b"null", "expected {name: value}, got null"),
        (b"NaN", "expected {name: value}, got "),
        (b'{"a": "\xff"}', "expected text in UTF-8, got byte 0xff"),
        ('{"a": 1}'.encode("utf-16"), "expected text in UTF-8, got byte 0xff"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_file(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path, problems = tmp_path / "x.json", list[str]()
    path.write_bytes(content)
    assert read_optional(path, problems) == {}
    (told,) = problems
    assert told.startswith(f"'{path}' is left out: {reason}")
