"""Files that crash the process that reads them, whatever the installed HDF5 survives."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence

import pytest

from cmp_core.measurement.children import Call, Children, Outcome

CRASHED = "reading it has ended the process by SIGSEGV: it is damaged, or made to do so"


class _Crashing(Children):
    def results(self, calls: Sequence[Call]) -> Iterator[Outcome]:
        crash = (f"{__name__}:crash", ())
        return super().results([crash if "crashing.h5" in str(call) else call for call in calls])


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def let_crash(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Have each file called crashing.h5 do so where a module reads it."""
    monkeypatch.setattr(f"{module}.Children", _Crashing)
