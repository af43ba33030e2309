"""Calling event hooks one implementation at a time, so that a failing plugin fails alone."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any

import attrs
import pluggy

from cmp_core.errors import PluginError, one_line
from cmp_core.events import hookspecs
from cmp_core.events.payloads import Event, Run
from cmp_core.events.rows import Row
from cmp_core.layers.layer import Layer
from cmp_core.plugins.failures import Failure, failure_of, fatal_error
from cmp_core.plugins.fence import Fence, is_built_in
from cmp_core.plugins.global_state import GlobalState

_HOOKS = tuple(
    name
    for name in vars(hookspecs)
    if name.startswith("cmp_") and not name.startswith("cmp_register_")
)

_KINDS = 20
"""Errors of a plugin that are kept; further ones are counted with the newest of these."""


@attrs.frozen
class Call:
    """A plugin that has been called and has not answered yet.

    Attributes:
        plugin, hook: which one, and for what.
        since: when, on the clock of `time.monotonic`.
    """

    plugin: str
    hook: str
    since: float


class Dispatcher:
    """Emits events to the plugins of one run.

    Pluggy itself stops at the first exception; this walks the implementations one by one and
    applies the policy to each: `disable` calls a plugin that raises no longer, `warn` keeps it,
    `raise` stops the run. Plugins that are not built in are handed a copy of the event, which they
    must not change, and leave the global state as it was, see `Fence`. The tests hold the others to
    both. All are handed a copy of the run, but for essential ones.
    Any exception is an error of the plugin's but `KeyboardInterrupt`, which is Ctrl-C.

    Args:
        manager: holds the plugins. It is read when the first event is emitted, and asked nothing
            afterwards: a plugin that gets hold of it cannot unregister others.
        run: of which every implementation that asks for it is given a copy.
        policy: `disable`, `warn` or `raise`.

    Attributes:
        pending: the call of a plugin that is going on, or none.
    """

    def __init__(self, manager: pluggy.PluginManager, run: Run, policy: str = "disable") -> None:
        self.run = run
        self._manager = manager
        self._policy = policy
        self.fence = Fence()
        self.pending: Call | None = None
        self._essential: dict[int, object] = {}
        self._disabled: dict[int, object] = {}
        self._ordered: dict[str, list[pluggy.HookImpl]] = {}
        self._runs: dict[str, Run] = {}
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
        for hook, ordered in self._ordered.items():
            listed = getattr(self._manager.hook, hook).get_hookimpls()
            own = [i for i in listed if i.plugin is plugin]
            self._ordered[hook] = [*(i for i in ordered if i.plugin is not plugin), *own]

    def remove_essential(self, plugin: object) -> None:
        """Call a plugin no longer that `add_essential` has registered."""
        del self._essential[id(plugin)]
        self._drop(plugin)

    def has_listeners(self, hook: str) -> bool:
        """Whether any plugin implements the hook, not counting the essential ones."""
        return any(not self._is_essential(i.plugin) for i in self._implementations(hook))

    def is_disabled(self, plugin: object) -> bool:
        """Whether the plugin was switched off."""
        return id(plugin) in self._disabled

    def emit(self, hook: str, event: Event) -> dict[str, Any]:
        """Call every implementation with the event; return what they answered, by plugin."""
        answers: dict[str, Any] = {}
        fatal: Exception | None = None
        implementations = self._implementations(hook)
        others = [i for i in implementations if not self._is_essential(i.plugin)]
        is_fenced = bool(others) and not is_built_in(others[0].plugin)
        state = GlobalState() if is_fenced else None
        shown = event.copy() if is_fenced else event
        for implementation in others:
            if state is not None and is_built_in(implementation.plugin):
                state = None
                shown.drop_copies()
            try:
                answers[implementation.plugin_name] = self._call(implementation, hook, shown, state)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                fatal = self._handle(implementation.plugin, implementation.plugin_name, hook, error)
                if fatal is not None:
                    break
                if state is not None:  # it may have replaced what the event holds
                    shown = event.copy()
        answers |= self._answers_of_essential(implementations[len(others) :], hook, event, fatal)
        return answers

    def emit_to_essential(self, hook: str, event: Event) -> None:
        """Call the implementations of essential plugins alone."""
        essential = [i for i in self._implementations(hook) if self._is_essential(i.plugin)]
        self._answers_of_essential(essential, hook, event, None)

    def fail(self, plugin: object, hook: str, error: BaseException) -> None:
        """Treat a plugin that is not essential like one that has raised an error in a hook.

        Raises:
            Exception: the policy is `raise`.
        """
        fatal = self._handle(plugin, self._name_of(plugin), hook, error)
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
                answers[implementation.plugin_name] = self._answer(implementation, event, self.run)
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
            PluginError: a plugin that is not built in has written into the event.
        """
        name = implementation.plugin_name
        held = None if state is None else list(_held(event))
        self.pending = Call(name, hook, monotonic())
        try:
            answer = self._answer(implementation, event, self._run_of(name))
        finally:
            self.pending = None
            if state is not None:
                self.fence.restore(state, name, hook)
        if held is None:
            return answer
        if what := event.modified():
            raise PluginError(f"it changed {what} in place; work on a copy (tensor.clone())")
        if not _are_same(held, list(_held(event))):
            raise PluginError("it changed the event, which may be read only")
        return answer

    def _answer(self, implementation: pluggy.HookImpl, event: Event, run: Run) -> Any:
        arguments = {"event": event, "run": run}
        return implementation.function(*(arguments[name] for name in implementation.argnames))

    def _run_of(self, plugin: str) -> Run:
        """Return a plugin's own copy of the run."""
        if plugin not in self._runs:
            self._runs[plugin] = copy.deepcopy(self.run)
        return self._runs[plugin]

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        """Return the implementations in pluggy's order of calling, the essential ones last.

        Those of others come before the built-in ones, whose statistics need no guard by values.
        """
        if not self._ordered:
            self._ordered = {name: self._in_order(name) for name in _HOOKS}
        return self._ordered[hook]

    def _in_order(self, hook: str) -> list[pluggy.HookImpl]:
        listed = getattr(self._manager.hook, hook).get_hookimpls()  # essential ones in our order
        ordered = [i for i in reversed(listed) if not self._is_essential(i.plugin)]
        ordered.sort(key=lambda i: is_built_in(i.plugin))
        return ordered + [i for i in listed if self._is_essential(i.plugin)]

    def _name_of(self, plugin: object) -> str:
        listed = (i for ordered in self._ordered.values() for i in ordered if i.plugin is plugin)
        name = next((i.plugin_name for i in listed), None)
        return name or str(self._manager.get_name(plugin))

    def _drop(self, plugin: object) -> None:
        for hook, ordered in self._ordered.items():
            self._ordered[hook] = [i for i in ordered if i.plugin is not plugin]
        if self._manager.is_registered(plugin):
            self._manager.unregister(plugin)

    def _is_essential(self, plugin: object) -> bool:
        return id(plugin) in self._essential

    def _handle(
        self, plugin: object, name: str, hook: str, error: BaseException
    ) -> Exception | None:
        """Record the error, apply the policy, and return what must end the run, if anything."""
        if self._is_essential(plugin):
            return error if isinstance(error, Exception) else PluginError(one_line(error))
        key = name, hook, one_line(error)
        of_plugin = [other for other in self._failures if other[0] == name]
        if key not in self._failures and len(of_plugin) >= _KINDS:
            key = of_plugin[-1]
        known = self._failures.pop(key, None)  # the newest comes last
        self._failures[key] = (
            attrs.evolve(known, count=known.count + 1)
            if known
            else failure_of(name, hook, error, self._policy)
        )
        if self._policy == "disable":
            self._disabled[id(plugin)] = plugin
            self._drop(plugin)
        if self._policy != "raise":
            return None
        return fatal_error(name, hook, error)


def _held(value: object) -> Iterator[object]:
    """Yield what a payload holds: its attributes, and those of its rows and layers."""
    for field in attrs.fields(type(value)):  # type: ignore[arg-type]
        held = getattr(value, field.name)
        yield held
        parts = held if isinstance(held, tuple) else (held,)
        for part in parts:
            if isinstance(part, Row | Layer):
                yield from _held(part)


def _are_same(held: Sequence[object], others: Sequence[object]) -> bool:
    return len(held) == len(others) and all(a is b for a, b in zip(held, others, strict=True))
