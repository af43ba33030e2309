"""Installed plugins, as `pip install` leaves them, in a folder that goes on the path."""

from __future__ import annotations

from pathlib import Path


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
