"""Tests of the folders that are splits."""

from __future__ import annotations

from pathlib import Path

import pytest
from cmp_core.datasets._split_folders import split_folders

from cmp_core.errors import DataError


def folders(root: Path, *names: str) -> dict[str, str]:
    for name in names:
        (root / name).mkdir(parents=True)
    return {split: folder.name for split, folder in split_folders(root).items()}


@pytest.mark.parametrize("train", ["train", "Train", "TRAIN", "training", "Training"])
@pytest.mark.parametrize("val", ["val", "VAL", "valid", "validation", "Validation"])
@pytest.mark.parametrize("test", ["test", "Test", "testing"])
def test_splits_are_known_by_their_names(tmp_path: Path, train: str, val: str, test: str) -> None:
    found = folders(tmp_path, f"{train}/cat", f"{val}/cat", f"{test}/cat", "more/cat")
    assert found == {"train": train, "val": val, "test": test}


def test_other_folders_are_classes(tmp_path: Path) -> None:
    assert folders(tmp_path, "cat", "dog", ".train/cat") == {}


def test_one_such_folder_without_folders_is_a_class(tmp_path: Path) -> None:
    assert folders(tmp_path, "train", "car") == {}


def test_splits_without_class_folders_are_no_classes(tmp_path: Path) -> None:
    assert folders(tmp_path, "train", "test") == {"train": "train", "test": "test"}


def test_two_folders_of_a_split_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one folder of the split val, got 'val' and 'validation'"):
        folders(tmp_path, "train/cat", "val/cat", "validation/cat")


def test_a_test_split_without_training_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder 'train' beside 'Test', there is none"):
        folders(tmp_path, "Test/cat", "learn/cat")
