"""What plugins have registered: factories by kind and name, each with the plugin that did it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import attrs

from cmp_core.errors import UsageError, unknown
from cmp_core.text import in_one_line


def definition_of(factory: object, kind: str) -> Any:
    """Return what the decorator of a kind, `@metric` or `@plot`, has declared of a factory.

    Raises:
        UsageError: it is not under the decorator.
    """
    definition = getattr(factory, f"{kind}_definition", None)
    if definition is None:
        name = getattr(factory, "__name__", repr(factory))
        raise UsageError(f"'{name}' is not declared to be a {kind}: put @{kind}(...) above it")
    return definition


def declared_in(plugin: object, kind: str) -> Iterator[Any]:
    """Yield what a module defines under the decorator of a kind, once each, in source order.

    What it has imported is another module's, and a subclass is not what its base was declared to
    be; an object that is a plugin declares nothing.
    """
    seen: set[int] = set()
    for value in vars(plugin).values() if isinstance(plugin, ModuleType) else ():
        if (
            callable(value)
            and getattr(value, "__module__", None) == plugin.__name__  # type: ignore[attr-defined]
            and f"{kind}_definition" in getattr(value, "__dict__", {})
            and id(value) not in seen
        ):
            seen.add(id(value))
            yield value


@attrs.frozen
class Entry:
    """A registered factory and where it comes from."""

    factory: Callable[..., Any]
    plugin: str
    origin: str

    @property
    def summary(self) -> str:
        """The first line of the factory's docstring."""
        return in_one_line(inspect.getdoc(self.factory) or "")


class Registry:
    """Factories by kind (`metric`, `dataset`, …) and name.

    >>> registry = Registry()
    >>> registry.add("metric", "zero", lambda: 0, plugin="a", origin="a.py")
    >>> registry.get("metric", "zero").plugin
    'a'
    """

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Entry]] = {}

    def add(
        self, kind: str, name: str, factory: Callable[..., Any], plugin: str, origin: str
    ) -> None:
        """File a factory.

        Raises:
            UsageError: another one of this kind has the name.
        """
        entries = self._entries.setdefault(kind, {})
        if name in entries:
            raise UsageError(
                f"the {kind} '{name}' is registered already, by {entries[name].origin}; "
                f"leave that one out with -p no:{entries[name].plugin}"
            )
        entries[name] = Entry(factory, plugin, origin)

    def remove(self, plugin: str) -> None:
        """Forget what a plugin has registered."""
        for kind, entries in self._entries.items():
            kept = {name: entry for name, entry in entries.items() if entry.plugin != plugin}
            self._entries[kind] = kept

    def get(self, kind: str, name: str) -> Entry:
        """Return the entry of a name.

        Raises:
            UsageError: nothing of this kind has the name; the message gives the nearest one.
        """
        entries = self._entries.get(kind, {})
        if name not in entries:
            raise UsageError(unknown(kind, name, entries))
        return entries[name]

    def of(self, plugin: str) -> list[tuple[str, str, Entry]]:
        """Return all that a plugin registered: kind, name and entry."""
        return [
            (kind, name, entry)
            for kind, entries in self._entries.items()
            for name, entry in sorted(entries.items())
            if entry.plugin == plugin
        ]

    def names(self, kind: str, plugin: str | None = None) -> list[str]:
        """Return the names of a kind, of one plugin or of all, in alphabetical order."""
        entries = self._entries.get(kind, {})
        return sorted(n for n, entry in entries.items() if plugin in (None, entry.plugin))
