"""Text that is shown: counts and lists of names, and what is anybody's made fit for a line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeGuard

MOST = 200
"""Characters that a text of others has in a line."""

# C0 but for tab and newline, DEL and C1; marks that turn the direction of writing; line and
# paragraph separators; lone surrogates, which no encoding has.
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return a text with what would steer a terminal shown by its code; newlines and tabs stay.

    >>> print(printable("a\x1b[2J\u202e"))
    a\x1b[2J\u202e
    """
    return _UNFIT.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def in_one_line(text: str, most: int = MOST) -> str:
    r"""Return the first line of a text, printable, and cut where it is too long.

    >>> in_one_line("  no\nmore"), in_one_line("123456", 4)
    ('no', '123…')
    """
    # A plain string of no more than is looked at, also of a class that has methods of its own.
    begun = str.__getitem__(text, slice(0, 10 * most)).strip()
    line = printable(begun.splitlines()[0]).strip() if begun else ""
    return line if len(line) <= most else f"{line[: most - 1]}…"


def is_name(text: object) -> TypeGuard[str]:
    r"""Return whether something can be a name in files and on a screen: a text of one plain line.

    See `NAME`.

    >>> is_name("top 5"), is_name("../a"), is_name("a\nb"), is_name(5)
    (True, False, False, False)
    """
    if type(text) is not str or not 0 < len(text) <= LONGEST_NAME or text.startswith("."):
        return False
    return printable(text) == text and not set(text) & set("/\\\n\t")


LONGEST_NAME = 100
NAME = (
    f"a text of 1 to {LONGEST_NAME} characters, without slashes and control characters, that "
    "begins with no dot"
)
"""What can be a name, for messages."""


def described(value: object, most: int = 40) -> str:
    """Return the type of a value and, in one line, its `repr`, also where it has a bad one.

    >>> described([1, 2])
    'list [1, 2]'
    """
    try:
        text = repr(value)
    except KeyboardInterrupt:
        raise
    except BaseException:  # whatever the code of a plugin raises
        return type_name(value)
    return f"{type_name(value)} {in_one_line(text, most)}"


def type_name(value: object) -> str:
    """Return the name of a value's class, whatever its metaclass says."""
    return in_one_line(type.__dict__["__name__"].__get__(type(value)), 100)


def counted(count: int, what: str) -> str:
    """Return a count with what is counted, a regular English noun in the singular.

    >>> counted(1, "epoch"), counted(2048, "test sample"), counted(0, "class")
    ('1 epoch', '2,048 test samples', '0 classes')
    """
    return f"{count:,} {plural(what, count)}"


def plural(what: str, count: float) -> str:
    """Return a regular English noun as it stands after a count.

    >>> plural("seed", 1), plural("seed", 3)
    ('seed', 'seeds')
    """
    if count == 1:
        return what
    return f"{what}{'es' if what.endswith(('s', 'x', 'sh', 'tch')) else 's'}"


def in_short(names: Sequence[str], most: int = 6) -> str:
    """Return a list of names: three or more that are numbered on as a range, of many the first.

    Args:
        names: of layers, for example.
        most: names and ranges that are told; of the other names there is the count.

    >>> in_short([*(f"layer_{i}" for i in range(27)), "head"])
    'layer_0–layer_26, head'
    >>> in_short(["a", "b", "c", "d"], most=2)
    'a, b and 2 more'
    """
    ranges: list[list[str]] = []
    for name in names:
        if ranges and _numbered(name) == _following(ranges[-1][-1]):
            ranges[-1].append(name)
        else:
            ranges.append([name])
    parts = [
        part for own in ranges for part in ([own] if len(own) > 2 else [[name] for name in own])
    ]
    told = ", ".join(own[0] if len(own) == 1 else f"{own[0]}–{own[-1]}" for own in parts[:most])
    left = sum(map(len, parts[most:]))
    return f"{told} and {left:,} more" if left else told


def _numbered(name: str) -> tuple[str, int, str] | None:
    """Return what stands before the last number of a name, the number, and what follows it."""
    found = re.fullmatch(r"(.*?)([0-9]{1,9})(\D*)", name, re.DOTALL)
    return (found[1], int(found[2]), found[3]) if found else None


def _following(name: str) -> tuple[str, int, str] | tuple[()]:
    found = _numbered(name)
    return (found[0], found[1] + 1, found[2]) if found else ()
