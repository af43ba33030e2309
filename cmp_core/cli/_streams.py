"""Output that may be lost in the middle of a training, which goes on without it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import IO, Any, cast


def open_missing_streams() -> None:
    """Open those standard streams that the program was started without, on nothing.

    Otherwise the next file that is opened takes a stream's number, and what is printed goes there.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


class _Lasting:
    """A stream that takes everything, also once nobody reads it or its disk is full.

    Args:
        stream: where text goes as long as it can.
        name: of the stream, for a warning on standard error; none warns of nothing.
    """

    def __init__(self, stream: IO[str], name: str | None = None) -> None:
        self._stream, self._name = stream, name
        self._is_lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        if not self._is_lost:
            try:
                return self._stream.write(text)
            except (OSError, ValueError) as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Write what waits, or drop it."""
        if not self._is_lost:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def close(self) -> None:
        """Stay open: a plugin may not close what the whole program prints to."""

    def _lose(self, error: Exception) -> None:
        self._is_lost = True
        # What waits is written when the program ends, and must not fail then.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        if self._name is not None:
            print(f"warning: {self._name} is lost ({error}); the run goes on", file=sys.stderr)


@contextmanager
def results_alone() -> Iterator[IO[str]]:
    """Give standard output for results alone: what else is printed goes to standard error.

    That holds within a `with` block for code in C and for child processes too.
    """
    results = sys.stdout
    results.flush()
    try:
        descriptor = results.fileno()
    except OSError:  # it is no file, but text in memory
        with redirect_stdout(sys.stderr):
            yield results
        return
    copy = os.dup(descriptor)
    with os.fdopen(copy, "w", encoding=results.encoding, errors=results.errors) as own:
        os.dup2(2, descriptor)
        try:
            with redirect_stdout(sys.stderr):
                yield own
        finally:
            results.flush()
            own.flush()
            os.dup2(own.fileno(), descriptor)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Have standard output and standard error take everything within a `with` block."""
    errors = cast("IO[str]", _Lasting(sys.stderr))
    with redirect_stderr(errors):
        output = cast("IO[str]", _Lasting(sys.stdout, "standard output"))
        with redirect_stdout(output):
            yield
