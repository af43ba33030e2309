"""What has changed since a run was begun, by its `environment.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cmp_core.console import warn
from cmp_core.errors import UsageError
from cmp_core.runs.directory import ENVIRONMENT, PARAMS, PLUGINS
from cmp_core.runs.environment import read_environment, write_environment
from cmp_core.runs.requirements import pip_line
from cmp_core.text import in_one_line

_COMPUTING = ("chain-of-metric-predictors", "torch", "numpy", "scikit-learn")
"""Packages whose versions decide the numbers of a run."""


@attrs.frozen
class Change:
    """Something that differs from the time when a run was begun.

    Attributes:
        what: and how, such as `torch 2.6.0 is 2.7.0 now`.
        decides: whether the run's numbers would be others than without the change.
    """

    what: str
    decides: bool


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Return what differs between two environments.

    Args:
        before: that of the run; what it does not tell, as in an older version's, is not compared.
        now: as `describe_environment` returns it.

    >>> [change.what for change in changes({"python": "3.11.2"}, {"python": "3.12.1"})]
    ['python 3.11.2 is 3.12.1 now']
    """
    return [*_of_packages(before, now), *_of_plugins(before, now), *_of_machine(before, now)]


def tell_changes(directory: Path, now: Mapping[str, Any]) -> list[Change]:
    """Warn of what has changed since a run was begun, and return it."""
    found = changes(_begun_with(directory), now)
    if found:
        warn(f"since the run was begun: {_listed(found)}")
    return found


def heed_changes(directory: Path, now: Mapping[str, Any], step: int, *, allowed: bool) -> None:
    """Warn of what has changed, and note in `environment.json` from which step on.

    Args:
        directory: of the run.
        now: as `describe_environment` returns it.
        step: from which training goes on.
        allowed: whether the run's numbers may rest on something else from here on.

    Raises:
        UsageError: they would, and may not.
    """
    before = _begun_with(directory)
    if not before:
        write_environment(directory, now)
    found = changes(before, now)
    if not allowed and any(change.decides for change in found):
        copies = ""
        if _edited(before, now) and (directory / PLUGINS).is_dir():
            copies = (
                "go on with the plugin files that the run has kept by --plugins-from-run, which "
                "runs the code in its directory, "
            )
        raise UsageError(
            f"'{directory}' was begun with something else: {_listed(found)}. What follows would "
            "not be of one run with what is there: bring that back, begin anew with "
            f"cmp run -c '{directory / PARAMS}', {copies}or go on all the same with --allow-changes"
        )
    if found:
        entry = {"step": step, "what": [change.what for change in found]}
        noted = [*before.get("changes", []), entry]
        write_environment(directory, {**now, "command": before.get("command"), "changes": noted})
        warn(f"since the run was begun: {_listed(found)}")


def _begun_with(directory: Path) -> dict[str, Any]:
    """Return a run's environment, empty where there is none that can be read, which is told."""
    problems: list[str] = []
    before = read_environment(directory, problems)
    if not before:
        why = problems[0] if problems else f"'{directory / ENVIRONMENT}' is missing"
        warn(f"{why}; whether anything has changed since the run was begun cannot be told")
    return before


def _listed(found: Sequence[Change]) -> str:
    """Return the changes in a line that is not too long, whatever the run's file says."""
    more = [f"{len(found) - _MOST:,} more"] if len(found) > _MOST else []
    return "; ".join([*(in_one_line(change.what) for change in found[:_MOST]), *more])


_MOST = 20
"""Changes that a message lists."""


def _of_packages(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    there = _mapping(now, "packages")
    for name, version in _mapping(before, "packages").items():
        if name in there and there[name] != version:
            yield Change(f"{name} {version} is {there[name]} now", name in _COMPUTING)


def _of_plugins(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    there = _mapping(now, "plugins")
    required, installed = (_mapping(told, "plugin_packages") for told in (before, now))
    others = {name for name in installed if required.get(name, installed[name]) != installed[name]}
    edited = _edited(before, now)
    for name in _mapping(before, "plugins"):
        if name not in there:
            line = pip_line(required.get(name))
            how = f" ({line})" if line else ""
            yield Change(f"the plugin {name} is not loaded now{how}", decides=True)
        elif name in others:
            versions = f"{required[name]} is {installed[name]} now"
            yield Change(f"of the plugin {name}, {versions}", decides=True)
        elif name in edited:
            yield Change(f"the file of the plugin {name} has been edited", decides=True)
    if isinstance(before.get("plugins"), Mapping):
        for name in there.keys() - _mapping(before, "plugins").keys():
            yield Change(f"the plugin {name} is new", decides=False)


def _edited(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """Return the plugins whose files were others."""
    there, was = _mapping(now, "plugins"), _mapping(before, "plugins")
    return {name for name in there if was.get(name, there[name]) != there[name]}


def _of_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    for name in ("device", "gpu", "processes", "threads", "python", "platform"):
        if name in before and name in now and before[name] != now[name]:
            # These round sums in another way, and are what `--set device=…` or a move asks for.
            yield Change(f"{name} {before[name]} is {now[name]} now", decides=False)
    if "params" in before and before["params"] != now.get("params"):
        yield Change(f"{PARAMS} has been edited", decides=True)
    data, found = _mapping(before, "data"), _mapping(now, "data")
    if data and found and data != found:
        names = ("train", "val", "test")
        sizes, counts = ([told.get(name) for name in names] for told in (data, found))
        what = f"train, val and test samples {sizes} are {counts}" if sizes != counts else "labels"
        yield Change(f"the data are others: {what} now", decides=True)


def _mapping(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a mapping inside another one, empty where it is none."""
    found = content.get(name)
    return found if isinstance(found, Mapping) else {}
