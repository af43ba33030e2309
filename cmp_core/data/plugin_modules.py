"""Sending objects whose classes stand in a plugin's file to processes that have not loaded it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location

PREFIX = "cmp_plugin_"
"""What the names of modules begin with that were loaded from a plugin's file."""


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
        return spec_from_file_location(fullname, self._files[fullname])


def _make_importable(files: Mapping[str, str]) -> PluginModules:
    sys.meta_path.append(_Finder(files))
    return PluginModules()
