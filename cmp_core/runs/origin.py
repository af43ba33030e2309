"""Whether cmp has logged a run, or another program, whose metrics may mean something else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmp_core.runs.directory import METRICS

PACKAGE = "chain-of-metric-predictors"
"""What `environment.json` calls cmp, in every version of it."""

OTHER_PROGRAM = "other program"
"""What tells a label of such runs from that of runs by cmp."""

MEANING = "of the same name they may mean something else than here"
"""What holds of metrics that another program has logged."""


def is_foreign(directory: Path, environment: Mapping[str, Any]) -> bool:
    """Return whether another program has logged a run, as far as its files tell.

    Such a run says nowhere what its metrics are: it has no `metrics.json`, and its
    `environment.json`, if there is one, names no version of cmp.
    """
    packages = environment.get("packages")
    is_ours = isinstance(packages, Mapping) and PACKAGE in packages
    return not is_ours and not (directory / METRICS).exists()
