"""Reading a JSON file that any program, or a run that was killed, may have left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cmp_core.config.schema import shown
from cmp_core.runs.directory import check_regular

_LONGEST = 2**28
"""Bytes of a file that is read at once, and of a line: a file of holes has any size for nothing."""


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without the byte order mark that Windows puts first.

    Raises:
        OSError: the file cannot be read, or is a pipe or a device.
        ValueError: it is not UTF-8, or too large.
    """
    check_regular(path)
    if (size := path.stat().st_size) > _LONGEST:
        raise ValueError(f"expected at most {_LONGEST:,} bytes, got {size:,}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"expected text in UTF-8, got byte {error.object[error.start]:#x}"
        ) from error


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file with their ends.

    Raises:
        OSError: the file cannot be read, or is a pipe or a device.
        ValueError: a line is too long.
    """
    check_regular(path)
    with path.open("rb") as file:
        while line := file.readline(_LONGEST + 1):
            if len(line) > _LONGEST:
                raise ValueError(f"a line has more than {_LONGEST:,} bytes")
            yield line


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank with their numbers; what is not UTF-8 is replaced.

    Raises:
        OSError, ValueError: as `lines_of`.
    """
    for number, line in enumerate(lines_of(path), start=1):
        if line.strip():
            yield number, line.decode("utf-8-sig", errors="replace")


def parse_object(text: str) -> dict[str, Any]:
    """Return the mapping that a JSON text holds.

    Raises:
        ValueError: it is empty, cut, or holds something else; the message is the reason.

    >>> parse_object('{"acc": 0.5}')
    {'acc': 0.5}
    """
    if not text.strip():
        raise ValueError("it is empty; expected {name: value}")
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"it is not whole JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"expected {{name: value}}, got {shown(content)}")
    return content


def read_optional(path: Path, problems: list[str]) -> dict[str, Any]:
    """Return the content of a JSON file, empty where there is none or where it cannot be read.

    Why it cannot be read is appended to `problems`, in a sentence.
    """
    if not path.exists():
        return {}
    try:
        return parse_object(read_text(path))
    except (OSError, ValueError) as error:
        problems.append(f"'{path}' is left out: {error}")
        return {}
