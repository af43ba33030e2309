"""What the tests of whole runs share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def lines(directory: Path) -> list[dict[str, Any]]:
    """The log without timestamps, in strict JSON."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not strict JSON")

    text = (directory / "log.jsonl").read_text()
    entries = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
    return [{k: v for k, v in entry.items() if k != "timestamp"} for entry in entries]


def newest(folder: Path) -> Path:
    """The run directory with the highest number."""
    return sorted(folder.iterdir())[-1]


BAD = """
from cmp_core import hookimpl, metric

now = None

@hookimpl(tryfirst=True)
def cmp_layer_activations(event):
    global now
    now = event

@metric("bad", split="mean")
def bad(view):
    '''Writes, or raises, in the second epoch.'''
    if now.epoch == 2:
        {act}
    return view.activations.mean(1)

@hookimpl
def cmp_register_metrics(register):
    register(bad)
"""
