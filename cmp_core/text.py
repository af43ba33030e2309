"""Text of anybody's, such as a name in a file or a plugin's message, made fit to be shown."""

from __future__ import annotations

import re
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
