"""What a run ran on: versions, device and commit, for `environment.json`."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from cmp_core.events.payloads import Run
from cmp_core.runs.directory import ENVIRONMENT, write_whole
from cmp_core.runs.json_file import read_optional

_PACKAGES = (
    "chain-of-metric-predictors",
    "torch",
    "torchvision",
    "numpy",
    "scikit-learn",
    "pluggy",
)


def describe_environment(run: Run, device: torch.device, **basis: Any) -> dict[str, Any]:
    """Return versions, device, git commit of the working directory, seed and class names.

    Args:
        run: whose seed, classes and layers are stored.
        device: that computes.
        basis: what else the numbers rest on, by name: `params`, `plugins`, `data`, `processes`.
    """
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "device": str(device),
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        **basis,
        "git_commit": _git_commit(),
        "command": sys.argv,
        "seed": run.config.seed,
        "class_names": list(run.class_names),
        "layers": list(run.layer_names),
        "output": run.output,
    }


def read_environment(directory: Path, problems: list[str]) -> dict[str, Any]:
    """Return the content of a run's file, empty where there is none that can be read.

    Why it cannot be read is appended to `problems`, in a sentence.
    """
    return read_optional(directory / ENVIRONMENT, problems)


def write_environment(directory: Path, content: Mapping[str, Any]) -> None:
    """Write a run's file."""
    write_whole(directory / ENVIRONMENT, json.dumps(content, indent=2) + "\n")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path.cwd(),
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
