"""Every registered plot, found through the registry, none by name: it draws, and can be read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Tick
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from numpy.typing import NDArray

from cmp_core.config_io import shipped_folder
from cmp_core.drawing import figure_of, render, tasks
from cmp_core.errors import UndefinedError
from cmp_core.plot_contract import Plot, PlotView
from cmp_core.plugins import load_plugins
from cmp_core.run_record import RunRecord, load_run
from cmp_core.run_set import RunSet
from tests.synthetic_runs import write_old_run, write_run

EXAMPLES = [f"cmp:{path.stem}" for path in shipped_folder("examples", "plugins").glob("[!_]*.py")]
PLOTS = load_plugins(EXAMPLES).select_plots()

FEW = ("accuracy", "cross_entropy", "gaussian_entropy", "linear_cka", "participation_ratio")
"""Metrics of all scales, of which two bear witness."""

Change = Callable[[str, str, float], float | None]
"""What stands for a value of a layer and a metric; none leaves it out."""


# Runs


def few(layer: str, metric: str, value: float) -> float | None:
    return value if metric in FEW else None


def run(
    folder: Path, change: Change = few, names: Mapping[str, str] | None = None, **config: Any
) -> RunRecord:
    """A run whose values are changed, and some of whose layers and metrics are renamed."""
    directory = write_run(folder / f"{len(list(folder.iterdir()))}", **config)
    log, test = directory / "log.jsonl", directory / "test_results.json"
    lines = [changed(json.loads(line), change) for line in log.read_text().splitlines()]
    log.write_text("\n".join(map(json.dumps, lines)))
    test.write_text(json.dumps(changed(json.loads(test.read_text()), change)))
    for old, new in (names or {}).items():
        for path in directory.glob("*.json*"):
            path.write_text(path.read_text().replace(json.dumps(old), json.dumps(new)))
    return load_run(directory)


def changed(line: dict[str, Any], change: Change) -> dict[str, Any]:
    for prefix in ("", "train_"):
        layers = line.get(f"{prefix}metrics", {}) | {"input": line.get(f"{prefix}reference", {})}
        for layer, values in layers.items():
            new = {metric: change(layer, metric, value) for metric, value in values.items()}
            values.clear()
            values.update({metric: value for metric, value in new.items() if value is not None})
    return line


def extreme(kind: str) -> Change:
    """Values that networks in single precision can have, at random but always the same."""
    draw = np.random.default_rng(0)
    choices = {
        "constant": [-3.5],
        "zero": [0.0],
        "huge": [1e37, 1e38, 3e38],
        "tiny": [1e-45, 1e-44, 1e-30],
        "both signs": [-1e38, -1e-40, 0.0, 1.0, 3e38],
        "all sizes": [1e-45, 1.0, 1e38],
        "negative": [-1.0, -20.0, -3000.0],
        "but for rounding constant": [1.0, 1 + 2**-52, 1 + 2**-51],
        "percent": [12.5, 97.5, 100.0],
    }[kind]
    return lambda layer, metric, _: float(draw.choice(choices)) if metric in FEW else None


def once(layer: str, metric: str, value: float) -> float | None:
    """Leave out a value with nine chances of ten, so that many are the only ones."""
    return value if hash_of(value) % 10 == 0 and metric in FEW else None


def hash_of(value: float) -> int:
    return int(math.frexp(value)[0] * 2**53)


HOSTILE = "$x_1$ & <b>100 %</b> ½ größe_λ\\frac{a}{b} → " * 2
WIDE = "_MMM_WWW" * 10
LONG_CLASSES = tuple(f"{WIDE[:30]} {HOSTILE} {i}" for i in range(10))
MANY_CLASSES = tuple(f"species {i} of a long list" for i in range(30))

Scene = Callable[[Path], Iterable[RunRecord]]

SCENES: Mapping[str, Scene] = {
    "one run of 2 layers": lambda folder: [run(folder, depth=2)],
    "one run of 4 layers": lambda folder: [run(folder, lambda *row: row[2], model="mlp")],
    "one run of 20 layers": lambda folder: [run(folder, depth=20)],
    "three seeds": lambda folder: [run(folder, depth=2, seed=seed) for seed in range(3)],
    "two experiments": lambda folder: [
        run(folder),
        run(folder, seed=1),
        run(folder, model="mlp"),
    ],
    "two experiments of 20 layers": lambda folder: [
        run(folder, depth=20),
        run(folder, depth=20, model="mlp"),
    ],
    "2, 4 and 20 layers": lambda folder: [
        run(folder, depth=2),
        run(folder, depth=4, model="mlp"),
        run(folder, depth=20),
    ],
    "nine experiments": lambda folder: [run(folder, depth=3, N=2**i) for i in range(9)],
    "older scripts": lambda folder: [load_run(write_old_run(folder))],
    "older scripts and a new run": lambda folder: [
        load_run(write_old_run(folder)),
        run(folder, depth=4),
    ],
    "long names of layers and classes": lambda folder: [
        run(
            folder,
            names={f"layer_{i}": f"{HOSTILE} {WIDE} {i}" for i in range(4)},
            classes=LONG_CLASSES,
        )
    ],
    "long names of metrics, many classes": lambda folder: [
        run(
            folder,
            names={"accuracy": HOSTILE, "linear_cka": WIDE, "eigenspectrum": f"_{HOSTILE}"},
            classes=MANY_CLASSES,
            dataset=HOSTILE,
            model="mlp",
        )
    ],
    "one value here and there": lambda folder: [run(folder, once), run(folder, once, seed=1)],
} | {
    f"values that are {kind}": lambda folder, kind=kind: [
        run(folder, extreme(kind), depth=2),
        run(folder, extreme(kind), depth=3, model="mlp"),
    ]
    for kind in (
        *("constant", "zero", "huge", "tiny", "both signs", "all sizes", "negative"),
        *("but for rounding constant", "percent"),
    )
}


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunSet]:
    """A function that returns the runs of a scene, which are written once."""
    written: dict[str, RunSet] = {}

    def runs_of(name: str) -> RunSet:
        if name not in written:
            written[name] = RunSet(tuple(SCENES[name](tmp_path_factory.mktemp("runs"))))
        return written[name]

    return runs_of
