"""Modules that are made of a plugin's file, and sending objects of their classes elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType

PREFIX = "cmp_plugin_"
"""What the names of modules begin with that were loaded from a plugin's file."""


class PluginFile(SourceFileLoader):
    """Executes a file as it stands, and keeps what it has executed.

    Python's own loader takes what it has compiled for the source where time and size agree: of an
    earlier state of the file, or of one that has come with a folder of anyone's. None is written
    either, so that nothing is left beside the file.

    Attributes:
        content: the bytes that were executed, once they were.
    """

    content = b""

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the file's source."""
        path = self.get_filename(fullname)
        self.content = self.get_data(path)
        return self.source_to_code(self.content, path)

    def spec(self) -> ModuleSpec:
        """Return what the import system makes the module by."""
        spec = spec_from_file_location(self.name, self.path, loader=self)
        assert spec is not None  # as there is a loader
        return spec


class PluginModules:
    """Unpickled in another process, it makes the plugin files importable that are loaded here.

    Pickle goes through attributes in their order: an object that sends this one before another
    (a dataset, say) has the modules of the other's classes found.
    """

    def __reduce__(self) -> tuple[object, ...]:
        loaded = {
            name: module.__file__
            for name, module in sys.modules.items()
            if name.startswith(PREFIX) and module.__file__ is not None
        }
        return _make_importable, (loaded,)


class _Finder(MetaPathFinder):
    """Finds modules by name in the files that they were loaded from elsewhere."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        if fullname not in self._files:
            return None
        return PluginFile(fullname, self._files[fullname]).spec()


def _make_importable(files: Mapping[str, str]) -> PluginModules:
    sys.meta_path.append(_Finder(files))
    return PluginModules()
