"""torchvision's image folder without the hidden folders; its own file because of the import."""

from __future__ import annotations

from torchvision.datasets import ImageFolder


class ClassFolders(ImageFolder):  # type: ignore[misc]
    """Every subfolder whose name does not begin with a dot is a class."""

    def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
        """Return the names of the classes, in order, and their labels."""
        names = [name for name in super().find_classes(directory)[0] if name[0] != "."]
        return names, {name: index for index, name in enumerate(names)}
