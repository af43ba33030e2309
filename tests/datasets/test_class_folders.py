"""Tests of the folders that are classes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cmp_core.datasets._class_folders import ClassFolders, find_images
from cmp_core.errors import DataError
from tests.datasets.files import write_images


def names(root: Path, found: ClassFolders) -> list[str]:
    return [str(Path(path).relative_to(root)) for path in found.paths]


def test_hidden_entries_are_no_classes_and_no_images(tmp_path: Path) -> None:
    write_images(tmp_path, {".cache": 2, "__MACOSX": 2, "a cat": 1, "dog": 2})
    write_images(tmp_path / "dog", {".ipynb_checkpoints": 2, "old": 1})
    for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / "dog" / name).write_bytes(b"")
    found = find_images(tmp_path)
    assert found.classes == ("a cat", "dog")
    assert found.labels == (0, 1, 1, 1)
    assert names(tmp_path, found) == ["a cat/0.png", "dog/0.png", "dog/1.png", "dog/old/0.png"]
    assert found.left_out == ""


def test_suffixes_are_those_of_pictures_in_any_case_and_others_are_counted(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 1, "dog": 1})
    for name in ("a.JPG", "b.jfif", "c.jp2", "d.avif", "e.TIF", "f.gif"):
        (tmp_path / "cat" / name).write_bytes(b"")
    for name in ("a.heic", "b.HEIC", "notes.txt", "without"):
        (tmp_path / "dog" / name).write_bytes(b"")
    (tmp_path / "loose.png").write_bytes(b"")
    (tmp_path / "README.txt").write_bytes(b"")
    found = find_images(tmp_path)
    assert len(found.paths) == 8
    assert found.left_out == (
        "2 ending in '.heic', which is no known image (such as 'dog/a.heic'); "
        "1 ending in '.txt', which is no known image (such as 'dog/notes.txt'); "
        "1 without a suffix, which is no known image (such as 'dog/without'); "
        "1 outside of class folders (such as 'loose.png')"
    )


def test_links_lead_out_of_the_folder_and_never_back(tmp_path: Path) -> None:
    root, pool = tmp_path / "root", tmp_path / "pool"
    write_images(root, {"cat": 2, "dog": 1})
    write_images(pool, {"fish": 2})
    (pool / "fish" / "up").symlink_to(pool)
    (root / "fish").symlink_to(pool / "fish")
    (root / "alias").symlink_to(root / "dog")
    (root / "cat" / "loop").symlink_to(root)
    (root / "cat" / "self").symlink_to(root / "cat" / "self")
    (root / "cat" / "above").symlink_to(tmp_path)
    (root / "cat" / "copy.png").symlink_to(root / "cat" / "0.png")
    (root / "dog" / "pool.png").symlink_to(pool / "fish" / "0.png")
    found = find_images(root)
    assert found.classes == ("cat", "dog", "fish")
    assert names(root, found) == [
        "cat/0.png",
        "cat/1.png",
        "dog/0.png",
        "dog/pool.png",
        "fish/0.png",
        "fish/1.png",
    ]
    assert found.left_out.startswith("6 linked back to what is read anyway (such as 'alias')")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 1, "dog": 1})
    (tmp_path / "dog").chmod(0)
    with pytest.raises(DataError, match=r"cannot be read: PermissionError"):
        find_images(tmp_path)
    (tmp_path / "dog").chmod(0o755)


def test_a_class_without_images_says_what_it_holds_instead(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 1, "dog": 0})
    (tmp_path / "dog" / "0.heic").write_bytes(b"")
    with pytest.raises(DataError, match=r"no image in 'dog'; left out: 1 ending in '.heic'"):
        find_images(tmp_path)


def test_a_folder_of_hidden_folders_alone_has_no_class(tmp_path: Path) -> None:
    write_images(tmp_path, {".cache": 2})
    with pytest.raises(DataError, match=r"there is no folder of a class$"):
        find_images(tmp_path)
