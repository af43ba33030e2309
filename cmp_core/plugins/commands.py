"""The commands that installed plugins add to `cmp`."""

from __future__ import annotations

from collections.abc import Collection
from importlib import metadata

import click

from cmp_core.errors import UsageError, one_line
from cmp_core.events.hookspecs import COMMANDS
from cmp_core.plugins.discovery import (
    adds_commands,
    allowed,
    check_allowed,
    entry_points,
    origin_of,
)
from cmp_core.plugins.fence import Fence
from cmp_core.plugins.loader import LOADING, Broken, check_hooks, load_entry_point, new_manager


def load_commands(taken: Collection[str]) -> tuple[dict[str, click.Command], tuple[Broken, ...]]:
    """Return the commands of installed plugins, and the plugins whose commands cannot be had.

    Imports those plugins alone whose source has the hook.

    Args:
        taken: names of commands that no plugin may add.

    Raises:
        UsageError: `CMP_PLUGINS` names a plugin that is not installed.
    """
    check_allowed()
    fence = Fence()
    commands: dict[str, click.Command] = {}
    broken: list[Broken] = []
    for entry in entry_points():
        if allowed(entry) and adds_commands(entry):
            try:
                with fence.around(entry.name, LOADING):
                    commands |= _commands_of(entry, (*taken, *commands))
            except UsageError as error:
                broken.append(Broken(entry.name, str(error)))
    return commands, tuple(broken)


def _commands_of(entry: metadata.EntryPoint, taken: Collection[str]) -> dict[str, click.Command]:
    plugin, manager, group = load_entry_point(entry), new_manager(), click.Group()
    try:
        manager.register(plugin, entry.name)
        check_hooks(manager, plugin)
        for implementation in getattr(manager.hook, COMMANDS).get_hookimpls():
            implementation.function(*[group] * len(implementation.argnames))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise UsageError(f"{origin_of(entry)}: {one_line(error)}") from error
    for name in group.commands:
        if name in taken:
            raise UsageError(f"{origin_of(entry)}: there is a command '{name}' already")
    return dict(group.commands)
