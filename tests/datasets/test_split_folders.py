"""Tests of which folders are splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmp_core.datasets._split_folders import find_split_folders
from cmp_core.errors import DataError
from tests.datasets.files import write_images

CLASSES = {"cat": 1, "dog": 1}


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Train", "Validation", "TEST"),
        ("training", "valid", "testing"),
        ("training_set", "VAL", "test_set"),
    ],
)
def test_splits_are_known_by_their_names(tmp_path: Path, train: str, val: str, test: str) -> None:
    for name in (train, val, test):
        write_images(tmp_path / name, CLASSES)
    found = find_split_folders(tmp_path)
    assert {split: path.name for split, path in found.items()} == {
        "train": train,
        "val": val,
        "test": test,
    }


@pytest.mark.parametrize("names", [("cat", "dog"), ("car", "plane", "train"), ("invalid", "valid")])
def test_other_folders_are_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    write_images(tmp_path, dict.fromkeys(names, 1))
    assert find_split_folders(tmp_path) == {}


def test_folders_beside_the_splits_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "test", "extra", ".git", "__MACOSX"):
        write_images(tmp_path / name, CLASSES)
    assert set(find_split_folders(tmp_path)) == {"train", "test"}
    assert "skipped 1 beside test, train: extra" in capsys.readouterr().err


def test_two_folders_of_one_split_are_an_error(tmp_path: Path) -> None:
    for name in ("train", "val", "validation"):
        write_images(tmp_path / name, CLASSES)
    with pytest.raises(DataError, match=r"one folder for val in .*, got val and validation"):
        find_split_folders(tmp_path)


def test_splits_without_training_are_an_error(tmp_path: Path) -> None:
    for name in ("Test", "validation"):
        write_images(tmp_path / name, CLASSES)
    with pytest.raises(DataError, match=r"a folder train in .* beside Test and validation"):
        find_split_folders(tmp_path)


def test_a_file_and_nothing_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    with pytest.raises(DataError, match=r"a\.zip' is a file; unpack it"):
        find_split_folders(tmp_path / "a.zip")
    with pytest.raises(DataError, match=r"b' does not exist.*--set data_dir=FOLDER"):
        find_split_folders(tmp_path / "b")
