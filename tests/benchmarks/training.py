"""Training: throughput against a bare torch loop, a greedy step against backprop, start-up.

    python -m tests.benchmarks.training [--data ../shared/data]

Without MNIST random numbers of its shape are used.
"""

from __future__ import annotations

import argparse
import copy
import io
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from rich.console import Console

from cmp_core.config.load import load_config
from cmp_core.config.schema import Config
from cmp_core.data.load import Data, load_data
from cmp_core.data.raw import Images, RawData
from cmp_core.datasets.mnist import load_mnist
from cmp_core.events.payloads import Run
from cmp_core.learning.backprop import Backprop
from cmp_core.learning.layerwise import Layerwise
from cmp_core.listeners.log import LogWriter
from cmp_core.listeners.screen import Screen
from cmp_core.measurement.measurer import Measurer
from cmp_core.models.greedy import make_greedy
from cmp_core.models.mlp import MLP, make_mlp
from cmp_core.plugins.loader import load_plugins
from cmp_core.training.evaluator import Evaluator, probe
from cmp_core.training.trainer import Trainer
from tests.benchmarks.ratio import compare, report

CPU = torch.device("cpu")
STEPS = 100


def throughput(config: Config, raw: RawData) -> None:
    """An epoch through cmp with metrics off, against a loop written by hand on the same tensors."""
    data = load_data(config, lambda: raw, CPU)
    data.train.ids = data.train.ids[: STEPS * config.batch_size]  # a short epoch
    torch.manual_seed(0)
    model = make_mlp(config, data.input_size, 10)
    blocks: list[Any] = list(model.layers)
    bare = torch.nn.Sequential(
        torch.nn.Flatten(),
        *(torch.nn.Sequential(copy.deepcopy(block.linear), torch.nn.ReLU()) for block in blocks),
        copy.deepcopy(model.head),
    )
    optimizer = torch.optim.AdamW(bare.parameters(), lr=config.lr, weight_decay=0, fused=True)
    everything = np.arange(len(data.train.ids))
    batches = list(data.train.batches(everything, len(everything)))
    inputs, labels = batches[0].inputs, batches[0].labels

    def by_hand() -> None:
        for index in torch.split(torch.randperm(len(labels)), config.batch_size):
            loss = torch.nn.functional.cross_entropy(bare(inputs[index]), labels[index])
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()

    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(model, data, config, Path(folder))
        seconds, ours, ratio = compare(by_hand, lambda: trainer._train_epoch(1), rounds=21)
    print(
        f"N={config.N}, throughput against a bare loop: {STEPS / ours:.0f} to "
        f"{STEPS / seconds:.0f} steps/s, ratio {ratio:.3f} (at least 0.9)"
    )


def _trainer(model: MLP, data: Data, config: Config, folder: Path) -> Trainer:
    """A trainer with the log and the screen that every run has."""
    run = Run(config, data.class_names, (), folder)
    measurer = Measurer([], run, load_plugins().manager)
    dispatcher = measurer.dispatcher
    rule = Backprop(model, config, 10**6)
    evaluator = Evaluator(model, rule, data, measurer, probe(model, rule, data), {}, config)
    dispatcher.add_essential(Screen(Console(file=io.StringIO())))
    dispatcher.add_essential(LogWriter(folder))
    trainer = Trainer(model, rule, data, dispatcher, measurer, evaluator, CPU)
    trainer._emit_run_started()
    return trainer


def step(n: int = 1024, layers: int = 4, batch: int = 128, width: int = 784) -> None:
    """A greedy step against a backprop step of the same shapes and optimizer."""
    inputs, labels = torch.randn(batch, width), torch.randint(0, 10, (batch,))
    for weight in (0.0, 0.02):
        config = Config(N=n, layers=layers, lambda_ace=weight)
        greedy = Layerwise(make_greedy(config, width, 10), config, 10_000)
        backprop = Backprop(make_mlp(config, width, 10), config, 10_000)
        result = compare(
            partial(greedy.step, inputs, labels),
            partial(backprop.step, inputs, labels),
            rounds=210,
        )
        report(f"greedy step (lambda_ace={weight}) to backprop step", result, "at most 1.0")


def start_up() -> None:
    """From the call of `cmp run` to its first training step, against importing torch."""
    plugin = (
        "import os\nfrom cmp_core import hookimpl\n"
        "@hookimpl\ndef cmp_epoch_started():\n    os._exit(0)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stop.py"
        path.write_text(plugin)
        cmp_run = [sys.executable, "-m", "cmp_core", "run", "-p", str(path)]
        bare = [sys.executable, "-c", "import torch, torchvision"]
        help_ = [sys.executable, "-m", "cmp_core", "--help"]

        def call(command: list[str]) -> None:
            subprocess.run(command, cwd=folder, capture_output=True, check=False)

        result = compare(lambda: call(cmp_run), lambda: call(bare), rounds=7)
        report("start of cmp run to `import torch, torchvision`", result, "at most 1.5")
        seconds = []
        for _ in range(7):
            start = time.perf_counter()
            call(help_)
            seconds.append(time.perf_counter() - start)
        print(f"cmp --help: {1e3 * statistics.median(seconds):.0f} ms (at most 500)")


def _random_images() -> RawData:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60_000, 1, 28, 28), dtype="uint8")
    return RawData(Images(pixels, rng.integers(0, 10, 60_000)), None, tuple("0123456789"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="data_dir of MNIST")
    data_dir = parser.parse_args().data
    mnist = _random_images() if data_dir is None else load_mnist(Config(data_dir=data_dir))
    for width in (1024, 256):
        # So slow a rate that the loss stays away from 0, where denormal numbers cost time.
        config = attrs.evolve(
            load_config("mlp_mnist"), N=width, lr=1e-6, scheduler="constant", warmup_ratio=0
        )
        throughput(config, mnist)
    step()
    start_up()
