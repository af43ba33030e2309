"""What storing and measuring again cost: disk, time and memory.

    python -m tests.benchmarks.snapshots

Ratios of two things timed alternately in one process, but for memory, which is the peak of a
process of its own. It needs 5 GB of disk for the largest snapshot.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import attrs
import h5py
import torch

from cmp_core.config.load import load_config
from cmp_core.config.schema import Config, Snapshots
from cmp_core.layers.layer import Layer
from cmp_core.measurement.recompute import recompute
from cmp_core.snapshots.read import open_snapshot
from cmp_core.snapshots.schedule import log_spaced
from cmp_core.snapshots.write import COMPRESSIONS, RowWriter
from tests.benchmarks.metrics import _peak, random_images, trainer
from tests.benchmarks.ratio import compare, report

PIECE = 1024


def write(path: Path, n: int, widths: tuple[int, ...], compression: str, seed: int = 0) -> None:
    """Write a snapshot of random ReLU activations."""
    rng = torch.Generator().manual_seed(seed)
    writer = RowWriter(path, path.with_suffix(".part"), n, "float32", compression)
    for start in range(0, n, PIECE):
        rows = min(PIECE, n - start)
        layers = tuple(
            Layer(
                f"layer_{i}",
                i,
                "",
                torch.randn(rows, width, generator=rng).relu(),
                torch.randn(rows, 10, generator=rng),
                torch.eye(10, width),
                "block",
            )
            for i, width in enumerate(widths)
        )
        ids = torch.arange(start, start + rows)
        writer.append(layers, ids, ids % 10, torch.randn(rows, 784, generator=rng))
    writer.finish({"phase": "val", "epoch": 1, "step": seed})


def reading(folder: Path) -> None:
    """Reading all arrays, against raw h5py."""
    path = folder / "read.h5"
    write(path, 8192, (1024,) * 4, "gzip")

    def ours() -> None:
        with open_snapshot(path) as snapshot:
            for layer in snapshot.layers:
                for start in range(0, snapshot.n, PIECE):
                    layer.activations[start : start + PIECE]

    def raw() -> None:
        with h5py.File(path) as file:
            for group in file["layers"].values():
                for start in range(0, 8192, PIECE):
                    group["activations"][start : start + PIECE]

    result = compare(raw, ours, rounds=7)
    report("speed of reading, of raw h5py", result, "at least 0.8")


def workers(folder: Path) -> None:
    """All metrics over 16 default snapshots with one process and with two."""
    for i in range(16):
        write(folder / f"step_{i}.h5", 2048, (1024,) * 4, "gzip", seed=i)
    files = sorted(folder.glob("step_*.h5"))

    def measure(count: int) -> None:
        errors = [result.error for result in recompute(files, workers=count)]
        assert errors == [None] * 16, errors

    measure(2)  # the processes are started
    result = compare(partial(measure, 1), partial(measure, 2), rounds=1)
    report("16 snapshots with one process to two", result, "at least 1.6")


def memory(folder: Path) -> None:
    """The peak of resident memory while 4 GiB are measured."""
    path = folder / "large.h5"
    write(path, 2**18, (1024,) * 4, "none")
    command = [sys.executable, "-m", "tests.benchmarks.snapshots", "--peak", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    size = path.stat().st_size / 2**30
    print(f"peak of resident memory for {size:.1f} GiB: {done.stdout.strip()} (at most 1.5 GiB)")


def peak(path: Path) -> None:
    """Print the peak of this process while a snapshot is measured."""
    metrics = ["linear_cka", "participation_ratio", "probe_accuracy", "ridge_r2"]
    (result,) = recompute([path], metrics)
    assert result.error is None, result.error
    print(f"{_peak() / 2**30:.2f} GiB")


def share_of_a_run(config: Config, folder: Path) -> None:
    """A default snapshot, times their number in ten epochs, to ten epochs of training."""
    config = attrs.evolve(config, epochs=10, snapshots=Snapshots())
    steps = 55_000 // config.batch_size
    run = trainer(attrs.evolve(config, val_size=5000), random_images(), folder, measures=True)
    run._data.train.ids = run._data.train.ids[: 100 * config.batch_size]
    path = folder / "one.h5"
    store = partial(write, path, 2048, (config.N,) * config.layers, "gzip")
    result = compare(store, lambda: run._train_epoch(1), rounds=3)
    fits = run._evaluator.fit(1, 1)
    measuring = compare(lambda: run._evaluator.measure("val", 1, 1, fits), store, rounds=1)
    epoch = result[1] * steps / 100 + 2 * measuring[0]
    share = len(log_spaced(10)) * result[0] / (10 * epoch)
    print(f"default snapshots of a 10-epoch run at N = {config.N}: {share:.1%} (at most 10 %)")


def sizes(folder: Path) -> None:
    """Size of a file to its numbers in float32, for random ReLU activations."""
    n, widths = 2048, (1024,) * 4
    raw = 4 * n * (sum(widths) + 10 * len(widths) + 784)
    for compression in COMPRESSIONS:
        path = folder / f"{compression}.h5"
        write(path, n, widths, compression)
        print(f"size with {compression}: {path.stat().st_size / raw:.2f} of raw float32")


def main() -> None:
    """Run them all, or print one peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak", type=Path, help="measure one file and print the peak of memory")
    path = parser.parse_args().peak
    if path is not None:
        peak(path)
        return
    folder = Path(tempfile.mkdtemp())
    try:
        reading(folder)
        workers(folder)
        share_of_a_run(load_config("greedy_mnist"), folder)
        sizes(folder)
        memory(folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
