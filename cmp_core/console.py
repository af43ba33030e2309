"""Where cmp prints: results on standard output, warnings and errors on standard error.

Text may come from a file or a plugin: what would steer a terminal is shown by its code. Of the
processes that `torchrun` has started, only the first prints.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import track as rich_track
from rich.segment import Segment

from cmp_core.text import printable

T = TypeVar("T")


def is_first_process() -> bool:
    """Whether this is the first process of `torchrun`, or one that it has not started."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


def out() -> Console:
    """Return a console for results and progress, as wide as the terminal and plain in a pipe."""
    return _console(stderr=False)


def say(text: str) -> None:
    """Print a line of progress or result; square brackets in it are just text."""
    out().print(printable(text), markup=False)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    _console(stderr=True).print(printable(f"warning: {text}"), style="yellow", markup=False)


def complain(text: str) -> None:
    """Print the error that ends a command, or spoils a part of it, on standard error."""
    _console(stderr=True).print(printable(f"error: {text}"), markup=False)


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """Yield the items under a progress bar, which a pipe does not show."""
    console = out()
    hidden = not console.is_terminal
    return rich_track(items, what, total, console=console, disable=hidden, transient=True)


def _console(*, stderr: bool) -> Console:
    quiet = not is_first_process()
    console = _Console(stderr=stderr, quiet=quiet, highlight=False, soft_wrap=True, emoji=False)
    if console.width < _NARROWEST:
        console.width = _USUAL
    return console


_NARROWEST, _USUAL = 20, 80
"""Columns: no terminal has fewer than the first; where COLUMNS says so, the second are taken."""


class _Console(Console):
    """A console whose texts hold nothing that steers the terminal but its own colours."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)
