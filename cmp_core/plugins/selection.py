"""What a configuration selects of the registered metrics or plots, each with its options."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any, Literal

from cmp_core.config.schema import Selection
from cmp_core.errors import ConfigError, UsageError, unknown
from cmp_core.plugins.discovery import BLOCK
from cmp_core.plugins.loader import Plugins
from cmp_core.plugins.registry import definition_of

_ALL = Selection("all", "all")
"""An entry of `metrics` or `plots` that stands for all that are registered."""


def select(plugins: Plugins, kind: str, asked: Literal["all"] | tuple[Selection, ...]) -> list[Any]:
    """Return what is selected of a kind, as its definition makes it of label and options.

    Args:
        plugins: whose registry is searched; what those named with `-p` register is selected too.
        kind: `metric` or `plot`.
        asked: the configuration's entry.

    Raises:
        ConfigError: unknown names, options, or option values, all of them together.
    """
    listed = (_ALL,) if asked == "all" else asked
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

    `all` stands for all that is registered but those whose label another entry has, and
    `no:NAME` takes one out of it; entries of that kind alone take them out of all. Without
    `all`, what named plugins have registered is added.
    """
    left_out = {s.name.removeprefix(BLOCK) for s in asked if s.name.startswith(BLOCK)}
    listed = [(f"{kind}s[{i}]", s) for i, s in enumerate(asked) if not s.name.startswith(BLOCK)]
    if asked and not listed:
        listed = [(f"{kind}s", _ALL)]
    if _ALL in (selection for _, selection in listed):
        taken = {selection.label for _, selection in listed}
        names = plugins.registry.names(kind)
    else:
        taken = {selection.name for _, selection in listed}
        own = (plugins.registry.names(kind, plugin) for plugin in plugins.named)
        names = list(chain.from_iterable(own))
    added = [name for name in names if name not in taken | left_out]
    kept = [(where, selection) for where, selection in listed if selection != _ALL]
    return [*kept, *((f"{kind}s", Selection(name, name)) for name in added)]
