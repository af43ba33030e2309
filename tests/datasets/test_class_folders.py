"""Tests of which files of a folder are images of which class."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cmp_core.datasets._class_folders import find_class_folders
from cmp_core.errors import DataError
from tests.datasets.files import write_images


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_hidden_folders_are_no_classes_and_take_no_label(tmp_path: Path) -> None:
    write_images(tmp_path, {".cache": 2, "__MACOSX": 1, "a cat": 1, "dog": 3})
    found = find_class_folders(tmp_path)
    assert found.classes == ("a cat", "dog")
    assert found.labels == (0, 1, 1, 1)
    assert not found.skipped


def test_hidden_files_and_folders_of_a_class_are_passed_over(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 2})
    write_images(tmp_path / "cat", {".ipynb_checkpoints": 2, "@eaDir": 1})
    for name in (".DS_Store", "._0.png", "Thumbs.db"):
        touch(tmp_path / "cat" / name)
    found = find_class_folders(tmp_path)
    assert [Path(path).name for path in found.paths] == ["0.png", "1.png"]
    assert not found.skipped


def test_other_files_are_counted_and_named(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 1})
    for name in ("cat/a.jfif", "cat/b.jfif", "cat/c", "cat/old/d.gif", "e.csv"):
        touch(tmp_path / name)
    assert find_class_folders(tmp_path).skipped == (
        "2 .jfif (cat/a.jfif, …), 1 without a suffix (cat/c), 1 .gif (cat/old/d.gif), "
        "1 outside the class folders (e.csv)"
    )


def test_suffixes_in_upper_case_and_images_in_subfolders_count(tmp_path: Path) -> None:
    for name in ("cat/b/deep/1.JPG", "cat/a/2.Png", "cat/z.TIFF"):
        touch(tmp_path / name)
    found = find_class_folders(tmp_path)
    assert [Path(path).name for path in found.paths] == ["z.TIFF", "2.Png", "1.JPG"]


@pytest.mark.parametrize("target", ["cat", ".", "..", "dog", "cat/young"])
def test_a_link_to_what_is_read_anyway_is_skipped(tmp_path: Path, target: str) -> None:
    root = tmp_path / "data"
    write_images(root, {"cat": 2, "dog": 3, "cat/young": 1})
    before = find_class_folders(root)
    (root / "cat" / "loop").symlink_to(root / target)
    found = find_class_folders(root)
    assert found.paths == before.paths
    assert found.skipped == "1 linked to a folder that is read anyway (cat/loop)"


def test_a_link_to_another_place_is_followed_once(tmp_path: Path) -> None:
    write_images(tmp_path / "pool", {"cats": 2})
    write_images(tmp_path / "data", {"dog": 1})
    (tmp_path / "pool" / "cats" / "loop").symlink_to(tmp_path / "pool")
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "pool" / "cats")
    (tmp_path / "data" / "kitten").symlink_to(tmp_path / "pool" / "cats")
    found = find_class_folders(tmp_path / "data")
    assert found.classes == ("cat", "dog")
    assert found.labels == (0, 0, 1)
    assert "2 linked to a folder that is read anyway (cat/loop, …)" in found.skipped


def test_a_folder_without_classes_or_a_class_without_images_is_told(tmp_path: Path) -> None:
    write_images(tmp_path, {".hidden": 1})
    with pytest.raises(DataError, match=r"got no class folder$"):
        find_class_folders(tmp_path)
    touch(tmp_path / "cat" / "a.heic")
    with pytest.raises(DataError, match=r"no image in cat; skipped: 1 \.heic \(cat/a\.heic\)"):
        find_class_folders(tmp_path)


def test_links_to_images_that_are_read_anyway_and_pipes_are_skipped(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_images(root, {"cat": 2, "dog": 3})
    before = find_class_folders(root)
    first, last = (Path(before.paths[i]) for i in (0, -1))
    (root / "cat" / "again.png").symlink_to(last)
    (root / "dog" / "zz.png").hardlink_to(first)
    os.mkfifo(root / "cat" / "pipe.png")
    found = find_class_folders(root)
    assert found.paths == before.paths
    assert "2 linked to an image that is read anyway (cat/again.png, …)" in found.skipped
    assert "1 no regular file (cat/pipe.png)" in found.skipped
