"""Whole commands: CPU seconds of `cmp train`, and `cmp recompute` against importing torch.

    python -m tests.benchmarks.commands --data ../shared/data --threads 1

Two commits are compared by calling this in a checkout of each in turn.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.benchmarks.ratio import compare, report

CMP = (sys.executable, "-m", "cmp_core")


def train(data: str, threads: int) -> None:
    """An epoch of MNIST at N = 256, with all metrics at every fifth step or accuracy alone."""
    run = [*CMP, "train", "-c", "greedy_mnist", "--set", f"data_dir={Path(data).absolute()}"]
    run += ["--set", "N=256", "--set", "epochs=1", "--set", f"threads={threads}"]
    bare = ["--metrics", "accuracy", "--set", "snapshots=null"]
    for what, more in (("all metrics", []), ("accuracy alone, no snapshots", bare)):
        seconds = min(_cpu_seconds([*run, *more]) for _ in range(3))
        print(f"cmp train, {what}: {seconds:.1f} CPU s with {threads} threads")


def recompute(layers: int, units: int, goal: str) -> None:
    """The stored activations of 144 digits, measured again with all metrics."""
    size = ["--set", f"layers={layers}", "--set", f"N={units}"]
    with tempfile.TemporaryDirectory() as folder:
        _call(folder, [*CMP, "train", "-c", "greedy_digits", "--set", "epochs=1", *size])
        file = str(min(Path(folder).rglob("*.h5")))
        again = partial(_call, folder, [*CMP, "recompute", file])
        bare = partial(_call, folder, [sys.executable, "-c", "import torch"])
        what = f"cmp recompute of {layers} layers of {units} units to `import torch`"
        report(what, compare(again, bare, rounds=9), goal)


def _cpu_seconds(command: list[str]) -> float:
    before = os.times()
    with tempfile.TemporaryDirectory() as folder:
        _call(folder, command)
    after = os.times()
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system


def _call(folder: str, command: list[str]) -> None:
    root = Path(__file__).resolve().parents[2]
    subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        check=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="data_dir of MNIST; without it nothing is trained on it")
    parser.add_argument("--threads", type=int, default=1, help="of cmp train")
    options = parser.parse_args()
    if options.data is not None:
        train(options.data, options.threads)
    recompute(2, 16, "at most 1.3")
    recompute(4, 256, "no goal")
