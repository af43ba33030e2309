"""Calls of the console script `cmp`, as an installer writes it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def call_script(
    script: Path, *arguments: str, path: list[Path] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Call the script with its folder first on PATH, in a folder above it."""
    system = os.environ["PATH"].split(os.pathsep)
    folders = [str(script.parent), *(map(str, path) if path is not None else system)]
    return subprocess.run(
        [str(script), *arguments],
        cwd=script.parents[2],
        env=os.environ | {"PATH": os.pathsep.join(folders)},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
