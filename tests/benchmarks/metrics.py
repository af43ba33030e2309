"""What measuring costs: on a batch, in training, over a split, and for all pairs of layers.

    python -m tests.benchmarks.metrics --threads 1

Every figure is a ratio of two things timed alternately in one process, on random numbers of
MNIST's shape.
"""

from __future__ import annotations

import argparse
import io
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from cmp_core.config.load import load_config
from cmp_core.config.schema import Config
from cmp_core.data.load import load_data
from cmp_core.data.raw import Images, RawData
from cmp_core.events.payloads import Run
from cmp_core.learning.layerwise import Layerwise
from cmp_core.listeners.log import LogWriter
from cmp_core.listeners.screen import Screen
from cmp_core.measurement.measurer import Measurer
from cmp_core.measurement.selection import select_metrics
from cmp_core.models.greedy import make_greedy
from cmp_core.plugins.loader import load_plugins
from cmp_core.training.evaluator import Evaluator, probe
from cmp_core.training.trainer import Trainer
from cmp_metrics.linear_cka import linear_cka_matrix
from tests.benchmarks.ratio import compare, report

CPU = torch.device("cpu")
STEPS = 100
FLOAT = NDArray[np.float32]


def trainer(config: Config, raw: RawData, folder: Path, *, measures: bool) -> Trainer:
    """A trainer of the greedy net with the log and the screen of every run."""
    data = load_data(config, lambda: raw, CPU)
    torch.manual_seed(0)
    model = make_greedy(config, data.input_size, 10)
    rule = Layerwise(model, config, 10**6)
    layers = probe(model, rule, data)
    plugins = load_plugins()
    names = tuple(layer.name for layer in layers)
    metrics = select_metrics(plugins, config) if measures else []
    run = Run(config, data.class_names, names, folder)
    measurer = Measurer(metrics, run, plugins.manager, "raise")
    dispatcher = measurer.dispatcher
    evaluator = Evaluator(model, rule, data, measurer, layers, {}, config)
    dispatcher.add_essential(Screen(Console(file=io.StringIO())))
    dispatcher.add_essential(LogWriter(folder))
    result = Trainer(model, rule, data, dispatcher, measurer, evaluator, CPU)
    result._emit_run_started()
    return result


def batch_and_training(config: Config, raw: RawData, limits: tuple[str, str]) -> None:
    """All metrics on one batch, and training with them against training without."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        measured = trainer(config, raw, Path(folder), measures=True)
        bare = trainer(config, raw, Path(other), measures=False)
        # As before training: memory that is freed here is at hand from then on.
        measured._evaluator.measure("val", 0, 0, measured._evaluator.fit(0, 0))
        for each in (measured, bare):
            each._data.train.ids = each._data.train.ids[: STEPS * config.batch_size]
        batch = next(bare._data.train.batches(np.arange(config.batch_size), config.batch_size))
        layers, _ = bare._rule.step(batch.inputs, batch.labels)
        result = compare(
            partial(measured._measure_batch, layers, batch),
            partial(bare._rule.step, batch.inputs, batch.labels),
            rounds=201,
        )
        report(f"N={config.N}: all metrics on a batch to a greedy step", result, limits[0])
        result = compare(lambda: measured._train_epoch(1), lambda: bare._train_epoch(1), rounds=15)
        report(f"N={config.N}: {STEPS} steps with all metrics to none", result, limits[1])


def validation(config: Config, raw: RawData) -> None:
    """A validation pass of 5,000 samples with all metrics, against an epoch of 55,000."""
    with tempfile.TemporaryDirectory() as folder:
        subject = trainer(attrs.evolve(config, val_size=5000), raw, Path(folder), measures=True)
        bare = trainer(config, raw, Path(folder), measures=False)
        steps = 55_000 // config.batch_size
        bare._data.train.ids = bare._data.train.ids[: STEPS * config.batch_size]
        result = compare(
            lambda: subject._evaluator.measure("val", 1, 1, subject._evaluator.fit(1, 1)),
            lambda: bare._train_epoch(1),
            rounds=5,
        )
        first, epoch = result[0], result[1] * steps / STEPS
        scaled = (first, epoch, result[2] * STEPS / steps)
        report("validation pass of 5,000 to an epoch of 55,000", scaled, "goal 0.5")


def splits(config: Config, raw: RawData) -> None:
    """CPU seconds of a split of 5,000 with all metrics, from the second epoch on.

    With half of the fits, which two splits share.
    """
    with tempfile.TemporaryDirectory() as folder:
        subject = trainer(config, raw, Path(folder), measures=True)
        for errors in (False, True):
            seconds = [_both_splits(subject._evaluator, errors=errors) / 2 for _ in range(3)]
            kind = "with" if errors else "without"
            print(f"N={config.N}: a split, {kind} standard errors: {min(seconds[1:]):.2f} CPU s")


def _both_splits(evaluator: Evaluator, *, errors: bool) -> float:
    start = time.process_time()
    fits = evaluator.fit(1, 1, errors=errors)
    for phase in ("val", "train"):
        evaluator.measure(phase, 1, 1, fits, errors=errors)
    return time.process_time() - start


def memory() -> None:
    """The peak of resident memory, with standard errors, must not follow the size of a split."""
    for size in (5_000, 20_000):
        command = [sys.executable, "-m", "tests.benchmarks.metrics", "--split", str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"growth of resident memory in a split of {size:,}: {done.stdout.strip()}")


def measure_one_split(config: Config, raw: RawData, size: int) -> None:
    """Print by how much the peak of resident memory grows when a split is measured."""
    with tempfile.TemporaryDirectory() as folder:
        subject = trainer(attrs.evolve(config, val_size=size), raw, Path(folder), measures=True)
        before = _peak()
        fits = subject._evaluator.fit(1, 1, errors=True)
        subject._evaluator.measure("val", 1, 1, fits, errors=True)
    print(f"{(_peak() - before) / 2**30:.2f} GiB")


def _peak() -> int:
    """Return the peak of resident memory in bytes; Linux gives a child its parent's ru_maxrss."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def pairs(layers: int = 48, n: int = 2048, p: int = 512) -> None:
    """All pairs of debiased CKA, against a NumPy function called for each pair."""
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(n, p)).astype(np.float32) for _ in range(layers)]

    def loop() -> None:
        for i in range(layers):
            for j in range(i + 1):
                _debiased(x[i], x[j])

    result = compare(lambda: linear_cka_matrix(x), loop, rounds=1)
    report(f"all pairs of {layers} layers to a loop of pairs", result, "goal 0.333")


def _debiased(x: FLOAT, y: FLOAT) -> float:
    """HSIC₁ of a pair in the feature form, which at p < n is the cheaper one."""
    x, y = x - x.mean(0), y - y.mean(0)
    k, m, n = (x * x).sum(1), (y * y).sum(1), len(x)

    def hsic(a: FLOAT, b: FLOAT, r: FLOAT, s: FLOAT) -> float:
        square = float(np.linalg.norm(a.T @ b)) ** 2
        distinct = square - float(r @ s) * n / (n - 2)
        return distinct + float(r.sum()) * float(s.sum()) / ((n - 1) * (n - 2))

    return float(hsic(x, y, k, m) / np.sqrt(hsic(x, x, k, k) * hsic(y, y, m, m)))


def random_images(n: int = 70_000) -> RawData:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, 1, 28, 28), dtype="uint8")
    return RawData(Images(pixels, rng.integers(0, 10, n)), None, tuple("0123456789"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", type=int, help="measure one split of this size and its memory")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    split_size = parser.parse_args().split
    images = random_images()
    # So slow a rate that the loss stays away from 0, where denormal numbers cost time.
    base = attrs.evolve(
        load_config("greedy_mnist"), lr=1e-6, scheduler="constant", warmup_ratio=0, val_size=5000
    )
    if split_size is not None:
        measure_one_split(base, images, split_size)
        sys.exit()
    torch.set_num_threads(parser.parse_args().threads)
    narrow = attrs.evolve(base, N=256)
    batch_and_training(base, images, ("goal 0.45", "goal 1.12"))
    batch_and_training(narrow, images, ("goal 1.5", "goal 1.4"))
    for each in (base, narrow):
        splits(each, images)
    validation(base, images)
    memory()
    pairs()
