"""Every registered plot, found through the registry, none by name: it draws, and can be read."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from numpy.typing import NDArray

from cmp_core.analysis.questions import QUESTIONS
from cmp_core.errors import UndefinedError
from cmp_core.measurement.selection import with_installed_metric_info
from cmp_core.plotting.plot import Plot, PlotView, select_plots
from cmp_core.plotting.render import draw, figure_of, tasks
from cmp_core.plugins.loader import load_plugins
from cmp_core.runs.metric_info import Question
from cmp_core.runs.record import RunRecord, load_run
from cmp_core.runs.replicates import RunSet
from tests import shipped
from tests.synthetic_runs import write_old_run, write_run

PLOTS = select_plots(load_plugins(shipped.EXAMPLES))

each_plot = pytest.mark.parametrize("plot", PLOTS, ids=[plot.label for plot in PLOTS])


# Runs

Change = Callable[[str, float], float | None]
"""What stands for a value of a metric; none leaves it out."""

FEW = ("accuracy", "cross_entropy", "gaussian_entropy", "mutual_information", "linear_cka")
"""Metrics of all scales, the first three, and some that count as evidence."""


def only(*metrics: str) -> Change:
    return lambda metric, value: value if metric in metrics else None


few = only(*FEW)


def here_and_there(metric: str, value: float) -> float | None:
    return value if metric in FEW and int(1e6 * value) % 8 == 0 else None


def one_of(*values: float) -> Change:
    """Values at random, but always the same ones."""
    draw = np.random.default_rng(0)
    return lambda metric, value: float(draw.choice(values))


def write(
    folder: Path, change: Change = few, names: Mapping[str, str] | None = None, **config: Any
) -> RunRecord:
    """Write a run, change its values, and give layers and metrics other names."""
    directory = write_run(folder / f"{len(list(folder.iterdir()))}", **config)
    log, test = directory / "log.jsonl", directory / "test_results.json"
    lines = [changed(line, change) for line in log.read_text().splitlines()]
    log.write_text("\n".join(lines))
    test.write_text(changed(test.read_text(), change))
    for path in directory.glob("*.json*") if names else ():
        text = path.read_text()
        for old, new in names.items():
            text = text.replace(json.dumps(old), json.dumps(new))
        path.write_text(text)
    return load_run(directory)


def load_old_run(folder: Path) -> RunRecord:
    return with_installed_metric_info(load_run(write_old_run(folder)))


def changed(line: str, change: Change) -> str:
    content = json.loads(line)
    for prefix in ("", "train_"):
        references = [content.get(f"{prefix}reference", {})]
        for values in [*content.get(f"{prefix}metrics", {}).values(), *references]:
            for metric, value in list(values.items()):
                values[metric] = change(metric, value)
                if values[metric] is None:
                    del values[metric]
    return json.dumps(content)


def runs(folder: Path, *configs: dict[str, Any], change: Change = few) -> RunSet:
    return RunSet(tuple(write(folder, change, **config) for config in configs))


GREEDY: dict[str, Any] = {"model": "greedy"}
MLP: dict[str, Any] = {"model": "mlp"}

HOSTILE = "$x_1$ & <b>100 %</b> ½ größe_λ\\frac{a}{b} → $y %d ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789"
WIDE = "_" + "W" * 39 + "日本語の名前" * 6
CLASSES = [f"{HOSTILE[:40]} {i}" for i in range(30)]
NAMES = {f"layer_{i}": f"{HOSTILE[:80]}{i}" for i in range(4)}
NAMES |= {"accuracy": HOSTILE, "linear_cka": WIDE, "eigenspectrum": f"_{HOSTILE}"}

LONG = "long names of layers, metrics and classes"
SCENES: dict[str, Callable[[Path], RunSet]] = {
    "one run with all metrics": lambda folder: runs(
        folder, MLP, change=lambda metric, value: value
    ),
    "two experiments": lambda folder: runs(folder, GREEDY, GREEDY | {"seed": 1}, MLP),
    "three seeds": lambda folder: runs(folder, *({"seed": i, "depth": 2} for i in range(3))),
    "2, 4 and 20 layers": lambda folder: runs(folder, {"depth": 2}, MLP, {"depth": 20}),
    "older scripts": lambda folder: RunSet((load_old_run(folder),)),
    "an old run and a new one": lambda folder: RunSet(
        (load_old_run(folder), write(folder, depth=2))
    ),
    "long labels": lambda folder: RunSet(
        (write(folder), write(folder, seed=1), write(folder, model="mlp")),
        (HOSTILE[:80], HOSTILE[:80], WIDE),
    ),
    LONG: lambda folder: runs(
        folder, MLP | {"names": NAMES, "classes": CLASSES, "dataset": HOSTILE}
    ),
    "values here and there": lambda folder: runs(
        folder, GREEDY, GREEDY | {"seed": 1}, MLP, change=here_and_there
    ),
}

# What networks in single precision can have, by metric.
EXTREMES = (
    {
        "accuracy": one_of(0),
        "cross_entropy": one_of(1e37, 1e38, 3e38),
        "gaussian_entropy": one_of(-1e38, -1e-40, 0, 1, 3e38),
        "mutual_information": one_of(1e-45, 1e-44, 1e-30),
        "linear_cka": one_of(1, 1 + 2**-52, 1 + 2**-51),
    },
    {
        "accuracy": one_of(12.5, 97.5, 100),
        "cross_entropy": one_of(1e-45, 1, 1e38),
        "gaussian_entropy": one_of(-1, -20, -3000),
        "mutual_information": one_of(3.5),
        "linear_cka": one_of(-3.5),
    },
)
SCENES |= {
    f"extreme values {i}": lambda folder, chosen=chosen: runs(
        folder,
        {"depth": 2},
        change=lambda metric, value: chosen[metric](metric, value) if metric in chosen else None,
    )
    for i, chosen in enumerate(EXTREMES)
}


IN_CI = ("one run with all metrics", "2, 4 and 20 layers", LONG, "values here and there")
"""Scenes that CI draws; those that are left out are the slow ones."""

ALL_VIEWS = {LONG, *(name for name in SCENES if name.startswith("extreme"))}
"""Scenes of which not only the first view of a plot is drawn."""


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunSet]:
    """A function that returns the runs of a scene, which are written once."""
    written: dict[str, RunSet] = {}

    def runs_of(name: str) -> RunSet:
        if name not in written:
            written[name] = SCENES[name](tmp_path_factory.mktemp("runs"))
        return written[name]

    return runs_of


def figures(plot: Plot, runs: RunSet, most: int | None) -> Iterator[Figure]:
    """The figures of a plot's first views, those without a reason against them, laid out."""
    for task in islice(tasks([plot], runs), most):
        reason = task.reason
        if task.view is not None:
            try:
                with figure_of(plot, task.view) as figure:
                    figure.draw_without_rendering()
                    yield figure
            except UndefinedError as error:
                reason = str(error)
        assert reason is None or len(reason.split()) > 3, "the reason is no sentence"


# What can be read

TOLERANCE = 1.5
"""Pixels, of which there are 100 per inch."""

Corners = NDArray[np.float64]
"""The corners of a rectangle (4, 2), in order."""


def problems(figure: Figure) -> list[str]:
    """What cannot be read in a figure that was laid out."""
    return [
        *_clipped(figure),
        *_overlapping(figure),
        *_nameless(figure),
        *_without_key(figure),
        *_invisible(figure),
    ]


def _clipped(figure: Figure) -> Iterator[str]:
    outside = {text.get_text(): box for text, box in _texts(figure).items()}
    outside |= {f"the key {i}": _corners(key) for i, key in enumerate(_keys(figure))}
    for name, box in outside.items():
        over = np.maximum(-box.min(axis=0), box.max(axis=0) - figure.bbox.size).max()
        if over > TOLERANCE:
            yield f"{name!r} sticks out of the picture by {over:.0f} pixels"


def _overlapping(figure: Figure) -> Iterator[str]:
    texts = _texts(figure)
    names, boxes = [text.get_text() for text in texts], list(texts.values())
    low = np.array([box.min(axis=0) for box in boxes])
    high = np.array([box.max(axis=0) for box in boxes])
    near = ((low[:, None] < high) & (low < high[:, None])).all(axis=2)
    for i, j in np.argwhere(np.triu(near, 1)):
        if not _apart(boxes[i], boxes[j]):
            yield f"{names[i]!r} overlaps {names[j]!r}"
    areas = [axes for axes in figure.axes if axes.axison]
    for place, axes in enumerate(areas):
        box = _corners(axes)
        for text, other in texts.items():
            if text in axes.texts:
                if (other.min(0) < box.min(0)).any() or (other.max(0) > box.max(0)).any():
                    yield f"{text.get_text()!r} sticks out of its axes"
            elif not _apart(box, other):
                yield f"{text.get_text()!r} overlaps axes"
        if any(not _apart(box, _corners(other)) for other in areas[:place]):
            yield "axes overlap axes"


def _nameless(figure: Figure) -> Iterator[str]:
    for axes in figure.axes:
        titles = [axes.get_title(loc=place) for place in ("left", "center", "right")]
        ticks = {tick.get_text() for axis in (axes.xaxis, axes.yaxis) for tick in _ticks(axis)}
        speaks = any(character.isalpha() for tick in ticks for character in tick)
        if axes.axison and not any([*titles, axes.get_xlabel(), axes.get_ylabel(), speaks]):
            yield "axes have neither title nor label"


def _without_key(figure: Figure) -> Iterator[str]:
    """Lines through several points, of several colours, need a key; of many some are named."""
    known = {to_hex(handle.get_color()) for key in _keys(figure) for handle in key.get_lines()}
    lines = [line for axes in figure.axes for line in axes.lines if len(line.get_xdata()) > 2]
    colours = {to_hex(line.get_color()) for line in lines if line.get_linestyle() != "None"}
    if len(colours) > 1 and len(colours & known) < min(len(colours), 8):
        yield f"of {len(colours)} colours of lines {len(colours & known)} are in a key"


def _invisible(figure: Figure) -> Iterator[str]:
    for axes in figure.axes:
        for line in axes.lines:
            points = np.isfinite(np.asarray(line.get_ydata(), dtype=float)).sum()
            if points == 1 and line.get_marker() in ("", "None", None):
                yield "a line through one point has no marker"


def _keys(figure: Figure) -> list[Legend]:
    return figure.findobj(Legend)


def _texts(figure: Figure) -> dict[Text, Corners]:
    """All texts that are drawn, and where."""
    hidden: set[Text] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            ticks = {label for label, _ in _all_ticks(axis)}
            hidden |= ticks.difference(_ticks(axis)) if axes.axison else {axis.label, *ticks}
    found = [x for x in figure.findobj(Text) if x.get_visible() and x.get_text().strip()]
    return {text: _outline(text) for text in found if text not in hidden}


def _all_ticks(axis: Axis) -> Iterator[tuple[Text, float]]:
    for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
        yield from ((label, tick.get_loc()) for label in (tick.label1, tick.label2))


def _ticks(axis: Axis) -> list[Text]:
    """The labels of those ticks that are within the limits of an axis."""
    place = axis.get_transform().transform
    low, high = sorted(map(place, axis.get_view_interval()))
    slack = 1e-6 * (high - low)
    return [x for x, at in _all_ticks(axis) if low - slack <= place(at) <= high + slack]


def _outline(text: Text) -> Corners:
    angle = math.radians(text.get_rotation())
    if text.get_rotation() % 90 == 0 or text.get_rotation_mode() != "anchor":
        return _corners(text)
    text.set_rotation(0)
    flat = _corners(text)
    text.set_rotation(math.degrees(angle))
    pivot = text.get_transform().transform(text.get_unitless_position())
    turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    return pivot + (flat - pivot) @ np.array(turn)


def _corners(artist: Any) -> Corners:
    return np.asarray(artist.get_window_extent().corners()[[0, 1, 3, 2]])


def _apart(one: Corners, other: Corners) -> bool:
    """Whether a line along a side of one of two rectangles divides them, but for the tolerance."""
    for box in (one, other):
        for side in np.diff(box[:3], axis=0):
            length = math.hypot(*side)
            across = np.array([-side[1], side[0]]) / length if length else np.zeros(2)
            first, second = np.sort(one @ across), np.sort(other @ across)
            if min(first[-1] - second[0], second[-1] - first[0]) <= TOLERANCE:
                return True
    return False


# Tests


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=() if x in IN_CI else pytest.mark.slow) for x in SCENES]
)
@each_plot
def test_every_plot_can_be_read(plot: Plot, name: str, scene: Callable[[str], RunSet]) -> None:
    for figure in figures(plot, scene(name), None if name in ALL_VIEWS else 1):
        assert problems(figure) == []


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    "plot",
    [plot for plot in PLOTS if plot.definition.is_of_questions],
    ids=lambda plot: plot.label,
)
def test_plots_that_answer_draw_each_question(
    plot: Plot, question: Question, scene: Callable[[str], RunSet]
) -> None:
    for name in ("two experiments", LONG):
        with figure_of(plot, PlotView(scene(name), question=question)) as figure:
            figure.draw_without_rendering()
            assert problems(figure) == []


def test_every_plot_draws_two_experiments_and_another_process_draws_the_same(
    tmp_path: Path,
) -> None:
    both = runs(
        tmp_path, GREEDY | {"depth": 2}, MLP | {"depth": 2}, change=only("accuracy", "linear_cka")
    )
    options = {"metric": "accuracy", "layer": "layer_1"}
    plots = [plot.with_what_it_takes(options) for plot in PLOTS]
    drawn = list(draw(tasks(plots, both), tmp_path / "here", "svg", policy="raise"))
    assert {picture.task.plot.label for picture in drawn if picture.path} == {
        plot.label for plot in PLOTS
    }
    assert plt.get_fignums() == []
    command = [sys.executable, "-m", "cmp_core", "plot", "all", f"--out={tmp_path / 'there'}"]
    command += ["--format=svg", *(f"--{name}={value}" for name, value in options.items())]
    subprocess.run(
        [*command, *(run.directory for run in both.runs)],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        check=True,
        capture_output=True,
    )
    for path in (tmp_path / "there").iterdir():
        assert path.read_bytes() == (tmp_path / "here" / path.name).read_bytes(), path.name


# The checks


@pytest.fixture
def figure() -> Iterator[Figure]:
    """A figure with one pair of axes, all of which can be read."""
    figure, axes = plt.subplots(figsize=(4, 3), dpi=100, layout="constrained")
    axes.plot([0, 1], [0, 1])
    axes.set(title="title", xlabel="x", ylabel="y")
    yield figure
    plt.close(figure)


def sees(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return problems(figure)


def name_x(axes: Axes, places: list[float], names: list[str], turned: float = 0) -> None:
    style = {"rotation": turned, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    axes.set_xticks(places, names, **style)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda axes: None, []),
        (lambda axes: axes.figure.text(0.95, 0, "a text"), ["'a text' sticks out"]),
        (lambda axes: axes.figure.text(0.5, 0.5, "headline"), ["'headline' overlaps axes"]),
        (lambda axes: name_x(axes, [0.5, 0.51], ["left", "right"]), ["'left' overlaps 'right'"]),
        (lambda axes: name_x(axes, [0.4, 0.5], ["long name"] * 2, 40), []),
        (lambda axes: name_x(axes, [0.48, 0.5], ["long"] * 2, 40), ["'long' overlaps 'long'"]),
        (lambda axes: axes.set(title="", xlabel="", ylabel=""), ["axes have neither title"]),
        (lambda axes: axes.plot([0, 1], [0.5, math.nan]), ["a line through one point"]),
    ],
)
def test_what_cannot_be_read_is_seen(
    figure: Figure, change: Callable[[Axes], Any], expected: list[str]
) -> None:
    change(figure.axes[0])
    found = sees(figure)
    assert len(found) == len(expected)
    assert all(map(str.startswith, found, expected))


def test_lines_without_a_key_are_seen(figure: Figure) -> None:
    axes = figure.axes[0]
    lines = [axes.plot([0, 0.5, 1], [i, 1, 1], color=colour)[0] for i, colour in enumerate("rg")]
    assert sees(figure) == ["of 2 colours of lines 0 are in a key"]
    figure.legend(lines, ["red", "green"], loc="outside right upper")
    assert sees(figure) == []
