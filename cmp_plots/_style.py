"""What the built-in plots share: panels, colours of layers and groups, scales and labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmp_core import PALETTE, Group, PlotView, RunRecord, UndefinedError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PHASE_NAMES = {
    "batch": "training batches",
    "train": "training subset",
    "val": "validation",
    "test": "test",
}
MOST_IN_LEGEND = 8
"""More layers than this get a colour bar in place of a legend."""


# Figures


def panels(
    count: int, columns: int = 4, size: tuple[float, float] = (3.4, 2.5), **options: object
) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` axes in rows of at most `columns`."""
    from matplotlib import pyplot as plt

    columns = min(columns, count)
    rows = math.ceil(count / columns)
    width = max(columns * size[0], 5.0)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(width, rows * size[1] + 0.7),
        squeeze=False,
        **options,  # type: ignore[arg-type]
    )
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def single(width: float = 7.0, height: float = 4.2) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes."""
    figure, (axes,) = panels(1, size=(width, height))
    return figure, axes


def title(figure: Figure, text: str, context: str) -> None:
    """Put a headline and a line of context above all axes."""
    figure.suptitle(f"{text}\n{context}", x=0.01, ha="left")


def context(view: PlotView, phase: str | None = None) -> str:
    """Return which runs, split and numbers of samples a picture shows."""
    groups = [_described(group) for group in view.groups]
    who = "; ".join(groups) if len(groups) <= 3 else f"{len(view.runs)} runs"
    datasets = " and ".join(sorted({run.dataset for run in view.runs}))
    where = [] if phase is None else [_split(view, phase)]
    return " · ".join([f"{who} on {datasets}", *where])


def _described(group: Group) -> str:
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


# Colours


def layer_colours(layers: Sequence[str]) -> dict[str, tuple[float, float, float, float]]:
    """Return a colour per layer, from dark for the first to light for the last."""
    import matplotlib as mpl

    shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.88, max(2, len(layers))))
    return {layer: tuple(shade) for layer, shade in zip(layers, shades, strict=False)}


def group_colours(groups: Iterable[Group]) -> dict[str, str]:
    """Return a colour per group of runs."""
    return {group.label: PALETTE[i % len(PALETTE)] for i, group in enumerate(groups)}


def layer_key(figure: Figure, axes: Sequence[Axes], layers: Sequence[str]) -> None:
    """Tell which colour is which layer: a legend beside the axes, or a bar if there are many."""
    import matplotlib as mpl

    if len(layers) <= MOST_IN_LEGEND:
        colours = layer_colours(layers)
        handles = [mpl.lines.Line2D([], [], color=colours[layer]) for layer in layers]
        figure.legend(handles, layers, loc="outside right upper")
        return
    ends = mpl.colormaps["viridis"](np.linspace(0.0, 0.88, len(layers)))
    bar = figure.colorbar(
        mpl.cm.ScalarMappable(
            mpl.colors.BoundaryNorm(np.arange(len(layers) + 1) - 0.5, len(layers)),
            mpl.colors.ListedColormap(ends),
        ),
        ax=list(axes),
        label="layer, in order of depth",
        fraction=0.05,
    )
    bar.set_ticks(np.unique(np.linspace(0, len(layers) - 1, 6).round().astype(int)).tolist())
    bar.ax.tick_params(which="both", length=0)


# Axes


def metric_label(runs: Sequence[RunRecord], metric: str) -> str:
    """Return a metric's name with its unit."""
    units = {unit for run in runs if (unit := run.unit_of(metric))}
    return f"{metric} ({units.pop()})" if len(units) == 1 else metric


def readable(name: str, width: int = 24) -> str:
    """Return a long name on two lines, broken at an underscore."""
    if len(name) <= width or "_" not in name:
        return name
    cuts = [i for i, letter in enumerate(name) if letter == "_"]
    cut = min(cuts, key=lambda i: abs(i - len(name) / 2))
    return f"{name[: cut + 1]}\n{name[cut + 1 :]}"


def set_scale(axes: Axes, runs: Sequence[RunRecord], metric: str, values: ArrayLike) -> None:
    """Give the value axis a scale that suits the metric and its values.

    - shares in [0, 1] that come near 1: logit, on which .9, .99 and .999 are equally far apart;
    - positive values over more than a decade and a half: logarithmic;
    - signed values whose sizes differ by more than a hundredfold: linear near 0, logarithmic
      beyond; 0 is marked wherever it is crossed.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return
    facts = next((run.facts[metric] for run in runs if metric in run.facts), None)
    low, high = float(numbers.min()), float(numbers.max())
    if facts is not None and facts.bounds == (0, 1) and high >= 0.9 and high - low > 0.02:
        _set_logit(axes, low, high)
    elif low > 0 and high / low > 30:
        axes.set_yscale("log")
    elif low < 0 < high:
        axes.axhline(0, color="0.5", linewidth=0.8, zorder=1)
        sizes = np.abs(numbers[numbers != 0])
        if high > 0 and sizes.max() > 100 * np.quantile(sizes, 0.25):
            axes.set_yscale("symlog", linthresh=float(np.quantile(sizes, 0.25)))


_TICKS = (
    0.001,
    0.01,
    0.05,
    0.1,
    0.25,
    0.5,
    0.75,
    0.9,
    0.95,
    0.98,
    0.99,
    0.995,
    0.998,
    0.999,
    0.9995,
)
_NEAREST = 5e-4
"""How near to 0 and 1 the logit scale goes; values beyond are drawn at its ends."""


def _set_logit(axes: Axes, low: float, high: float) -> None:
    def forward(share: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = np.clip(share, _NEAREST, 1 - _NEAREST)
        return np.asarray(np.log(inside / (1 - inside)))

    def backward(logit: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(1 / (1 + np.exp(-np.asarray(logit))))

    axes.set_yscale("function", functions=(forward, backward))
    ends = forward(np.array([low, high]))
    pad = 0.06 * (ends[1] - ends[0])
    bottom, top = backward(np.array([ends[0] - pad, ends[1] + pad]))
    axes.set_ylim(max(bottom, _NEAREST), min(top, 1 - _NEAREST))
    inside = [tick for tick in _TICKS if bottom <= tick <= top]
    spaced: list[float] = []
    for tick in reversed(inside):  # the upper ticks matter most
        place = forward(np.array([tick, *spaced[-1:]]))
        if not spaced or abs(place[0] - place[1]) > 0.09 * (ends[1] - ends[0] + 2 * pad):
            spaced.append(tick)
    axes.set_yticks(spaced, [f"{tick:g}" for tick in spaced])
    axes.yaxis.set_minor_locator(_no_ticks())


def _no_ticks() -> object:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def whole_ticks(axes: Axes) -> None:
    """Put ticks of the horizontal axis at whole numbers only, as epochs have them."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))


def layer_ticks(axes: Axes, layers: Sequence[str], *, vertical: bool = False) -> None:
    """Name the layers along an axis: every one, or with many every second, third, …"""
    step = math.ceil(len(layers) / 12)
    places = list(range(0, len(layers), step))
    names = [layers[i] for i in places]
    if vertical:
        axes.set_yticks(places, names)
        return
    crowded = sum(map(len, names)) > 40
    turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axes.set_xticks(places, names, **turned)


# Cells


def draw_heatmap(
    axes: Axes, values: NDArray[np.float64], view: PlotView, label: str, most_numbers: int = 120
) -> None:
    """Draw values (rows, columns) as colours, with numbers where there are few cells.

    Signed values of both signs get a diverging map about 0, positive ones over many decades a
    logarithmic map.
    """
    import matplotlib as mpl

    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    norm: mpl.colors.Normalize
    if low < 0 < high:
        reach = max(-low, high)
        norm, colours = mpl.colors.Normalize(-reach, reach), "RdBu_r"
    elif low > 0 and high / low > 30:
        norm, colours = mpl.colors.LogNorm(low, high), "cividis"
    else:
        norm, colours = mpl.colors.Normalize(low, high), "cividis"
    image = axes.imshow(values, aspect="auto", cmap=colours, norm=norm)
    axes.grid(visible=False)
    axes.figure.colorbar(image, ax=axes, label=label, pad=0.02)
    if values.size <= most_numbers:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                write_in_cell(axes, row, column, number(value), image.cmap(norm(value)))


def write_in_cell(
    axes: Axes, row: int, column: int, text: str, background: tuple[float, ...]
) -> None:
    """Write a text into a cell, in black or white, whichever can be read."""
    red, green, blue = background[:3]
    is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
    axes.text(
        column,
        row,
        text,
        ha="center",
        va="center",
        fontsize=8,
        color="white" if is_dark else "black",
    )


def number(value: float) -> str:
    """Return a number in at most three digits, without an exponent where it fits.

    >>> number(0.98765), number(1234.5), number(-0.0001)
    ('0.988', '1234', '-1e-04')
    """
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.0e}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


# Lines


def mean_and_spread(axes: Axes, x: ArrayLike, values: NDArray[np.float64], **style: object) -> None:
    """Draw the mean of values (runs, k) over x (k,) and, for several runs, their range."""
    present = np.isfinite(values).any(axis=0)
    if not present.any():
        return
    at, kept = np.asarray(x)[present], values[:, present]
    (line,) = axes.plot(at, np.nanmean(kept, axis=0), **style)  # type: ignore[arg-type]
    if len(values) > 1:
        low, high = np.nanmin(kept, axis=0), np.nanmax(kept, axis=0)
        axes.fill_between(at, low, high, color=line.get_color(), alpha=0.2, linewidth=0)


def over_epochs(
    runs: Sequence[RunRecord], phase: str, layer: str, metric: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return epochs (k,) and the values of the runs at a layer (runs, k), NaN where missing."""
    found = [run.series(phase, layer, metric) for run in runs]
    times = [series.epochs for series in found if series is not None]
    epochs = np.unique(np.concatenate(times)) if times else np.zeros(0, dtype=np.int64)
    values = np.full((len(runs), len(epochs)), np.nan)
    for row, series in zip(values, found, strict=True):
        if series is not None:
            row[np.searchsorted(epochs, series.epochs)] = series.values
    return epochs, values


def require(there: bool, reason: str) -> None:
    """Raise the reason where there is nothing to draw."""
    if not there:
        raise UndefinedError(reason)
