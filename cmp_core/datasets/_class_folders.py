"""The images of a folder by class: which files count, and which are skipped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import attrs

from cmp_core.errors import DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Of image files, in lower or upper case."""

_SYSTEM = ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")


@attrs.frozen
class ClassFolders:
    """The images of a folder that has one subfolder per class.

    Attributes:
        classes: names, sorted.
        paths: of the images, (n,), class by class.
        labels: positions in `classes`, (n,).
        skipped: what was left out and is not hidden, in words; empty if nothing was.
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    skipped: str


def is_hidden(path: Path) -> bool:
    """Return whether a name begins with a dot or is one that systems leave in folders."""
    return path.name.startswith(".") or path.name in _SYSTEM


def find_class_folders(folder: Path) -> ClassFolders:
    """Return the images below the subfolders of a folder, at any depth.

    A link to a folder is followed unless it leads to what is read anyway.

    Raises:
        DataError: there is no subfolder, or one holds no image.
        OSError: a folder cannot be opened.
    """
    listing = _Listing(folder)
    images = {path.name: list(listing.images(path)) for path in listing.classes()}
    skipped = listing.describe_skipped()
    empty = [name for name, paths in images.items() if not paths]
    if empty or not images:
        found = f"no image in {', '.join(empty)}" if empty else "no class folder"
        raise DataError(
            f"dataset image_folder: expected '{folder.absolute()}/<class>/<image>', with at least "
            f"one image ({', '.join(SUFFIXES)}) for each class, got {found}"
            + (f"; skipped: {skipped}" if skipped else "")
        )
    return ClassFolders(
        classes=tuple(images),
        paths=tuple(str(path) for paths in images.values() for path in paths),
        labels=tuple(i for i, paths in enumerate(images.values()) for _ in paths),
        skipped=skipped,
    )


class _Listing:
    """Goes through a folder and keeps what it skips, by reason."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read = [folder.resolve()]
        self._files: set[tuple[int, int]] = set()
        self._skipped: dict[str, list[Path]] = defaultdict(list)

    def classes(self) -> Iterator[Path]:
        for path in self._visible(self._folder):
            if not path.is_dir():
                self._skipped["outside the class folders"].append(path)
            elif self._is_new(path):
                yield path

    def images(self, folder: Path) -> Iterator[Path]:
        """Yield a folder's own images, then those of its subfolders."""
        paths = self._visible(folder)
        for path in paths:
            if path.is_dir():
                continue
            if not path.is_file():
                self._skipped["no regular file"].append(path)
            elif path.suffix.lower() in SUFFIXES:
                if self._is_new_file(path):
                    yield path
            else:
                self._skipped[path.suffix or "without a suffix"].append(path)
        for path in paths:
            if path.is_dir() and self._is_new(path):
                yield from self.images(path)

    def describe_skipped(self) -> str:
        """Return such as `29 .jfif (cat/1.jfif, …), 1 .txt (cat/notes.txt)`."""
        return ", ".join(
            f"{len(paths)} {reason} ({paths[0].relative_to(self._folder)}"
            f"{', …' if len(paths) > 1 else ''})"
            for reason, paths in self._skipped.items()
        )

    def _visible(self, folder: Path) -> list[Path]:
        return sorted(path for path in folder.iterdir() if not is_hidden(path))

    def _is_new_file(self, path: Path) -> bool:
        """Return whether no other name of the file is read."""
        status = path.stat()
        is_inside = path.is_symlink() and path.resolve().is_relative_to(self._read[0])
        if is_inside or (status.st_dev, status.st_ino) in self._files:
            self._skipped["linked to an image that is read anyway"].append(path)
            return False
        self._files.add((status.st_dev, status.st_ino))
        return True

    def _is_new(self, folder: Path) -> bool:
        """Return whether a folder is no link, or one to where nothing is read from."""
        if not folder.is_symlink():
            return True
        target = folder.resolve()
        if any(target.is_relative_to(o) or o.is_relative_to(target) for o in self._read):
            self._skipped["linked to a folder that is read anyway"].append(folder)
            return False
        self._read.append(target)
        return True
