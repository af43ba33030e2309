"""What tells one state of a plugin's code from another."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from types import ModuleType

from cmp_core.plugins.fence import is_built_in
from cmp_core.plugins.loader import Plugins


def fingerprints(plugins: Plugins) -> dict[str, str]:
    """Return the SHA-256 of the file of each plugin that is not built in, by the plugin's name.

    Of what such a file imports nothing is known.
    """
    found = {}
    for name, plugin in plugins.manager.list_name_plugin():
        if plugin is None or is_built_in(plugin):
            continue
        code = plugin if isinstance(plugin, ModuleType) else inspect.getmodule(plugin)
        path = Path(str(getattr(code, "__file__", "")))
        if path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
