"""Which folders of a dataset are its splits, by their names."""

from __future__ import annotations

import re
from pathlib import Path

from cmp_core.console import warn
from cmp_core.datasets._class_folders import is_hidden
from cmp_core.errors import DataError

_NAMES = {"train": r"train(ing)?", "val": r"val(id(ation)?)?", "test": r"test(ing)?"}
"""Of each split, in lower or upper case and with or without `_set`."""


def find_split_folders(root: Path) -> dict[str, Path]:
    """Return the folders of `train`, `val` and `test` in a folder; none where it has classes.

    Folders with such names are classes where others stand beside them and they hold no folders.

    Raises:
        DataError: there is no such folder, two are of one split, or none is of training.
        OSError: a folder cannot be opened.
    """
    if not root.is_dir():
        is_file = root.exists()
        found = "is a file; unpack it, if it is an archive, and" if is_file else "does not exist;"
        raise DataError(
            f"dataset image_folder: expected a folder of images in data_dir, but "
            f"'{root.absolute()}' {found} name the folder: --set data_dir=FOLDER"
        )
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not is_hidden(path))
    named = [path for path in folders if _split_of(path)]
    others = [path.name for path in folders if not _split_of(path)]
    if others and not any(_has_folders(path) for path in named):
        return {}
    splits: dict[str, Path] = {}
    for path in named:
        split = _split_of(path)
        if split in splits:
            raise DataError(
                f"dataset image_folder: expected one folder for {split} in '{root}', "
                f"got {splits[split].name} and {path.name}"
            )
        splits[split] = path
    if splits and "train" not in splits:
        raise DataError(
            f"dataset image_folder: expected a folder train in '{root}' beside "
            f"{' and '.join(path.name for path in named)}, got none"
        )
    if others:
        beside = ", ".join(path.name for path in named)
        warn(f"'{root}': skipped {len(others)} beside {beside}: {', '.join(others)}")
    return splits


def _split_of(path: Path) -> str:
    """Return the split that a folder is of by its name, or nothing."""
    for split, names in _NAMES.items():
        if re.fullmatch(f"({names})([-_ ]?set)?", path.name, re.IGNORECASE):
            return split
    return ""


def _has_folders(path: Path) -> bool:
    return any(child.is_dir() and not is_hidden(child) for child in path.iterdir())
