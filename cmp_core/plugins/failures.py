"""What a plugin raised, as it is recorded and told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from cmp_core.errors import PluginError, one_line, traceback_of
from cmp_core.runs.directory import write_whole


@attrs.frozen
class Failure:
    """What a plugin raised, in which hook, how often, and whether it was switched off for it."""

    plugin: str
    hook: str
    error: str
    traceback: str
    disabled: bool
    count: int = 1


def failure_of(plugin: str, hook: str, error: BaseException, policy: str) -> Failure:
    """Return the record of an error under a policy, `disable`, `warn` or `raise`."""
    return Failure(
        plugin=plugin,
        hook=hook,
        error=one_line(error),
        traceback=traceback_of(error),
        disabled=policy == "disable",
    )


def fatal_error(plugin: str, hook: str, error: BaseException) -> PluginError:
    """Return the error with which the policy `raise` ends a run."""
    fatal = PluginError(f"plugin '{plugin}' raised in {hook}: {one_line(error)}")
    fatal.__cause__ = error
    return fatal


def write_plugin_errors(path: Path, failures: Sequence[Failure]) -> None:
    """Write the tracebacks of what plugins raised, if any did."""
    if failures:
        tracebacks = (f"{f.plugin} in {f.hook}, {f.count}×\n{f.traceback}" for f in failures)
        write_whole(path, "\n".join(tracebacks))
