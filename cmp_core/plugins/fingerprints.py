"""What tells one state of a plugin's code from another."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

from cmp_core.plugins.discovery import entry_points
from cmp_core.plugins.fence import is_built_in
from cmp_core.plugins.loader import Plugins


def fingerprints(plugins: Plugins) -> dict[str, str]:
    """Return the SHA-256 of the file of each plugin that is not built in, by the plugin's name.

    Of files that were named it is that of what was executed. Of what such a file imports nothing
    is known.
    """
    found = {}
    for name, module in _foreign(plugins):
        content = plugins.files.get(name)
        path = Path(str(getattr(module, "__file__", "")))
        if content is None and path.is_file():
            content = path.read_bytes()
        if content is not None:
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def packages(plugins: Plugins) -> dict[str, str]:
    """Return the package and version, `NAME==VERSION`, of each plugin that a package has brought.

    By the plugin's name, and without those that are built in or files.
    """
    installed = {entry.name: entry.dist for entry in entry_points()}
    found = {}
    for name, module in _foreign(plugins):
        if name in plugins.files:
            continue
        distribution = installed.get(name) or _distribution_of(module)
        if distribution is not None:
            found[name] = f"{distribution.name}=={distribution.version}"
    return found


def _foreign(plugins: Plugins) -> Iterator[tuple[str, ModuleType | None]]:
    """Yield name and module of each plugin that is not built in."""
    for name, plugin in plugins.manager.list_name_plugin():
        if plugin is not None and not is_built_in(plugin):
            yield name, plugin if isinstance(plugin, ModuleType) else inspect.getmodule(plugin)


def _distribution_of(module: ModuleType | None) -> metadata.Distribution | None:
    """Return the distribution that has brought a module, none where it is no one's or several's."""
    top = "" if module is None else module.__name__.partition(".")[0]
    names = set(metadata.packages_distributions().get(top, ()))
    return metadata.distribution(names.pop()) if len(names) == 1 else None
