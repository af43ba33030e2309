"""Which classes the network takes for which."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmp_core import PlotView, ReplicateGroup, plot
from cmp_plots._cells import colour_bar, draw_cells
from cmp_plots._style import context, name_ticks, panel_title, panels, require, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_WITH_NUMBERS = 20
"""With more classes than this the cells hold no numbers."""


@plot("confusion", file="confusion_matrix{normalized}", standard=True, in_report=True)
def confusion(view: PlotView) -> Figure:
    """Counts of true and predicted classes on the test split, or shares of each true class.

    Replicates are summed. Right predictions are on the diagonal; shares are of a row, so each row
    adds up to 1.
    """
    shown = [(group, counts) for group in view.groups if (counts := _counts(group)) is not None]
    require(shown, "no run has a confusion matrix")
    classes = max(len(counts) for _, counts in shown)
    names = max((len(name) for group, _ in shown for name in group.runs[0].class_names), default=1)
    side = float(np.clip(0.4 * classes + 0.9, 4.0, 9.0))
    figure, grid = panels(len(shown), columns=2, size=(side + min(0.08 * names, 1.5) + 0.9, side))
    for axes, (group, counts) in zip(grid, shown, strict=True):
        _draw(axes, counts, group.runs[0].class_names, view.normalized)
        if len(shown) > 1:
            panel_title(axes, group.label, side - 0.4)
    what = "shares of the true class" if view.normalized else "counts"
    summed = ", summed over runs" if any(len(group.runs) > 1 for group, _ in shown) else ""
    title(figure, f"Confusion in the test: {what}{summed}", context(view))
    return figure


def _counts(group: ReplicateGroup) -> NDArray[np.int64] | None:
    """Return the sum over a group's runs that were tested on as many classes as its first."""
    matrices = [run.confusion for run in group.runs]
    there = [counts for counts in matrices if counts is not None]
    same = [counts for counts in there if counts.shape == there[0].shape]
    return np.stack(same).sum(axis=0) if same else None


def _draw(axes: Axes, counts: NDArray[np.int64], names: tuple[str, ...], normalized: bool) -> None:
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, rows, out=np.zeros(counts.shape), where=rows > 0)
    texts = None
    if len(counts) <= _MOST_WITH_NUMBERS:
        words = [f"{x:.2f}" for x in shares.flat] if normalized else [str(x) for x in counts.flat]
        texts = np.where(counts > 0, np.array(words).reshape(counts.shape), "")
    # Errors are few beside the diagonal: a square root lets them be seen.
    image = draw_cells(axes, np.sqrt(shares), texts, cmap="Blues", vmin=0, vmax=1)
    labels = names if len(names) == len(counts) else [str(i) for i in range(len(counts))]
    name_ticks(axes, labels)
    name_ticks(axes, labels, vertical=True)
    axes.set(xlabel="predicted class", ylabel="true class")
    bar = colour_bar(image, axes, "share of the true class (square-root scale)")
    ticks = [0, 0.01, 0.05, 0.2, 0.5, 1]
    bar.set_ticks([math.sqrt(tick) for tick in ticks], labels=[f"{tick:g}" for tick in ticks])
