"""What the built-in plots share: panels, titles and keys, colours, names along axes."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from cmp_core import PALETTE, PlotView, ReplicateGroup, RunRecord, UndefinedError
from cmp_plots._scales import UNBOUNDED, Bounds

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Style = dict[str, Any]
"""How a line looks, in matplotlib's words."""

PHASE_NAMES = {
    "batch": "training batches",
    "train": "training subset",
    "val": "validation",
    "test": "test",
}
MOST_IN_KEY = 12
"""Of more layers than this the key names some, from which the others' colours can be told."""

# A leading underscore keeps matplotlib from putting them into keys of single axes.
RANGE = "_range over runs (min–max)"
INTERVAL = "_95 % interval"
BEAM = "beam"
"""The marker of a bar with caps."""

MARKS: dict[str, Style] = {
    RANGE: {"facecolor": "0.5", "alpha": 0.3, "linewidth": 0},
    INTERVAL: {"color": "0.5", "linestyle": "none", "marker": BEAM},
}
"""How bands and bars look in a key, by the labels that their artists have."""

_HEADLINE: Style = {"fontsize": 12, "fontweight": "bold"}
_HANDLE = 0.6
"""Width in inches of the piece of line beside a name in a key, with what keeps entries apart."""


# Figures


def panels(
    count: int, columns: int = 4, size: tuple[float, float] = (3.4, 2.6), **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` axes in rows of at most `columns`, each of a size in inches."""
    from matplotlib import pyplot as plt

    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = plt.figure(figsize=(max(columns * size[0], 5.0), rows * size[1]), layout="constrained")
    # The axes have a part of their own, for a headline and a key outside one part would overlap.
    body = figure.add_subfigure(figure.add_gridspec()[0])
    grid = body.subplots(rows, columns, squeeze=False, **options)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def title(figure: Figure, text: str, context: str, key: Mapping[str, Style] | None = None) -> None:
    """Put a headline, a line of context and a key of the lines above all axes.

    The key also names what bands and bars are, wherever there are any, see `MARKS`. The figure
    grows by the height of all this, and by that of turned names along the bottom of axes.
    """
    key = {**(key or {}), **_marks(figure)}
    width = figure.get_figwidth() - 0.2
    body, below = figure.subfigs[0], literal(context, width)
    place: Style = {"x": 0.08 / figure.get_figwidth(), "ha": "left"}
    above: list[Artist] = [figure.suptitle(literal(text, width, **_HEADLINE), **place, **_HEADLINE)]
    if key:
        options: Style = {"loc": "outside upper left", "title": below, "alignment": "left"}
        options |= {"borderpad": 0, "borderaxespad": 0.6}
        legend = body.legend(
            handles=list(map(handle, key.values())), **key_layout(key, width), **options
        )
        legend.get_title().set_alpha(0.75)
        above.append(legend)
    else:
        above.append(body.suptitle(below, fontsize=10, alpha=0.75, **place))
    pixels = sum(artist.get_window_extent().height for artist in above)
    grow(figure, pixels / figure.dpi + 0.17)


def handle(style: Style) -> Artist:
    """Return what stands beside a name in a key: a patch where there is a face, or a line."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.path import Path

    if "facecolor" in style:
        return Patch(**style)
    if style.get("marker") == BEAM:
        caps_and_bar = [(-0.35, 1), (0.35, 1), (0, 1), (0, -1), (-0.35, -1), (0.35, -1)]
        beam = Path(caps_and_bar, [Path.MOVETO, Path.LINETO] * 3)
        look = {"marker": beam, "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.2}
        style = {**style, **look}
    return Line2D([], [], **style)


def _marks(figure: Figure) -> dict[str, Style]:
    """Return the key of those of `MARKS` that are drawn somewhere."""
    drawn = {one.get_label() for axes in figure.axes for one in axes.collections}
    drawn |= {one.get_label() for axes in figure.axes for one in axes.containers}
    return {name.removeprefix("_"): style for name, style in MARKS.items() if name in drawn}


def grow(figure: Figure, inches: float = 0) -> None:
    """Make a figure taller by some inches, and by what names along the bottom of axes need.

    The constrained layout keeps the figure's size, and would take the room from the axes.
    """
    names = [(axes, axes.xaxis.get_tightbbox()) for axes in figure.axes]
    depths = [axes.get_window_extent().y0 - box.y0 for axes, box in names if box is not None]
    place = figure.axes[0].get_subplotspec()
    rows = 1 if place is None else place.get_gridspec().nrows
    more = rows * max(0.0, max(depths, default=0) / figure.dpi - 0.5)
    figure.set_figheight(figure.get_figheight() + inches + more)


def key_layout(names: Iterable[str], width: float) -> Style:
    """Return the labels of a key, and in how many columns they fit into some inches."""
    labels = [literal(name, min(4, width - _HANDLE), lines=1) for name in names]
    longest = max(map(_inches, labels), default=0)
    columns = int(width / (longest + _HANDLE))
    return {"labels": labels, "ncols": max(1, min(len(labels), columns))}


def context(view: PlotView, phase: str | None = None, *, tested: bool = False) -> str:
    """Return which runs, split and numbers of samples a picture shows, and of which weights.

    Args:
        view: what is drawn.
        phase: the split, if it shows one.
        tested: whether it shows the tested weights alone, whose epochs are told.
    """
    groups = [_described(group) for group in view.groups]
    who = "; ".join(groups) if len(groups) <= 3 else f"{len(view.runs)} runs"
    datasets = " and ".join(sorted(view.run_set.datasets))
    where = [] if phase is None else [_split(view, phase)]
    where += [f"weights of {tested_epochs(view.runs)}"] if tested else []
    if all(group.foreign for group in view.groups):
        where.append("as another program has logged it")
    return " · ".join([f"{who} on {datasets}", *where])


def mean_over_runs(groups: Iterable[ReplicateGroup]) -> str:
    """Return how a headline ends where what is shown of a group is the mean over its runs."""
    return ", mean over runs" if any(len(group.runs) > 1 for group in groups) else ""


def tested_epochs(runs: Iterable[RunRecord]) -> str:
    """Return the epochs whose weights were tested, in words."""
    epochs = sorted({run.tested_epoch for run in runs})
    if len(epochs) == 1:
        return f"epoch {epochs[0]}"
    joined = " and " if len(epochs) == 2 else " to "
    return f"epochs {epochs[0]}{joined}{epochs[-1]}"


def _described(group: ReplicateGroup) -> str:
    seeds = [str(run.seed) for run in group.runs if run.seed is not None]
    if len(seeds) == 1:
        return f"{group.label}, seed {seeds[0]}"
    return f"{group.label}, {len(group.runs)} seeds" if seeds else group.label


def _split(view: PlotView, phase: str) -> str:
    sizes = {
        int(series.n[-1])
        for run in view.runs
        for (p, _, metric), series in run.log.series.items()
        if p == phase and view.metric in ("", metric)
    } - {0}
    name = PHASE_NAMES[phase]
    if phase == "train" and any(run.log.averages_batches for run in view.runs):
        name = "means over training batches"
    return f"{name} (n = {max(sizes):,})" if sizes else name


def literal(
    text: str, width: float, lines: int = 2, fontsize: float = 10, fontweight: str = "normal"
) -> str:
    """Return a text broken to lines of some inches; if they do not suffice, the last loses letters.

    It loses them in its middle: what long names differ in may be at their end. Lines may end at an
    underscore. A dollar sign is itself, and begins no formula.

    >>> literal("bits per $ of mutual_information", 1.0)
    'bits per \\\\$ of\\nmutua…ation'
    """
    measure = partial(_inches, fontsize=fontsize, fontweight=fontweight)
    rest, broken = " ".join(text.split()), list[str]()
    while len(broken) < lines - 1 and measure(rest) > width:
        beginnings = [rest[:end] for end in range(1, len(rest))]
        fits = max(1, bisect_right(beginnings, width, key=measure))
        end = max(rest.rfind(" ", 0, fits + 1), rest.rfind("_", 0, fits)) + 1 or fits
        broken.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    if measure(rest) > width:
        shortened = [f"{rest[: n - n // 2]}…{rest[len(rest) - n // 2 :]}" for n in range(len(rest))]
        rest = shortened[max(1, bisect_right(shortened, width, key=measure)) - 1]
    told = "\n".join([*broken, rest]).replace("$", r"\$")
    return f" {told}" if told.startswith("_") else told  # which matplotlib leaves out of a key


def _inches(text: str, fontsize: float = 10, fontweight: str = "normal") -> float:
    """Return how wide a line of text is in the fonts of the theme."""
    import matplotlib as mpl

    return _measured(text, fontsize, fontweight, tuple(mpl.rcParams["font.family"]))


@lru_cache(4096)
def _measured(text: str, fontsize: float, fontweight: str, families: tuple[str, ...]) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=list(families), size=fontsize, weight=fontweight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return 1.03 * float(width) / 72  # renderers round the places of letters


def panel_title(axes: Axes, text: str, width: float) -> None:
    """Put a title of at most some inches above axes."""
    axes.set_title(literal(text, width, fontsize=11))


# Colours


def layer_colours(layers: Sequence[str]) -> dict[str, Any]:
    """Return a colour per layer, from dark for the first to light for the last."""
    import matplotlib as mpl
    from matplotlib.colors import to_rgb

    is_dark = sum(to_rgb(mpl.rcParams["axes.facecolor"])) < 1.5
    ends = (0.25, 1.0) if is_dark else (0.0, 0.86)
    shades = mpl.colormaps["viridis"](np.linspace(*ends, max(2, len(layers))))
    return {layer: tuple(shade) for layer, shade in zip(layers, shades, strict=False)}


def layer_key(layers: Sequence[str]) -> dict[str, Style]:
    """Return the key of the layers' colours."""
    colours = layer_colours(layers)
    shown = _some(len(layers), MOST_IN_KEY)
    return {layers[i]: {"color": colours[layers[i]]} for i in shown}


def group_colours(groups: Sequence[ReplicateGroup]) -> dict[str, Any]:
    """Return a colour per group of runs."""
    import matplotlib as mpl

    colours: Iterable[Any] = PALETTE
    if len(groups) > len(PALETTE):
        colours = mpl.colormaps["turbo"](np.linspace(0.05, 0.95, len(groups)))
    return {group.label: colour for group, colour in zip(groups, colours, strict=False)}


def group_key(groups: Sequence[ReplicateGroup], **style: Any) -> dict[str, Style]:
    """Return the key of the groups' colours."""
    return {label: {"color": colour, **style} for label, colour in group_colours(groups).items()}


# Axes


def unit(view: PlotView, metric: str) -> str:
    """Return a metric's unit, empty where runs differ about it."""
    units = {run.unit_of(metric) for run in view.runs} - {""}
    return units.pop() if len(units) == 1 else ""


def measured(view: PlotView, phase: str) -> list[str]:
    """Return the headline metrics that any run has at a layer in this phase."""
    there = {
        metric
        for run in view.runs
        for p, layer, metric in run.log.series
        if p == phase and layer in run.layers
    }
    return [metric for metric in view.run_set.headlines if metric in there]


def on_tested(view: PlotView) -> PlotView:
    """Return a view of the test split where all runs have measured it, otherwise of validation."""
    is_tested = all(any(phase == "test" for phase, _, _ in run.log.series) for run in view.runs)
    return attrs.evolve(view, phase="test" if is_tested else "val")


Shown = tuple[str, tuple[ReplicateGroup, ...], str]
"""What a panel shows: a metric, the groups, and its title."""


def by_scale(view: PlotView, metrics: Sequence[str]) -> list[Shown]:
    """Return a panel for each metric, several where experiments have it on different scales."""
    shown = []
    for metric in metrics:
        parts = view.run_set.on_one_scale(metric)
        for groups in parts:
            names = ", ".join(group.label for group in groups)
            shown.append((metric, groups, metric if len(parts) == 1 else f"{metric}, {names}"))
    return shown


def with_unit(view: PlotView, metric: str, scale: str = "") -> str:
    """Return a metric's name with its unit and the name of the scale, where there are any."""
    told = unit_label(view, metric, scale)
    return f"{metric} ({told})" if told else metric


def unit_label(view: PlotView, metric: str, scale: str) -> str:
    """Return a metric's unit and the name of the scale that it is drawn on, as a label."""
    return ", ".join(filter(None, (unit(view, metric), scale)))


def metric_label(view: PlotView, metric: str, scale: str = "", width: float = 3.0) -> str:
    """Return a metric's name with its unit and scale, as the label of an axis of some inches."""
    return literal(with_unit(view, metric, scale), width)


def bounds(view: PlotView, metric: str) -> Bounds:
    """Return the smallest and largest possible value of a metric."""
    found = [run.metric_info[metric].bounds for run in view.runs if metric in run.metric_info]
    return found[0] if found else UNBOUNDED


def whole_ticks(axes: Axes) -> None:
    """Put ticks of the horizontal axis at whole numbers only, as epochs have them."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))


def layer_ticks(axes: Axes, layers: Sequence[str], *, vertical: bool = False) -> None:
    """Name the layers along an axis: `layer_0`, `layer_1`, … by their numbers."""
    name_ticks(axes, [layer.removeprefix("layer_") for layer in layers], vertical=vertical)
    axes.set(**{"ylabel" if vertical else "xlabel": "layer"})


def name_ticks(axes: Axes, names: Sequence[str], *, vertical: bool = False) -> None:
    """Name the places 0, 1, … along an axis: every one, or with many every second, third, …

    Along the bottom they are broken to lines where that suffices, and turned where it does not.
    """
    box = axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted())
    pitch = (box.height if vertical else box.width) / max(1, len(names))
    widest = 0.07 + max((_inches(word) for name in names for word in name.split()), default=0)
    turned: Style = {}
    if vertical:
        needed, room, lines = 0.17, min(3.4, 0.55 * box.width), 1
    elif widest <= max(pitch, 0.52):
        needed, room, lines = widest, max(pitch, widest) - 0.05, 4
    else:
        needed, room, lines = 0.26, 1.8, 1
        turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    places = _some(len(names), max(2, int(len(names) * pitch / needed)))
    axis = axes.yaxis if vertical else axes.xaxis
    axis.set_ticks(places, [literal(names[i], room, lines) for i in places], **turned)


def _some(count: int, most: int) -> list[int]:
    """Return at most so many of the numbers below a count, evenly spaced, and the last of all.

    >>> _some(5, 9), _some(21, 8)
    ([0, 1, 2, 3, 4], [0, 3, 6, 9, 12, 15, 20])
    """
    step = math.ceil(count / most) if count else 1
    return [i for i in range(0, count - 1, step) if count - 1 - i >= step] + [count - 1][:count]


def require(there: object, reason: str) -> None:
    """Raise the reason where there is nothing to draw."""
    if not there:
        raise UndefinedError(reason)
