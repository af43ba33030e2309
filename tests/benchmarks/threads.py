"""Threads: `cmp train` with one and with all, on a machine that is quiet and on one that is busy.

    python -m tests.benchmarks.threads [--rounds 3]

Whole processes on random samples of MNIST's shape, with all metrics. Busy: as many other processes
compute as there are cores. It is what the default of the key `threads` rests on.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.ratio import compare

DATASET = """
import torch
from cmp_core import Images, RawData, hookimpl

def random_images(config):
    generator = torch.Generator().manual_seed(0)
    def images(n):
        pixels = torch.randint(0, 256, (n, 1, 28, 28), generator=generator, dtype=torch.uint8)
        return Images(pixels, torch.randint(0, 10, (n,), generator=generator))
    return RawData(images(5000), images(1000), tuple("0123456789"))

@hookimpl
def cmp_register_datasets(register):
    register(random_images, name="random_images")
"""


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Have other processes compute within a `with` block."""
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> None:
    """Print the seconds with one thread and with all, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder) / "random_data.py"
        plugin.write_text(DATASET)

        def train(width: int, threads: int) -> None:
            settings = {
                "dataset": "random_images",
                "N": width,
                "threads": threads,
                "epochs": 2,
                "batch_size": 128,
                "snapshots": "null",
            }
            options = [f"--set={key}={value}" for key, value in settings.items()]
            command = [sys.executable, "-m", "cmp_core", "train", "-p", str(plugin), *options]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)

        for width in (256, 1024):
            for others in (0, cores):
                with busy(others):
                    one, every, ratio = compare(
                        lambda width=width: train(width, 1),  # type: ignore[misc]
                        lambda width=width: train(width, cores),  # type: ignore[misc]
                        rounds,
                    )
                times = f"one thread {one:.1f} s, {cores} threads {every:.1f} s, ratio {ratio:.2f}"
                print(f"N={width}, {others} other processes: {times}", flush=True)


if __name__ == "__main__":
    main()
