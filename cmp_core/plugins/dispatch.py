"""Calling event hooks one implementation at a time, so that a failing plugin fails alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import pluggy

from cmp_core.errors import PluginError, one_line
from cmp_core.events.payloads import Event, Run
from cmp_core.plugins.failures import Failure, failure_of, fatal_error
from cmp_core.plugins.fence import Fence, is_built_in
from cmp_core.plugins.global_state import GlobalState


class Dispatcher:
    """Emits events to the plugins of one run.

    Pluggy itself stops at the first exception; this walks the implementations one by one and
    applies the policy to each: `disable` unregisters a plugin that raises, `warn` keeps it,
    `raise` stops the run. Plugins are handed a copy of the event, and those that are not built in
    leave the global state as it was, see `Fence`; essential ones get the event itself.

    Args:
        manager: holds the plugins.
        run: given to every implementation that asks for it.
        policy: `disable`, `warn` or `raise`.
    """

    def __init__(self, manager: pluggy.PluginManager, run: Run, policy: str = "disable") -> None:
        self.run = run
        self._manager = manager
        self._policy = policy
        self.fence = Fence()
        self._essential: dict[int, object] = {}
        self._ordered: dict[str, tuple[list[pluggy.HookImpl], list[pluggy.HookImpl]]] = {}
        self._failures: dict[tuple[str, str, str], Failure] = {}

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What went wrong so far; the same error of a plugin in a hook stands there once."""
        return tuple(self._failures.values())

    def failure_counts(self) -> Counter[str]:
        """Return how often each plugin has failed."""
        counts: Counter[str] = Counter()
        for failure in self._failures.values():
            counts[failure.plugin] += failure.count
        return counts

    def add_essential(self, plugin: object) -> None:
        """Register a plugin that the run depends on, such as the log.

        Essential plugins are called after all others, so that they can record what those did, and
        in the order in which they were added. Their errors are not isolated: they end the run,
        once all essential plugins have been called.
        """
        self._essential[id(plugin)] = plugin
        if not self._manager.is_registered(plugin):
            self._manager.register(plugin)

    def remove_essential(self, plugin: object) -> None:
        """Call a plugin no longer that `add_essential` has registered."""
        del self._essential[id(plugin)]
        self._manager.unregister(plugin)

    def has_listeners(self, hook: str) -> bool:
        """Whether any plugin implements the hook, not counting the essential ones."""
        return any(not self._is_essential(i.plugin) for i in self._implementations(hook))

    def is_disabled(self, plugin: object) -> bool:
        """Whether the plugin was switched off."""
        return not self._manager.is_registered(plugin)

    def emit(self, hook: str, event: Event) -> dict[str, Any]:
        """Call every implementation with the event; return what they answered, by plugin."""
        answers: dict[str, Any] = {}
        fatal: Exception | None = None
        implementations = self._implementations(hook)
        others = [i for i in implementations if not self._is_essential(i.plugin)]
        exact = bool(others) and not is_built_in(others[0].plugin)
        state = GlobalState() if exact else None
        shown = event.copy(exact=exact) if others else event
        for implementation in others:
            if exact and is_built_in(implementation.plugin):
                exact, state = False, None
                shown.drop_copies()
            try:
                answers[implementation.plugin_name] = self._call(implementation, hook, shown, state)
            except (Exception, SystemExit) as error:
                fatal = self._handle(implementation.plugin, implementation.plugin_name, hook, error)
                if fatal is not None:
                    break
                if shown.modified(exact=exact):
                    shown = event.copy(exact=exact)
        answers |= self._answers_of_essential(implementations[len(others) :], hook, event, fatal)
        return answers

    def emit_to_essential(self, hook: str, event: Event) -> None:
        """Call the implementations of essential plugins alone."""
        essential = [i for i in self._implementations(hook) if self._is_essential(i.plugin)]
        self._answers_of_essential(essential, hook, event, None)

    def fail(self, plugin: object, hook: str, error: Exception) -> None:
        """Treat a plugin that is not essential like one that has raised an error in a hook.

        Raises:
            Exception: the policy is `raise`.
        """
        fatal = self._handle(plugin, str(self._manager.get_name(plugin)), hook, error)
        if fatal is not None:
            raise fatal

    def record(self, name: str, hook: str, error: Exception) -> None:
        """Record what went wrong with something that ran beside the plugins, and is off now."""
        self._failures[name, hook, one_line(error)] = failure_of(name, hook, error, "disable")

    def _answers_of_essential(
        self,
        implementations: list[pluggy.HookImpl],
        hook: str,
        event: Event,
        fatal: Exception | None,
    ) -> dict[str, Any]:
        """Return what essential plugins answer.

        Raises:
            Exception: what is already fatal, or the first error of theirs; after all were called.
        """
        answers: dict[str, Any] = {}
        for implementation in implementations:
            try:
                answers[implementation.plugin_name] = self._answer(implementation, event)
            except (Exception, SystemExit) as error:
                fatal = fatal or self._handle(
                    implementation.plugin, implementation.plugin_name, hook, error
                )
        if fatal is not None:
            raise fatal
        return answers

    def _call(
        self,
        implementation: pluggy.HookImpl,
        hook: str,
        event: Event,
        state: GlobalState | None,
    ) -> Any:
        """Return what a plugin answers, with the global state of before if it is given.

        Raises:
            PluginError: the plugin has written into the event.
        """
        try:
            answer = self._answer(implementation, event)
        finally:
            if state is not None:
                self.fence.restore(state, implementation.plugin_name, hook)
        if what := event.modified(exact=state is not None):
            raise PluginError(f"it changed {what} in place; work on a copy (tensor.clone())")
        return answer

    def _answer(self, implementation: pluggy.HookImpl, event: Event) -> Any:
        arguments = {"event": event, "run": self.run}
        return implementation.function(*(arguments[name] for name in implementation.argnames))

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        """Return the implementations in pluggy's order of calling, the essential ones last.

        Those of others come before the built-in ones, whose statistics need no guard by values.
        """
        listed = getattr(self._manager.hook, hook).get_hookimpls()  # essential ones in our order
        known, ordered = self._ordered.get(hook, (None, []))
        if listed != known:
            ordered = [i for i in reversed(listed) if not self._is_essential(i.plugin)]
            ordered.sort(key=lambda i: is_built_in(i.plugin))
            ordered += [i for i in listed if self._is_essential(i.plugin)]
            self._ordered[hook] = listed, ordered
        return ordered

    def _is_essential(self, plugin: object) -> bool:
        return id(plugin) in self._essential

    def _handle(
        self, plugin: object, name: str, hook: str, error: Exception | SystemExit
    ) -> Exception | None:
        """Record the error, apply the policy, and return what must end the run, if anything."""
        if self._is_essential(plugin):
            return error if isinstance(error, Exception) else PluginError(one_line(error))
        described = one_line(error)
        known = self._failures.pop((name, hook, described), None)  # the newest comes last
        self._failures[name, hook, described] = (
            attrs.evolve(known, count=known.count + 1)
            if known
            else failure_of(name, hook, error, self._policy)
        )
        if self._policy == "disable":
            self._manager.unregister(plugin)
        if self._policy != "raise":
            return None
        return fatal_error(name, hook, error)
