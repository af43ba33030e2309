"""Tests of `cmp_core.events.hookspecs`: hooks as plugins may rely on them."""

from __future__ import annotations

import inspect

import pluggy

from cmp_core.events import hookspecs
from cmp_core.events.hookspecs import COMMANDS, PROJECT, REGISTRATIONS, hookimpl

HOOKS = [name for name in vars(hookspecs) if name.startswith("cmp_")]


def test_every_hook_is_documented_and_takes_what_its_kind_takes() -> None:
    for name in HOOKS:
        hook = getattr(hookspecs, name)
        wanted = ["event", "run"]
        if name in REGISTRATIONS or name == COMMANDS:
            wanted = ["cli"] if name == COMMANDS else ["register"]
        assert list(inspect.signature(hook).parameters) == wanted
        assert inspect.getdoc(hook)


def test_a_plugin_may_take_any_subset_of_the_arguments() -> None:
    class Plugin:
        @hookimpl
        def cmp_epoch_finished(self, run: object) -> object:
            return run

    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(Plugin())
    manager.check_pending()
    assert manager.hook.cmp_epoch_finished(event=1, run=2) == [2]
