"""A metric by layer and time, or by layer and run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from cmp_core import PlotView, ReplicateGroup, plot
from cmp_plots._cells import colour_bar, draw_cells, in_digits
from cmp_plots._lines import profiles
from cmp_plots._scales import colour_scale
from cmp_plots._style import (
    bounds,
    context,
    layer_ticks,
    metric_label,
    name_ticks,
    panel_title,
    panels,
    require,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_WITH_NUMBERS = 120
_WIDEST = 20


@attrs.frozen(eq=False)
class _Block:
    """Cells with one scale of colours: the layers (k,), the columns (m,), the values (k, m)."""

    name: str
    layers: list[str]
    columns: list[str]
    values: NDArray[np.float64]


@plot("heatmap", file="heatmap_{metric}_{phase}")
def heatmap(view: PlotView) -> Figure:
    """A metric by layer and epoch; for several runs by layer and run, at the tested weights.

    Empty cells have no value: the layer is not there, or the metric is not defined at it.
    Experiments that have the metric on different scales have colours of their own.
    """
    is_alone = len(view.runs) == 1
    found = [_by_epoch(view)] if is_alone else _by_run(view)
    blocks = [block for block in found if block.values.size]
    require(blocks, f"no value of {view.metric} in {view.phase}")
    room, most = 0.5 if is_alone else 1.0, max(len(block.columns) for block in blocks)
    width = float(np.clip(room * most + 1.8, 5.5, 12.0))
    height = max(1.9, 0.34 * max(len(block.layers) for block in blocks) + 0.7)
    figure, grid = panels(len(blocks), 1, (width, height + 0.4 * (len(blocks) > 1)))
    for axes, block in zip(grid, blocks, strict=True):
        _draw(axes, view, block, height)
        panel_title(axes, block.name if len(blocks) > 1 else "", width - 1.8)
        axes.set_xlabel("epoch (0: untrained)" if is_alone else "")
    what = "epoch" if is_alone else "run"
    told = context(view, view.phase, tested=not is_alone)
    title(figure, f"{view.metric} by layer and {what}", told)
    return figure


def _by_epoch(view: PlotView) -> _Block:
    epochs, values = view.run.grid(view.phase, view.metric)
    return _block("", view.run.layers, [str(epoch) for epoch in epochs], values)


def _by_run(view: PlotView) -> list[_Block]:
    """Return a block for the runs of each scale."""
    names = dict(zip(map(id, view.runs), view.run_set.names, strict=True))
    blocks = []
    for part in view.run_set.on_one_scale(view.metric):
        members = {id(run) for group in part for run in group.runs}
        runs = tuple(run for run in view.runs if id(run) in members)
        layers = view.run_set.layers
        values = profiles(ReplicateGroup("", runs), layers, view.metric, view.phase).T
        label = ", ".join(group.label for group in part)
        blocks.append(_block(label, layers, [names[id(run)] for run in runs], values))
    return blocks


def _block(
    name: str, layers: tuple[str, ...], columns: list[str], values: NDArray[np.float64]
) -> _Block:
    """Return the cells of those layers that have a value."""
    present = np.isfinite(values).any(axis=1)
    kept = [layers[i] for i in np.flatnonzero(present)]
    return _Block(name, kept, columns, values[present])


def _draw(axes: Axes, view: PlotView, block: _Block, height: float) -> None:
    norm, colours, scale = colour_scale(block.values, bounds(view, view.metric))
    fits = block.values.size <= _MOST_WITH_NUMBERS and len(block.columns) <= _WIDEST
    texts = in_digits(block.values) if fits else None
    image = draw_cells(axes, block.values, texts, norm=norm, cmap=colours)
    colour_bar(image, axes, metric_label(view, view.metric, scale, height - 0.55))
    layer_ticks(axes, block.layers, vertical=True)
    name_ticks(axes, block.columns)
