"""What a sink must have been told about a run, by the run's own files; and calls of its hooks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from cmp_core import Config, Row, Run, StepFinished
from cmp_core.plugins.loader import load_plugins
from tests.run_files import lines

Curves = dict[str, dict[int, float]]
"""Values by name and step."""


def curves(folder: Path) -> Curves:
    """Return the numbers of `log.jsonl` under the names of a sink."""
    found: Curves = {}
    step = 0
    for line in lines(folder):
        step = line.get("step", step)  # validation comes after the last step of its epoch
        for name, value in _numbers(line):
            found.setdefault(name, {})[step] = value
    return found


def final_values(folder: Path) -> dict[str, float]:
    """Return the numbers of `test_results.json` under the names of a sink."""
    results = json.loads((folder / "test_results.json").read_text())
    found = {"acc/test": results["acc"], "loss/test": results["loss"]}
    return found | dict(_values("test", results["metrics"], results.get("reference", {})))


def _numbers(line: dict[str, Any]) -> Iterator[tuple[str, float]]:
    is_batch = line["phase"] == "train"
    phase = "batch" if is_batch else "val"
    yield f"loss/{phase}", line["loss" if is_batch else "val_loss"]
    yield f"acc/{phase}", line["acc"]
    yield from _values(phase, line.get("metrics", {}), line.get("reference", {}))
    yield from _values("train", line.get("train_metrics", {}), line.get("train_reference", {}))


def _values(
    phase: str, layers: Mapping[str, Any], reference: Mapping[str, Any]
) -> Iterator[tuple[str, float]]:
    for layer, values in {**layers, "input": reference}.items():
        for metric, value in values.items():
            yield f"{metric}/{phase}/{layer}", value


def plugin(name: str) -> ModuleType:
    """Return a sink as `-p cmp:NAME` loads it."""
    found = load_plugins([f"cmp:{name}"], built_ins=()).manager.get_plugin(name)
    assert isinstance(found, ModuleType)
    return found


def run_in(folder: Path) -> Run:
    """Return a run whose directory holds no more than what sinks read when it begins."""
    folder.mkdir()
    (folder / "params.yaml").write_text("dataset: digits\nlr: 0.001\nlambda_ace: [0.1, 0.2]\n")
    (folder / "log.jsonl").touch()
    return Run(Config(), ("a", "b"), ("block(0)",), folder)


def odd_step() -> StepFinished:
    """Return a step whose loss is not finite, and whose names are not plain."""
    rows = (Row("block(0)", "norm [σ]", 2.5, 9), Row("block(0)", "undefined", None, 9, "why"))
    return StepFinished(epoch=1, iter=1, step=7, loss=float("inf"), acc=0.5, n=9, rows=rows)
