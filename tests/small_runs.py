"""Runs of a fraction of a second, and their snapshots."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from cmp_core.config.schema import Config, Selection

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals, fork and limits")


def small(out: Path, **values: Any) -> Config:
    """A run of less than a second, of a greedy net on the digits."""
    metrics = (Selection("accuracy", "accuracy"),)
    given = {"N": 12, "layers": 2, "epochs": 1, "batch_size": 512, "metrics": metrics} | values
    return Config(device="cpu", out=str(out), **given)


def stored(finished_run: Path) -> list[Path]:
    """The snapshots of a run."""
    return sorted((finished_run / "activations").glob("*.h5"))
