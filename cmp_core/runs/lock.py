"""Locks in a run directory: two programs must not write the same files at once."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cmp_core.errors import UsageError
from cmp_core.runs.directory import write_whole
from cmp_core.runs.json_file import parse_object, read_text

TRAINING = "training"
"""Of what a training writes, and a test of its weights."""
SAVING = "recomputed"
"""Of values that are added to a run."""
REPORTING = "report"
"""Of a run's page and the answers beside it."""


@contextmanager
def locked(directory: Path, what: str, seconds: float = 0) -> Iterator[None]:
    """Hold a lock within a `with` block.

    The system drops it when the program ends, however that ends, so none is left behind.

    Args:
        directory: of the run.
        what: is written; programs that write different things do not wait for each other.
        seconds: to wait for it.

    Raises:
        UsageError: another program holds it.
    """
    owner = directory / f".{what}.json"
    lock = FileLock(directory / f".{what}.lock")
    try:
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise UsageError(
            f"'{directory}' is in use by {_described(owner)}; wait until that has ended, or end it"
        ) from error
    try:
        about = {"pid": os.getpid(), "host": socket.gethostname()}
        with suppress(OSError):  # a full disk: then the others are not told who it is
            write_whole(owner, json.dumps(about) + "\n")
        yield
    finally:
        with suppress(OSError):  # what stands there is no file of ours
            owner.unlink(missing_ok=True)
        lock.release()


def is_held(directory: Path, what: str) -> bool:
    """Return whether a program holds a lock of a run directory right now."""
    place = directory / f".{what}.lock"
    if not place.is_file():
        return False
    lock = FileLock(place)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):  # the latter where the directory is another user's
        return True
    lock.release()
    return False


def _described(owner: Path) -> str:
    """Return who holds a lock, as far as it has told."""
    try:
        about = parse_object(read_text(owner))
    except (OSError, ValueError):
        return "another program"
    return f"process {about.get('pid')} on {about.get('host')}"
