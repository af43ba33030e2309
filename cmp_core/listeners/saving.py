"""What is said where a file of a run cannot be written, as on a full disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmp_core.config.load import read_yaml
from cmp_core.errors import TrainingError
from cmp_core.runs.directory import OBSERVED, PARAMS


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
            f"'{reason.filename or path}' could not be saved: {reason.strerror or reason}; what "
            f"was saved before is whole. Make room, then {_way_on(path.parent)}"
        ) from error


def _way_on(folder: Path) -> str:
    params = folder / PARAMS
    if params.is_file() and OBSERVED not in read_yaml(params):
        return f"go on with: cmp run --resume {folder}"
    return "begin again"  # an observed training, or a test into a folder of its own


def _os_error(error: BaseException | None) -> OSError | None:
    """Return why a file could not be written; torch says only that its position is unexpected."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error
