"""Runs on disks that are too small: each ends in a sentence, and goes on when there is room.

`python -m tests.fuzz.disks` runs `cmp run` on file systems of 18 sizes, and resumes each run on the
same one when it was made larger. Only root may make such file systems, on Linux. It prints a line
for each size, and how many were not as they should be.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.kills import run_directory, unreadable

SIZES = (0, 8, 16, 28, 40, 64, 100, 200, 400, 600, 800, 1000, 1300, 1600, 2000, 2500, 3000, 4000)
"""In kB, up to what the run below takes and beyond."""

RUN = (
    *("run", "--set", "N=64", "--set", "layers=3", "--set", "epochs=3", "--set", "device=cpu"),
    *("--metrics", "accuracy,linear_cka", "--plots", "training_curves"),
)


def cmp(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder of the small file system."""
    return subprocess.run(
        [sys.executable, "-m", "cmp_core", *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def problems(folder: Path, size: int) -> Iterator[str]:
    """Yield what is not as it should be on a file system of some kilobytes."""
    done = cmp(folder, *RUN)
    directory = run_directory(folder / "runs")
    print(f"{size:6} kB: exit code {done.returncode}", end="", flush=True)
    if "Traceback" in done.stderr:
        yield "a traceback"
    if done.returncode != 0 and "error: " not in done.stderr and "warning: " not in done.stderr:
        yield "no sentence"
    if directory is None:
        if done.returncode == 0:
            yield "no run, and no error"
        return
    yield from unreadable(directory)
    if done.returncode == 0 and len(list((directory / "activations").glob("*.h5"))) < 4:
        yield "snapshots are missing without a word"
    if done.returncode == 1 and str(directory) not in done.stderr:
        yield "how to go on is not told"
    subprocess.run(["mount", "-o", "remount,size=50m", str(folder)], check=True)
    again = cmp(folder, "run", "--resume", str(directory))
    print(f", resumed {again.returncode}", end="", flush=True)
    if again.returncode not in (0, 3) or "Traceback" in again.stderr:
        yield f"resuming: {again.stderr.strip().splitlines()[-1]}"
    elif json.loads((directory / "status.json").read_text())["state"] != "finished":
        yield "resuming did not finish it"
    elif again.returncode == 3 and "there is no snapshot" not in again.stderr:
        yield "exit code 3 without the reason"


def main() -> None:
    """Try all sizes."""
    wrong = 0
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            options = f"size={max(1, size)}k"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
            try:
                found = list(problems(Path(folder), size))
            finally:
                subprocess.run(["umount", folder], check=True)
        print(f"{': ' if found else ''}{'; '.join(found)}", flush=True)
        wrong += bool(found)
    print(f"{len(SIZES)} sizes, {wrong} not as they should be")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
