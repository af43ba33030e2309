"""What observing costs a training loop of one's own, and whether its memory stays as it is.

    python -m tests.benchmarks.observe

The same loop with an observer and without it, timed alternately; and, where it is installed
(pip install delve), with delve's saturation of the same layers at the same cadence.
"""

from __future__ import annotations

import copy
import resource
import tempfile
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from cmp_core import Observer, observe
from tests.benchmarks.ratio import compare, report


def steps(
    model: nn.Module, x: Tensor, y: Tensor, count: int, after: Callable[[Tensor], object]
) -> None:
    """Take steps of SGD that leave the weights about where they are."""
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    for _ in range(count):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        torch.autograd.backward(loss)
        optimizer.step()
        after(loss)


def observed(model: nn.Module, watch: Observer, x: Tensor, y: Tensor, count: int) -> None:
    """Take the same steps, and tell the observer."""
    steps(model, x, y, count, lambda loss: watch.step(labels=y, loss=loss))


def saturated(
    make: Callable[[], nn.Module], every: int, x: Tensor, y: Tensor, count: int
) -> Callable[[], object] | None:
    """Return the same steps under delve, or none where it is not installed.

    Args:
        make: returns a model of its own, as delve's hooks stay on it.
        every: steps from one measured batch to the next.
        x, y, count: of the steps.
    """
    if find_spec("delve") is None:
        return None
    delve = import_module("delve")
    model = make()
    options = {"stats": ["lsat"], "log_interval": every, "device": "cpu", "nosave": True}
    tracker = delve.SaturationTracker(
        str(Path(tempfile.mkdtemp()) / "delve"), "csv", model, **options
    )

    def run() -> None:
        steps(model, x, y, count, nothing)
        tracker.add_saturations()

    return run


def nothing(_: Tensor) -> None:
    """Do nothing."""


def main() -> None:
    """Print ratios and the growth of memory."""
    torch.manual_seed(0)
    y = torch.arange(32) % 10
    resnet = torchvision.models.resnet18(num_classes=10)
    images = torch.randn(32, 3, 32, 32)
    layers = ["layer*", "fc"]
    with observe(resnet, layers, every=50) as watch:
        run = partial(observed, resnet, watch, images, y, 50)
        plain = partial(steps, resnet, images, y, 50, nothing)
        result = compare(run, plain, rounds=7)
        report("ResNet-18, all metrics at every 50th step, to none", result, "at most 1.05")
    peer = saturated(lambda: copy.deepcopy(resnet), 50, images, y, 50)
    if peer is not None:
        report("ResNet-18, delve at every 50th step, to none", compare(peer, plain, rounds=7), "-")

    def block(first: int) -> nn.Module:
        return nn.Sequential(nn.Linear(first, 256), nn.ReLU())

    mlp = nn.Sequential(block(784), *(block(256) for _ in range(3)), nn.Linear(256, 10))
    x, labels = torch.randn(128, 784), torch.arange(128) % 10
    four = ["accuracy", "participation_ratio", "linear_cka", "probe_accuracy"]
    with observe(mlp, "*", four, every=5) as watch:
        run = partial(observed, mlp, watch, x, labels, 100)
        plain = partial(steps, mlp, x, labels, 100, nothing)
        result = compare(run, plain, rounds=21)
        report("4 x 256 MLP, four metrics at every 5th step, to none", result, "at most 1.1")
        peer = saturated(lambda: copy.deepcopy(mlp), 5, x, labels, 100)
        if peer is not None:
            result = compare(peer, plain, rounds=21)
            report("4 x 256 MLP, delve at every 5th step, to none", result, "-")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        observed(mlp, watch, x, labels, 1000)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(f"growth of resident memory over 1,000 steps: {grown / 1024:.1f} MiB")


if __name__ == "__main__":
    main()
