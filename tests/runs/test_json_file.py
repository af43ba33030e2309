"""Tests of `cmp_core.runs.json_file`: whole files, and what is left of others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cmp_core.runs.json_file import lines_of, read_optional, texts_of


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


def test_a_file_of_holes_is_not_read(tmp_path: Path) -> None:
    """It takes nothing on the disk, and would fill any memory."""
    path, problems = tmp_path / "x.json", list[str]()
    path.touch()
    os.truncate(path, 2**40)
    assert read_optional(path, problems) == {}
    told = f"'{path}' is left out: expected at most 268,435,456 bytes, got 1,099,511,627,776"
    assert problems == [told]
    with pytest.raises(ValueError, match="a line has more than 268,435,456 bytes"):
        list(lines_of(path))


def test_lines_are_numbered_and_blank_ones_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xef\xbb\xbf{}\n \n\xff\r\n5")
    assert list(texts_of(path)) == [(1, "{}\n"), (3, "\ufffd\r\n"), (4, "5")]
