"""Threads that a plugin has started, and what ends a program in spite of them."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import active_children
from weakref import WeakKeyDictionary

from cmp_core.console import warn

PATIENCE = 10.0
"""Seconds that threads may take after the program's work, to end what they do."""

_STARTED_BY: WeakKeyDictionary[threading.Thread, str] = WeakKeyDictionary()
"""Which plugin was called when a thread was started; a thread belongs to the whole process."""


def note_started(plugin: str, before: Iterable[threading.Thread]) -> None:
    """Note which threads a plugin has started, given those from before its call."""
    for thread in set(threading.enumerate()).difference(before):
        _STARTED_BY.setdefault(thread, plugin)


def end_in_time(code: int, patience: float = PATIENCE) -> None:
    """Let the program end with a code even if threads or child processes never do.

    Python waits for them at its end, without a limit. What they print until then is kept.
    """
    threading.Thread(target=_end, args=(code, patience), daemon=True).start()


def _end(code: int, patience: float) -> None:
    time.sleep(patience)
    warn(f"the work is done, and {_running()} still running; cmp ends without waiting for more")
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # nobody is left to be told
            stream.flush()
    for child in active_children():  # a pipe that it writes to would stay open
        child.terminate()
    os._exit(code)


def _running() -> str:
    """Return who keeps the program from ending, as far as that is known."""
    others = [thread for thread in threading.enumerate() if not thread.daemon]
    named = [
        f"thread '{thread.name}'" + (f" of plugin {plugin}" if plugin else "")
        for thread in others
        if thread is not threading.main_thread()
        for plugin in [_STARTED_BY.get(thread)]
    ]
    if not named:
        return "a child process is" if active_children() else "what is called at its exit is"
    return f"{', '.join(named)} {'is' if len(named) == 1 else 'are'}"
