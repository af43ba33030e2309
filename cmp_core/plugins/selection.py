"""What a configuration selects of the registered metrics or plots, each with its options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from cmp_core.config.schema import Selection
from cmp_core.errors import ConfigError, UsageError, unknown
from cmp_core.plugins.discovery import BLOCK
from cmp_core.plugins.loader import Plugins
from cmp_core.plugins.registry import definition_of

GROUPS = {"metric": ("all",), "plot": ("standard", "all")}
"""Entries of `metrics` and `plots` that stand for several; the first where none is selected."""


def select(plugins: Plugins, kind: str, asked: str | tuple[Selection, ...]) -> list[Any]:
    """Return what is selected of a kind, as its definition makes it of label and options.

    Args:
        plugins: whose registry is searched; what those named with `-p` register is selected too.
        kind: `metric` or `plot`.
        asked: the configuration's entry: one of the kind's `GROUPS`, or a list.

    Raises:
        ConfigError: unknown names, options, or option values, all of them together.
    """
    listed = (Selection(asked, asked),) if isinstance(asked, str) else asked
    known, problems, selected = plugins.registry.names(kind), [], []
    for index, selection in enumerate(listed):
        name = selection.name.removeprefix(BLOCK)
        if name == selection.name:
            continue
        if name in (other.name for other in listed):
            problems.append(f"{kind}s[{index}]: {name} is both listed and left out")
        elif name not in known:
            problems.append(f"{kind}s[{index}]: {unknown(kind, name, known)}")
    chosen = _expanded(plugins, kind, listed)
    for where, selection in chosen:
        try:
            factory = plugins.registry.get(kind, selection.name).factory
            selected.append(definition_of(factory, kind)(selection.label, **selection.options))
        except UsageError as error:
            problems.append(f"{where}: {error}")
    for label, count in Counter(selection.label for _, selection in chosen).items():
        if count > 1:
            problems.append(f"{kind}s: two have the label '{label}'; give one another `label:`")
    if problems:
        raise ConfigError(problems)
    return selected


def _expanded(
    plugins: Plugins, kind: str, asked: tuple[Selection, ...]
) -> list[tuple[str, Selection]]:
    """Return what is selected, each with where it was asked for.

    A group stands for its members but those whose label another entry has, and `no:NAME` takes one
    out of it; entries of that kind alone take them out of the kind's first group. Without a group,
    what named plugins have registered is added.
    """
    groups = GROUPS[kind]
    left_out = {s.name.removeprefix(BLOCK) for s in asked if s.name.startswith(BLOCK)}
    listed = [(f"{kind}s[{i}]", s) for i, s in enumerate(asked) if not s.name.startswith(BLOCK)]
    if asked and not listed:
        listed = [(f"{kind}s", Selection(groups[0], groups[0]))]
    wanted = [s.name for _, s in listed if s.name in groups and s == Selection(s.name, s.name)]
    kept = [(where, selection) for where, selection in listed if selection.name not in wanted]
    taken = {selection.label if wanted else selection.name for _, selection in kept}
    own = chain.from_iterable(plugins.registry.names(kind, plugin) for plugin in plugins.named)
    names = dict.fromkeys([*chain.from_iterable(_members(plugins, kind, wanted)), *own])
    added = [name for name in names if name not in taken | left_out]
    return [*kept, *((f"{kind}s", Selection(name, name)) for name in added)]


def _members(plugins: Plugins, kind: str, groups: Sequence[str]) -> Iterator[list[str]]:
    """Yield the names that each group stands for."""
    names = plugins.registry.names(kind)
    for group in groups:
        yield [
            name
            for name in names
            if group == "all"
            or definition_of(plugins.registry.get(kind, name).factory, kind).standard
        ]
