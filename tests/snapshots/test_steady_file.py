"""Tests of `cmp_core.snapshots.steady_file`: writes that fail."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmp_core.snapshots.steady_file import SteadyFile


class Disk:
    """A file with room for some bytes, which takes at most three at once."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self.room = file, room

    def write(self, data: memoryview) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._file.write(data[: min(3, self.room)])
        self.room -= written
        return int(written)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def steady(path: Path, room: int) -> tuple[SteadyFile, Disk]:
    file = SteadyFile(path)
    disk = Disk(file._file, room)
    file._file = disk  # type: ignore[assignment]
    return file, disk


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file, _ = steady(tmp_path / "x", 100)
    assert file.write(np.arange(4, dtype="<i2")) == 8  # any buffer, in as many writes as it takes
    file.seek(2)
    assert file.tell() == 2
    buffer = bytearray(4)
    assert file.readinto(buffer) == 4
    assert buffer == b"\x01\x00\x02\x00"
    assert file.truncate(6) == 6
    file.sync()
    file.close()
    assert (tmp_path / "x").read_bytes() == b"\0\0\x01\0\x02\0"
    assert file.closed


def test_of_writes_that_fail_the_caller_hears_nothing_and_check_the_first(tmp_path: Path) -> None:
    file, disk = steady(tmp_path / "x", 7)
    file.check()
    assert file.write(b"0123456789") == 10
    disk.room = 100  # too late: what comes after a gap would not be what was meant
    assert file.write(b"abc") == 3
    for tell in (file.check, file.sync, file.check):
        with pytest.raises(OSError, match="No space left on device"):
            tell()
    file.close()
    assert (tmp_path / "x").read_bytes() == b"0123456"


def test_a_size_that_cannot_be_set_is_remembered(tmp_path: Path) -> None:
    file, disk = steady(tmp_path / "x", 7)

    def refuse(size: int | None) -> int:
        raise OSError(errno.EFBIG, "File too large")

    disk.truncate = refuse  # type: ignore[attr-defined]
    assert file.truncate(10**15) == 10**15
    with pytest.raises(OSError, match="File too large"):
        file.check()
    file.close()
