"""The errors that a user can cause, and the sentences that name the nearest valid word."""

from __future__ import annotations

import difflib
import errno
import traceback
from collections.abc import Iterable, Sequence
from types import TracebackType

from cmp_core.text import MOST, counted, in_one_line, printable, type_name


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
        count = counted(len(problems), "mistake")
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
    """Return the kind of an error and the first line of its message, in at most 200 characters.

    The message may be anything that the code of others makes of it.

    >>> one_line(ValueError("no\\nmore"))
    'ValueError: no'
    """
    text = message_of(error)
    return in_one_line(f"{type_name(error)}: {text}") if text else type_name(error)


def text_of(error: BaseException, most: int = 2000) -> str:
    """Return an error's message, cut where it is too long, or that it cannot be had."""
    try:
        return str.__getitem__(str(error), slice(0, most))
    except KeyboardInterrupt:
        raise
    except BaseException as failed:  # whatever the code of a plugin raises
        return f"its message cannot be had, __str__ raised {type_name(failed)}"


def message_of(error: BaseException, most: int = MOST) -> str:
    """Return the first line of an error's message, printable, and cut where it is too long."""
    return in_one_line(text_of(error), most)


def reason_of(error: Exception) -> str:
    """Return why something could not be done: of the system's errors, which file was in the way.

    What is printed has no name of a file: where its disk is full, it is standard output.
    """
    if not isinstance(error, OSError) or error.strerror is None:
        return text_of(error)
    if error.filename is not None:
        return f"'{error.filename}': {error.strerror}"
    is_output = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
    return f"{'standard output: ' * is_output}{error.strerror}"


def traceback_of(error: BaseException) -> str:
    """Return an error's traceback with those of its causes, bounded in every way.

    Of a chain of causes it has the last ones, of a traceback the innermost calls, of a group the
    first members. It asks for nothing that the error's class can replace but the message.
    """
    chain = [(error, "")]
    while len(chain) <= _CAUSES:
        last, _ = chain[-1]
        cause, context = _CAUSE.__get__(last), _CONTEXT.__get__(last)
        if cause is not None:
            chain.append((cause, "\nThe exception above is the cause of the following one:\n\n"))
        elif context is not None and not _SUPPRESSED.__get__(last):
            chain.append((context, "\nWhile it was handled, the following one occurred:\n\n"))
        else:
            break
    links = ["", *(link for _, link in reversed(chain[1:]))]
    parts = (_own_traceback(each) for each, _ in reversed(chain))
    return "".join(link + part for link, part in zip(links, parts, strict=True))


_CAUSES, _CALLS, _MEMBERS = 5, 30, 5
"""How much of an error its traceback shows: causes, calls, members of a group."""

_CAUSE, _CONTEXT, _SUPPRESSED, _CALLED, _ATTRIBUTES = (
    vars(BaseException)[f"__{name}__"]
    for name in ("cause", "context", "suppress_context", "traceback", "dict")
)
_GROUP = vars(BaseExceptionGroup)["exceptions"]


def _own_traceback(error: BaseException) -> str:
    """Return the calls that led to an error, and its message with all its lines."""
    calls = printable(_calls(_CALLED.__get__(error)))
    message = printable(text_of(error))
    notes = _ATTRIBUTES.__get__(error).get("__notes__")
    lines = [f"{type_name(error)}: {message}" if message else type_name(error)]
    if isinstance(notes, list):
        lines += [in_one_line(note) for note in notes[:_MEMBERS] if isinstance(note, str)]
    if issubclass(type(error), BaseExceptionGroup):  # `isinstance` asks the error for its class
        members = _GROUP.__get__(error)
        lines += [f"  - {one_line(member)}" for member in members[:_MEMBERS]]
        if len(members) > _MEMBERS:
            lines.append(f"  and {len(members) - _MEMBERS:,} more")
    return "".join(("Traceback (most recent call last):\n", calls, *(f"{x}\n" for x in lines)))


def _calls(begun: TracebackType | None) -> str:
    try:
        return "".join(traceback.format_tb(begun, -_CALLS))
    except KeyboardInterrupt:
        raise
    except BaseException as failed:  # a module may have a loader of its own for its source
        return f"  the calls cannot be had, reading them raised {type_name(failed)}\n"


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
