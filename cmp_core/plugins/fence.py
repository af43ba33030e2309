"""What stands around a plugin's call: it changes nothing for those that run after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from cmp_core.console import warn
from cmp_core.plugins.discovery import BUILT_IN_PACKAGES
from cmp_core.plugins.global_state import GlobalState
from cmp_core.plugins.threads import note_started

_ROOTS = {package.partition(".")[0] for package in BUILT_IN_PACKAGES}


class Fence:
    """Brings global state back after plugins, and says once which plugin has changed what."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    @contextmanager
    def around(self, plugin: str, where: str, *, generators: bool = True) -> Iterator[None]:
        """Bring the state of now back at the end, also after an error.

        Args:
            plugin: its name.
            where: what it is called for, such as `cmp_run_started`.
            generators: whether those of random numbers are brought back too.
        """
        state = GlobalState()
        try:
            yield
        finally:
            self.restore(state, plugin, where, generators=generators)

    def restore(
        self, state: GlobalState, plugin: str, where: str, *, generators: bool = True
    ) -> None:
        """Bring a state back after a plugin's call."""
        note_started(plugin, state.threads)
        for what in state.restore(generators=generators):
            if (plugin, what) not in self._told:
                self._told.add((plugin, what))
                warn(f"plugin {plugin} changed {what} in {where}; it was put back")


def is_built_in(plugin: object) -> bool:
    """Return whether all code of a plugin is cmp's own.

    The tests of such plugins hold them to changing nothing, which saves the fence. The listener of
    a metric names the metric's function or class in `code`.
    """
    return all(_root(code) in _ROOTS for code in (plugin, getattr(plugin, "code", plugin)))


def _root(code: object) -> str:
    """Return the package that a module, function, class or object is of."""
    name = code.__name__ if isinstance(code, ModuleType) else getattr(code, "__module__", None)
    return str(name).partition(".")[0]
