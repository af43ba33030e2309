"""Where cmp prints: results on standard output, warnings and errors on standard error.

Text may come from a file or a plugin: what would steer a terminal is shown by its code. Of the
processes that `torchrun` has started, only the first prints.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from errno import EPIPE
from textwrap import wrap
from threading import Timer
from typing import NoReturn, TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import track as rich_track
from rich.segment import Segment
from rich.table import Table

from cmp_core.text import printable

T = TypeVar("T")


def under_torchrun() -> bool:
    """Whether `torchrun` has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first_process() -> bool:
    """Whether this is the first process of `torchrun`, or one that it has not started."""
    return not under_torchrun() or os.environ.get("RANK", "0") == "0"


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


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str] = ()
) -> None:
    """Print a table whose cells are never broken.

    Where a terminal is too narrow for it, the name of the first column is a headline, and there is
    a block for each row: its first cell, and below it the others with the names of their columns,
    empty ones left out. A pipe is never too narrow.

    Args:
        columns: their names.
        rows: of one text for each column.
        numbers: columns that are aligned at the right.
    """
    console, rows = out(), list(rows)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            escape(column), no_wrap=True, justify="right" if column in numbers else "left"
        )
    for row in rows:
        table.add_row(*map(escape, row))
    width = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    if width <= console.width or not console.is_terminal:
        console.width = max(console.width, width)
        console.print(table)
        return
    console.print(columns[0], style="bold", markup=False)
    for row in rows:
        say(row[0])
        told = [f"{name} {cell}" for name, cell in zip(columns, row, strict=True) if cell][1:]
        say_indented(f"{_KEPT}· ".join(text.replace(" ", _KEPT) for text in told), 2)


def say_indented(text: str, spaces: int) -> None:
    """Print a text as `folded` gives it."""
    for line in folded(text, out(), spaces):
        say(line)


def folded(text: str, console: Console, spaces: int = 0) -> list[str]:
    """Return the lines of a text: as wide as a terminal, folded between words; in a pipe one.

    It is not folded at a no-break space, which becomes a plain one, and a word is never broken.

    Args:
        text: in one line.
        console: where it is to be printed.
        spaces: before the first line; further ones have two more.
    """
    first, further = " " * spaces, " " * (spaces + 2)
    lines = [f"{first}{text}"]
    if console.is_terminal:
        lines = wrap(
            text,
            console.width,
            initial_indent=first,
            subsequent_indent=further,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return [line.replace(_KEPT, " ") for line in lines]


_KEPT = "\N{NO-BREAK SPACE}"


def track(
    items: Iterable[T], what: str, total: int | None = None, *, line: str = ""
) -> Iterator[T]:
    """Yield the items under a progress bar.

    Args:
        items: what takes its time.
        what: stands beside the bar.
        total: number of items, where they do not tell it themselves.
        line: printed instead of the bar where there is no terminal, once it has taken two seconds.
    """
    console = out()
    if console.is_terminal:
        yield from rich_track(items, what, total, console=console, transient=True)
        return
    timer = Timer(PATIENCE, _say_if_read, [line])
    timer.daemon = True
    if line:
        timer.start()
    try:
        yield from items
    finally:
        timer.cancel()


def _say_if_read(line: str) -> None:
    with suppress(BrokenPipeError):  # what is printed next finds out
        say(line)


PATIENCE = 2.0
"""Seconds without a word that nobody wonders about."""


def _console(*, stderr: bool) -> Console:
    quiet = not is_first_process()
    console = _Console(stderr=stderr, quiet=quiet, highlight=False, soft_wrap=True, emoji=False)
    if console.width < _NARROWEST:
        console.width = _USUAL
    return console


_WIDEST = 100_000
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

    def on_broken_pipe(self) -> NoReturn:
        """Raise where nobody reads any more; rich would end the program, with 1."""
        raise BrokenPipeError(EPIPE, os.strerror(EPIPE))
