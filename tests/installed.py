"""Installed plugins, as `pip install` leaves them, in a folder that goes on the path."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]

METRIC = """
import pathlib

from cmp_core import hookimpl, metric

pathlib.Path({marker!r}).write_text("imported")

@metric({name!r})
def it(view):
    '''The mean activation.'''
    return view.activations.mean()

@hookimpl
def cmp_register_metrics(register):
    register(it)
"""
"""A metric whose import leaves a mark."""


def install(site: Path, name: str, text: str, version: str = "1.0") -> Path:
    """Write a module and the metadata whose entry point names it; return the folder."""
    module = f"{name}_module"
    metadata = site / f"{name}_dist-{version}.dist-info"
    metadata.mkdir(parents=True)
    (site / f"{module}.py").write_text(text, encoding="utf-8")
    header = f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: {version}\n"
    (metadata / "METADATA").write_text(header)
    (metadata / "entry_points.txt").write_text(f"[cmp.plugins]\n{name} = {module}\n")
    return site


def python_path(site: Path) -> str:
    """Return a PYTHONPATH of a folder of installed plugins and of this checkout."""
    return os.pathsep.join([str(site), str(ROOT)])
