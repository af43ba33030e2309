"""The errors that a user can cause, and the sentences that name the nearest valid word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class CmpError(Exception):
    """Something went wrong that the message explains; the command exits with `exit_code`."""

    exit_code = 1


class UsageError(CmpError):
    """What was asked for cannot be done as asked: wrong name, path, value or option."""

    exit_code = 2


class ConfigError(UsageError):
    """All mistakes of a configuration, reported together.

    >>> print(ConfigError(["N: expected a whole number, got '4'"], source="my.yaml"))
    my.yaml has 1 mistake:
      N: expected a whole number, got '4'
    """

    def __init__(self, problems: Sequence[str], source: str = "the configuration") -> None:
        self.problems = tuple(problems)
        count = "1 mistake" if len(problems) == 1 else f"{len(problems):,} mistakes"
        lines = list(problems[:_MOST_PROBLEMS])
        if left := len(problems) - len(lines):
            lines.append(f"… and {left:,} more")
        super().__init__("\n  ".join([f"{source} has {count}:", *lines]))


_MOST_PROBLEMS = 20
"""Mistakes that a message lists."""


class DataError(UsageError):
    """A dataset is missing or cannot be read."""


class UndefinedError(CmpError):
    """A metric has no value here; the message is the reason that the row gives."""


class PluginError(CmpError):
    """A plugin broke a rule of the plugin interface, or raised under `on_plugin_error: raise`."""


class TrainingError(CmpError):
    """Training cannot go on, for example because the loss is no longer finite."""


def one_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its message.

    >>> one_line(ValueError("no\\nmore"))
    'ValueError: no'
    """
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


_LONGEST_NAME = 100
"""Characters of an unknown name that are shown."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return a sentence for an unknown name, with the nearest known one, or all of them.

    >>> unknown("metric", "acuracy", ["accuracy", "margin"])
    "unknown metric 'acuracy'; did you mean 'accuracy'?"
    >>> unknown("model", "transformer", ["mlp", "greedy"])
    "unknown model 'transformer'; known: greedy, mlp"
    """
    name = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
    names = sorted(known)
    # Keys such as `N` differ from a typo by case alone, which difflib counts as a full change.
    folded = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), folded, n=1)
    hint = (
        f"did you mean '{folded[close[0]]}'?" if close else f"known: {', '.join(names) or 'none'}"
    )
    return f"unknown {kind} '{name}'; {hint}"
