"""Reasons that hold for many names, such as those of layers, told once for all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from cmp_core.text import in_short

_Entry = tuple[str, tuple[tuple[str, ...], ...]]


def grouped(
    records: Iterable[tuple[str, ...]], several: Callable[[Sequence[str]], str] = in_short
) -> list[_Entry]:
    """Return reasons and the names that they are about, in as few entries as tell all.

    Args:
        records: a reason and one name of each kind, such as a metric and a layer. Those of one
            reason that differ in the last name alone are joined, then those that differ in the one
            before it, and so on. Reasons are alike where only the names differ that they hold.
        several: what stands in a reason for the names of a kind, where there are more than one.

    >>> grouped([("no a", "a", "0"), ("no a", "a", "1"), ("no b", "b", "0"), ("no b", "b", "1")])
    [('no a, b', (('a', 'b'), ('0', '1')))]
    """
    entries: list[_Entry] = [
        (_without(reason, names), tuple((name,) for name in names)) for reason, *names in records
    ]
    for kind in reversed(range(max((len(names) for _, names in entries), default=0))):
        joined: dict[_Entry, dict[str, None]] = {}
        for reason, names in entries:
            others = (*names[:kind], *names[kind + 1 :])
            joined.setdefault((reason, others), {}).update(dict.fromkeys(names[kind]))
        entries = [
            (reason, (*others[:kind], tuple(own), *others[kind:]))
            for (reason, others), own in joined.items()
        ]
    return [(_with(reason, names, several), names) for reason, names in entries]


def _without(reason: str, names: Sequence[str]) -> str:
    """Return a reason with a mark in the place of each name that stands in it as a word."""
    for kind, name in enumerate(names):
        if name:
            reason = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", _mark(kind), reason)
    return reason


def _with(
    reason: str, names: Sequence[Sequence[str]], several: Callable[[Sequence[str]], str]
) -> str:
    for kind, own in enumerate(names):
        reason = reason.replace(_mark(kind), own[0] if len(own) == 1 else several(own))
    return reason


def _mark(kind: int) -> str:
    return chr(0xF0000 + kind)  # of a private area: no text has it
