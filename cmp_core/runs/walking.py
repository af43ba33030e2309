"""The folders below a folder, no more of them than can be looked into in seconds."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import attrs

MOST_FOLDERS = 100_000
"""Folders that are looked into; trees of runs have fewer."""


@attrs.frozen
class Folder:
    """A folder, and the names of what stands in it but for folders and what is hidden."""

    path: Path
    files: frozenset[str]


class Walk:
    """A folder and those below it, the nearest first.

    Links are not followed; hidden folders and those that cannot be read are left out.

    Args:
        root: the folder.
        end: name of a file; nothing is looked for below a folder that has it.
        most: folders that are looked into.

    Attributes:
        is_whole: whether there was no folder more than that; known when the walk is over.
    """

    def __init__(self, root: Path, end: str | None = None, most: int = MOST_FOLDERS) -> None:
        self._root, self._end, self._most = root, end, most
        self.is_whole = True

    def __iter__(self) -> Iterator[Folder]:
        """Yield the folders.

        Raises:
            OSError: the first one cannot be read.
        """
        left, seen = deque([self._root]), 0
        while left and seen < self._most:
            path = left.popleft()
            try:
                files, folders = _content(path)
            except OSError:
                if path == self._root:
                    raise
                continue
            seen += 1
            yield Folder(path, frozenset(files))
            if self._end not in files:
                left += (path / name for name in folders)
        self.is_whole = not left


def _content(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the files and of the folders in a folder, but for hidden ones."""
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                is_folder = entry.is_dir(follow_symlinks=False)
                (folders if is_folder else files).append(entry.name)
    return files, folders
