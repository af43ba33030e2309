"""What is said where a file of a run cannot be written, as on a full disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmp_core.errors import TrainingError


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turn the system's error into one that names the file of a run and how to go on.

    Raises:
        TrainingError: the file could not be written.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = _os_error(error)
        if reason is None:
            raise
        raise TrainingError(
            f"'{path}' could not be saved: {reason.strerror or reason}; what was saved before "
            f"is whole. Make room, then go on with: cmp run --resume {path.parent}"
        ) from error


def _os_error(error: BaseException | None) -> OSError | None:
    """Return why a file could not be written; torch says only that its position is unexpected."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error
