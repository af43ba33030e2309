"""A file for HDF5, which does not survive a write that fails."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any


class SteadyFile(io.RawIOBase):
    """Remembers the first write that failed, and takes all others as if they had not.

    After a failed write HDF5 can neither close its file nor end the process without a crash, so it
    must not hear of it; who writes asks `check`.

    Args:
        path: of the file, which is made; what was there, a link too, is removed before.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.unlink(missing_ok=True)
        self._file = path.open("x+b", buffering=0)
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the error of the first write that failed, which names the file."""
        if self._error is not None:
            self._error.filename = str(self._path)
            raise self._error

    def sync(self) -> None:
        """Bring everything to the disk."""
        self.check()
        os.fsync(self._file.fileno())

    def write(self, data: Any) -> int:
        """Write everything, or what there is room for."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest and self._error is None:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                self._error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""
        return self._file.readinto(buffer) or 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
