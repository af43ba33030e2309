"""What Ctrl-C does, also where a plugin hangs or catches `KeyboardInterrupt`."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from cmp_core.text import in_one_line

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C has ended."""

STOPS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Signals that end a training, which can then be resumed; Windows has no SIGHUP."""

_LAST = 3
"""The how many-th ends the program."""

_PATIENCE = 5.0
"""Seconds that may then still be used to say in the files that the run was interrupted."""


class Interruption:
    """Ctrl-C, and other signals that ask a program to end, counted.

    The first may be heeded later, if it is waited for something then; the second, or otherwise the
    first too, raises `KeyboardInterrupt`; the third ends the program. Python hands a signal over
    between two steps of its own: while code in C runs, it waits.

    Args:
        is_alone: whether one interruption arrives once. Of several processes each has it twice, as
            torchrun sends on what the terminal sends: they are told by the first and by no more.
        waiting_for: returns what is waited for, after the first one.
        last_words: is called before the program is ended.

    Attributes:
        count: how many came.
        waits: whether the first is heeded later, by those that ask for `count`.
    """

    def __init__(
        self,
        *,
        is_alone: bool = True,
        waiting_for: Callable[[], str] | None = None,
        last_words: Callable[[], None] = lambda: None,
    ) -> None:
        self.count = 0
        self.waits = waiting_for is not None
        self._is_alone = is_alone
        self._waiting_for = waiting_for
        self._last_words = last_words

    @contextmanager
    def heeded(self, signals: Iterable[signal.Signals]) -> Iterator[None]:
        """Heed signals within a `with` block, but those that are ignored, as by nohup."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set signal handlers
            return
        # None is a handler that is not Python's, and that Python could not put back.
        left = (signal.SIG_IGN, None)
        heeded = [number for number in signals if signal.getsignal(number) not in left]
        before = {number: signal.signal(number, self._heed) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heed(self, _: int, __: FrameType | None) -> None:
        self.count += 1
        if self.count == 1 and self.waits and self._waiting_for is not None:
            _tell(f"waiting for {in_one_line(self._waiting_for())}")
        elif not self._is_alone and self.waits:
            return
        elif self.count < _LAST:
            raise KeyboardInterrupt
        else:
            self._end()

    def _end(self) -> None:
        end = threading.Timer(_PATIENCE, os._exit, (INTERRUPTED,))
        end.daemon = True
        end.start()
        try:
            self._last_words()
        finally:
            os._exit(INTERRUPTED)


def _tell(text: str) -> None:
    """Write to standard error, past what was printing when the signal came."""
    hint = "Ctrl-C again to stop without waiting, and a third time to end at once"
    with suppress(OSError):  # it is closed
        os.write(2, f"\n{text}; {hint}\n".encode())
