"""Calling event hooks one implementation at a time, so that a failing plugin fails alone."""

from __future__ import annotations

import traceback
from typing import Any

import attrs
import pluggy

from cmp_core.errors import PluginError
from cmp_core.events import LayerActivations, Run


@attrs.frozen
class Failure:
    """What a plugin raised, in which hook, and whether it was switched off for it."""

    plugin: str
    hook: str
    error: str
    traceback: str
    disabled: bool


class Dispatcher:
    """Emits events to the plugins of one run.

    Pluggy itself stops at the first exception; this walks the implementations in pluggy's order
    and applies the policy to each: `disable` unregisters a plugin that raises, `warn` keeps it,
    `raise` stops the run.

    Args:
        manager: holds the plugins.
        run: given to every implementation that asks for it.
        policy: `disable`, `warn` or `raise`.
    """

    def __init__(self, manager: pluggy.PluginManager, run: Run, policy: str = "disable") -> None:
        self.run = run
        self.failures: list[Failure] = []
        self._manager = manager
        self._policy = policy
        self._essential: list[object] = []

    def add_essential(self, plugin: object) -> None:
        """Register a plugin that the run depends on, such as the log.

        Essential plugins are called last, so that they can record what the others did, the first
        one added at the very end; their errors are not isolated but end the run.
        """
        self._essential.append(plugin)
        self._manager.register(plugin)

    def has_listeners(self, hook: str) -> bool:
        """Whether any plugin implements the hook, not counting the essential ones."""
        return any(not self._is_essential(i) for i in self._implementations(hook))

    def is_disabled(self, plugin: object) -> bool:
        """Whether the plugin was switched off."""
        return not self._manager.is_registered(plugin)

    def emit(self, hook: str, event: Any) -> list[tuple[str, Any]]:
        """Call every implementation with the event; return (plugin, result) where not none."""
        results: list[tuple[str, Any]] = []
        is_guarded = isinstance(event, LayerActivations) and self.has_listeners(hook)
        spare = event.copy() if is_guarded else None
        for implementation in self._implementations(hook):
            arguments = {"event": event, "run": self.run}
            try:
                result = implementation.function(
                    *(arguments[name] for name in implementation.argnames)
                )
                _refuse_changes(event)
            except (Exception, SystemExit) as error:
                if self._is_essential(implementation):
                    raise
                self._handle(implementation, hook, error)
            else:
                if result is not None:
                    results.append((implementation.plugin_name, result))
            if spare is not None and event.modified():
                event, spare = spare, spare.copy()
        return results

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        """Return the implementations in pluggy's order of calling, the essential ones last."""
        calling_order = list(reversed(getattr(self._manager.hook, hook).get_hookimpls()))
        return sorted(calling_order, key=self._is_essential)

    def _is_essential(self, implementation: pluggy.HookImpl) -> bool:
        return any(implementation.plugin is plugin for plugin in self._essential)

    def _handle(
        self, implementation: pluggy.HookImpl, hook: str, error: Exception | SystemExit
    ) -> None:
        name = implementation.plugin_name
        if self._policy == "raise":
            raise PluginError(f"plugin '{name}' raised in {hook}: {_describe(error)}") from error
        disabled = self._policy == "disable"
        self.failures.append(
            Failure(
                plugin=name,
                hook=hook,
                error=_describe(error),
                traceback="".join(traceback.format_exception(error)),
                disabled=disabled,
            )
        )
        if disabled:
            self._manager.unregister(implementation.plugin)


def _refuse_changes(event: Any) -> None:
    if isinstance(event, LayerActivations) and (what := event.modified()):
        raise PluginError(f"it changed {what} in place; work on a copy (tensor.clone())")


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
