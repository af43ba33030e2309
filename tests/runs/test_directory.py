"""Tests of `cmp_core.runs.directory`: names, and files that are whole or not there."""

from __future__ import annotations

import errno
import os
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import attrs
import pytest

from cmp_core.config.schema import Config
from cmp_core.errors import UsageError
from cmp_core.runs.directory import make_run_directory, open_run, save_whole, write_whole
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


def test_the_number_follows_the_highest_one_whatever_else_is_there(tiny: Config) -> None:
    parent = Path(tiny.out) / "digits" / "greedy"
    for name in ("0009_2026-01-01_00-00-00", "notes", "12", "0003_x"):
        (parent / name).mkdir(parents=True)
    made = make_run_directory(tiny, datetime(2026, 11, 23, 10, 15))
    assert made == parent.absolute() / "0010_2026-11-23_10-15-00"


def test_a_place_that_cannot_be_written_to_is_told(tiny: Config) -> None:
    Path("file").write_text("")
    with pytest.raises(UsageError, match="out: cannot write to 'file/runs/digits/greedy'"):
        make_run_directory(attrs.evolve(tiny, out="file/runs"))


def test_a_new_file_may_be_read_by_whom_the_umask_lets() -> None:
    before = os.umask(0o027)
    try:
        write_whole(Path("text"), "…")
    finally:
        os.umask(before)
    assert Path("text").read_text(encoding="utf-8") == "…"
    assert Path("text").stat().st_mode & 0o777 == 0o640


def test_a_run_is_opened_by_its_folder() -> None:
    Path("runs/one").mkdir(parents=True)
    Path("runs/one/params.yaml").write_text("")
    assert open_run("runs/one") == Path.cwd() / "runs" / "one"
    with pytest.raises(UsageError, match=r"^run 'nowhere' does not exist$"):
        open_run("nowhere")
    with pytest.raises(UsageError, match=r"params\.yaml' is a file, not a run directory$"):
        open_run("runs/one/params.yaml")
    with pytest.raises(UsageError, match=r"no params\.yaml; did you mean 'runs/one'\?$"):
        open_run("runs")
    Path("empty").mkdir()
    with pytest.raises(UsageError, match=r"^'empty' is not a run directory: .* no params\.yaml$"):
        open_run("empty")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_text("before")

    def full(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*status\.json'$"):
        save_whole(path, full)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
