"""Where cmp prints: results on standard output, warnings and errors on standard error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

T = TypeVar("T")


def out() -> Console:
    """Return a console for results and progress, as wide as the terminal and plain in a pipe."""
    return Console(highlight=False, soft_wrap=True, emoji=False)


def say(text: str) -> None:
    """Print a line of progress or result; square brackets in it are just text."""
    out().print(text, markup=False)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(
        f"warning: {text}", style="yellow", markup=False
    )


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """Yield the items under a progress bar, which a pipe does not show."""
    console = out()
    hidden = not console.is_terminal
    return rich_track(items, what, total, console=console, disable=hidden, transient=True)
