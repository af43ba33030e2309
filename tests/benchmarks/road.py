"""The road of a value: how many modules and changes of file it takes from activations to rows.

    python -m tests.benchmarks.road

Traced are the calls of one metric on two layers: a training batch of 50 samples, and a split of 90
samples in three chunks. A module is a file of the product that is entered; a change of file is a
call whose file is not that of the call before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import cmp_core
from cmp_core.measurement.metric import definition_of
from cmp_core.testing import example_event, select
from cmp_core.testing.measure import measurer_of
from cmp_metrics.accuracy import accuracy_metric
from cmp_metrics.linear_cka import linear_cka_metric
from cmp_metrics.probe_accuracy import probe_accuracy_metric

ROOT = Path(str(cmp_core.__file__)).parents[1]


def batch(metric: Any) -> Callable[[], object]:
    """Return what measures a training batch."""
    measurer, event = measurer_of(definition_of(metric)()), example_event(n=50)
    return lambda: measurer.batch(event)


def split(metric: Any) -> Callable[[], object]:
    """Return what measures a split in three chunks."""
    measurer, event = measurer_of(definition_of(metric)()), example_event(n=90, part="chunk")
    assert event.labels is not None
    ids, labels = event.sample_ids.numpy(), event.labels.numpy()
    chunks = {
        pass_index: [
            select(event, where, pass_index) for where in torch.split(torch.arange(90), 30)
        ]
        for pass_index in (1, 2)
    }
    return lambda: measurer.split(ids, labels, chunks.__getitem__)


def files_of_calls(work: Callable[[], object]) -> list[str]:
    """Return the file of every call inside the product, in the order of calling."""
    files: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT) and "tests" not in path.parts:
            files.append(str(path.relative_to(ROOT)))

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return files


def main() -> None:
    """Print a line for each road."""
    for name, work in (
        ("accuracy of a batch", batch(accuracy_metric)),
        ("linear CKA of a split", split(linear_cka_metric)),
        ("probe accuracy of a split", split(probe_accuracy_metric)),
    ):
        files = files_of_calls(work)
        modules = sorted(set(files))
        changes = sum(a != b for a, b in pairwise(files))
        print(f"{name}: {len(modules)} modules, {changes} changes of file, {len(files)} calls")
        for module in modules:
            print(f"  {module}")


if __name__ == "__main__":
    main()
