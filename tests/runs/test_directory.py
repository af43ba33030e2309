"""Tests of `cmp_core.runs.directory`: names, and files that are whole or not there."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pytest

from cmp_core.config.schema import Config
from cmp_core.runs.directory import make_run_directory, save_whole, write_whole
from tests.interruption import CutError


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_whole(path, "old")

    def cut(file: BinaryIO) -> None:
        file.write(b"half of the n")
        raise CutError

    with pytest.raises(CutError):
        save_whole(path, cut)
    assert path.read_text() == "old"
    assert list(tmp_path.glob(".status*")) == []


def test_runs_in_one_folder_have_different_names(tiny: Config) -> None:
    now = datetime(2026, 11, 23, 10, 15)
    made = [make_run_directory(tiny, now).name for _ in range(3)]
    assert made == [f"000{i}_2026-11-23_10-15-00" for i in (1, 2, 3)]
