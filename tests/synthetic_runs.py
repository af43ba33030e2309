"""Whole run directories without training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from cmp_core.testing import write_example_run as write_run

__all__ = ["write_old_run", "write_run"]


def write_old_run(
    folder: Path,
    *,
    depth: int = 3,
    model: str = "mlp",
    name: str | None = None,
    test: dict[str, Any] | None = None,
    **config: Any,
) -> Path:
    """Write a run as older scripts left it: no epoch 0, no subset, `NaN` tokens, three files.

    Their configuration stores what follows from the dataset, and their test is by default that of
    a model with a head.
    """
    directory = folder / (name or f"old_{depth}")
    directory.mkdir(parents=True)
    params = {"model": model, "dataset": "mnist", "layers": depth} | config
    params |= {"num_classes": 10, "input_dim": 784}
    (directory / "params.yaml").write_text(json.dumps(params))
    lines = []
    for epoch in (1, 2):
        for i in range(6):
            metrics = {
                f"layer_{k}": {
                    "probe_accuracy": 0.5 + 0.1 * k,
                    "house_metric": math.nan if i else k,
                }
                for k in range(depth)
            }
            line = {"phase": "train", "epoch": epoch, "iter": i + 1, "loss": 1.0, "acc": 0.5}
            lines.append(line | {"metrics": metrics})
        metrics = {
            f"layer_{k}": {"probe_accuracy": 0.6 + 0.1 * k, "participation_ratio": 9.0 - k}
            for k in range(depth)
        }
        lines.append(
            {"phase": "val", "epoch": epoch, "acc": 0.6, "val_loss": 0.9, "metrics": metrics}
        )
    (directory / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = {"acc": 0.61} if test is None else test
    (directory / "test_results.json").write_text(json.dumps(results))
    return directory
