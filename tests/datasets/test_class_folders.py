"""Tests of the folders that are classes."""

from __future__ import annotations

from pathlib import Path

from cmp_core.datasets._class_folders import ClassFolders
from tests.datasets.files import write_images


def test_hidden_folders_are_no_classes_and_take_no_label(tmp_path: Path) -> None:
    write_images(tmp_path, {".cache": 2, "a cat": 1, "dog": 3})
    found = ClassFolders(str(tmp_path))
    assert found.classes == ["a cat", "dog"]
    assert found.targets == [0, 1, 1, 1]
