"""How the variance of each layer falls off over its principal directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmp_core import PlotView, ReplicateGroup, plot
from cmp_plots._lines import INPUT, INPUT_LEVEL
from cmp_plots._scales import set_ticks
from cmp_plots._style import (
    context,
    layer_colours,
    layer_key,
    mean_over_runs,
    panel_title,
    panels,
    require,
    tested_epochs,
    title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SMALLEST = 1e-9
"""Smaller shares are rounding errors of a rank that is not full."""


@plot("eigenspectrum", file="eigenspectrum_{phase}")
def eigenspectrum(view: PlotView) -> Figure:
    """Eigenvalues of each layer's covariance as shares of their sum, untrained and tested weights.

    On logarithmic axes a power law is a straight line. Shares are of the logged eigenvalues, of
    which there may be fewer than the layer has units. Dashed: the input. A row per experiment, of
    which it is the mean over the runs.
    """
    vectors = [name for run in view.runs for p, _, name in run.log.vectors if p == view.phase]
    require(vectors, f"no vector-valued metric in {view.phase}")
    metric, layers = vectors[0], view.run_set.layers
    styles = {INPUT: INPUT_LEVEL}
    styles |= {layer: {"color": colour} for layer, colour in layer_colours(layers).items()}
    figure, grid = panels(2 * len(view.groups), 2, (4.0, 3.2), sharex=True, sharey=True)
    cells = [(group, tested) for group in view.groups for tested in (False, True)]
    drawn = []
    for axes, (group, tested) in zip(grid, cells, strict=True):
        for layer, style in styles.items():
            shares = _shares(group, view.phase, layer, metric, tested)
            marker = "o" if len(shares) == 1 else ""
            axes.plot(np.arange(1, len(shares) + 1), shares, marker=marker, **style)
            drawn.append(shares)
        name = f"{group.label}, " if len(view.groups) > 1 else ""
        weights = f"tested: {tested_epochs(group.runs)}" if tested else "untrained"
        panel_title(axes, f"{name}{weights}", 3.1)
        if not tested:
            axes.set_ylabel("share of the variance (log scale)")
    everything = np.concatenate(drawn)
    known = everything[np.isfinite(everything)]
    require(len(known), f"no {metric} of the tested or untrained weights in {view.phase}")
    for axes in grid:
        # At least a decade: equal eigenvalues differ by rounding.
        axes.set(xscale="log", yscale="log", xlabel="index of the eigenvalue (log scale)")
        axes.set_xlim(0.9, 1.1 * max(10, *map(len, drawn)))
        axes.set_ylim(min(known.min(), known.max() / 10) / 1.3, 1.3 * known.max())
        set_ticks(axes.xaxis)
        set_ticks(axes.yaxis)
    has_input = any((view.phase, INPUT, metric) in run.log.vectors for run in view.runs)
    key = layer_key(layers) | ({INPUT: INPUT_LEVEL} if has_input else {})
    what = f"{metric} by layer{mean_over_runs(view.groups)}"
    title(figure, what, context(view, view.phase), key)
    return figure


def _shares(
    group: ReplicateGroup, phase: str, layer: str, metric: str, tested: bool
) -> NDArray[np.float64]:
    """Return the mean over runs of the shares, empty where no run has any."""
    spectra = []
    for run in group.runs:
        epoch = run.tested_epoch if tested else 0
        for entry in run.log.vectors.get((phase, layer, metric), ()):
            total = np.nansum(entry.value)
            if total > 0 and (entry.epoch == epoch or (tested and phase == "test")):
                spectra.append(entry.value / total)
    length = min(map(len, spectra), default=0)
    mean = np.mean([spectrum[:length] for spectrum in spectra] or [np.zeros(0)], axis=0)
    return np.where(mean > _SMALLEST, mean, np.nan)
