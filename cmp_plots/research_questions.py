"""The three research questions, each with its evidence and its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmp_core import PALETTE, QUESTIONS, Answer, MetricEvidence, PlotView, plot
from cmp_plots._lines import INPUT_LEVEL, UNTRAINED, error_bars, mean_and_spread
from cmp_plots._scales import set_scale
from cmp_plots._style import (
    INTERVAL,
    MARKS,
    context,
    grow,
    handle,
    key_layout,
    layer_ticks,
    literal,
    panels,
    require,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

_HEIGHT = 1.7
"""Of the axes beside a label, in inches, with a key below them."""


@plot("research_questions", file="research_questions", answers=True, standard=True)
def research_questions(view: PlotView) -> Figure:
    """Predictive, compressing, different: the values that count as evidence, and the answers.

    A row per experiment. Bars: 95 % intervals, over seeds and test samples, or of one run over its
    samples. Dotted: the untrained network; dashed: the input. Compression is shown relative to the
    first layer.
    """
    questions = [view.question] if view.question else list(QUESTIONS)
    answers = [view.answer(group, question) for group in view.groups for question in questions]
    require(
        any(answer.evidence for answer in answers),
        "no metric that counts as evidence was measured at two layers or more",
    )
    width = 6.4 if view.question else 4.4
    figure, grid = panels(len(answers), columns=len(questions), size=(width, 3.6))
    for index, (axes, answer) in enumerate(zip(grid, answers, strict=True)):
        _draw(axes, answer, width - 0.8, is_alone=view.question is not None)
        group = view.groups[index // len(questions)]
        name = f"{group.label}: " if len(view.groups) > 1 else ""
        lines = [f"{name}{answer.title}", answer.short_verdict]
        axes.set_title("\n".join(literal(line, width - 0.9, fontsize=11) for line in lines))
    if view.question:
        grid[0].set_title("")  # stands above the picture
        grow(figure)
    else:
        title(figure, "The three questions", context(view, tested=True))
    return figure


def _draw(axes: Axes, answer: Answer, width: float, *, is_alone: bool) -> None:
    """Draw the evidence of an answer: each in a colour, the untrained network dotted."""
    if not answer.evidence:
        axes.text(0.5, 0.5, "nothing was measured\nthat tells", ha="center", va="center")
        axes.set_axis_off()
        return
    everything = []
    for item, colour in zip(answer.evidence, PALETTE, strict=False):
        places = np.arange(len(item.places))
        middle, low, high = _intervals(answer, item)
        name = literal(item.info.label, width - 0.6, lines=1)
        axes.plot(places, middle, color=colour, marker="o", label=name)
        error_bars(axes, places, middle, np.stack([middle - low, high - middle]), colour)
        everything += [middle, low[np.isfinite(low)], high[np.isfinite(high)]]
        if item.untrained is not None:
            mean = _shown(answer, item.untrained).mean(axis=0)
            mean_and_spread(axes, places, mean[None], color=colour, **UNTRAINED)
            everything.append(mean)
        if item.reference is not None and answer.question != "different":
            first = item.values[:, 0] if answer.question == "compressing" else 1.0
            level = float(np.mean(item.reference / first))
            if level > 0 or answer.question == "predictive":  # the other axis is logarithmic
                axes.axhline(level, **{**INPUT_LEVEL, "color": colour})
                everything.append(np.array([level]))
    if any(item.untrained is not None for item in answer.evidence):
        axes.plot([], [], color="0.5", label="untrained", **UNTRAINED)
    if answer.question != "different" and any(w.reference is not None for w in answer.evidence):
        axes.plot([], [], label="input", **INPUT_LEVEL)
    longest = max((item.places for item in answer.evidence), key=len)
    if answer.question == "predictive":
        scale = set_scale(axes, np.concatenate(everything), answer.evidence[0].info.bounds)
        unit = answer.evidence[0].info.unit
        own = "accuracy" if answer.is_foreign else "held-out accuracy"
        name = own if unit == "fraction" else "value"
        told = ", ".join(filter(None, (unit, scale)))
        axes.set_ylabel(literal(f"{name} ({told})" if told else name, _HEIGHT))
    elif answer.question == "compressing":
        _set_shares(axes, np.concatenate(everything))
    else:
        axes.set_ylim(bottom=min(0.0, float(np.concatenate(everything).min())))
        axes.set_ylabel(literal("1 − similarity to neighbour", _HEIGHT))
        longest = tuple(f"{i}–{i + 1}" for i in range(len(longest)))
    layer_ticks(axes, longest)
    if answer.question == "different":
        axes.set_xlabel("pair of layers")
    handles, names = axes.get_legend_handles_labels()
    if is_alone and axes.containers:  # otherwise the key of the whole picture names the bars
        handles, names = [*handles, handle(MARKS[INTERVAL])], [*names, INTERVAL.removeprefix("_")]
    axes.legend(handles=handles, **key_layout(names, width), borderaxespad=0, **_below(axes))


def _below(axes: Axes) -> dict[str, Any]:
    """Return where a key is that stands under the names along the axis, however tall they are."""
    from matplotlib.transforms import ScaledTranslation

    names = axes.xaxis.get_tightbbox()
    assert names is not None  # there is a label
    depth = (axes.get_window_extent().y0 - names.y0) / axes.figure.dpi + 0.05
    down = ScaledTranslation(-0.1, -depth, axes.figure.dpi_scale_trans)
    return {
        "loc": "upper left",
        "bbox_to_anchor": (0, 0),
        "bbox_transform": axes.transAxes + down,
    }


def _shown(answer: Answer, values: Floats) -> Floats:
    """Return values (seeds, places) as they are drawn."""
    if answer.question == "compressing":
        return values / values[:, :1]
    return 1 - values if answer.question == "different" else values


def _intervals(answer: Answer, item: MetricEvidence) -> tuple[Floats, Floats, Floats]:
    """Return the mean of each place as it is drawn, and the ends of its 95 % interval."""
    places = range(len(item.places))
    if answer.question == "compressing":  # a fall of the logarithm, as a share of the first layer
        falls = [item.between(0, place) for place in places]
        rows = [(-x.effect, *(-end for end in reversed(x.interval))) for x in falls]
        return tuple(np.exp(np.minimum(np.array(rows).T, 700.0)))
    found = [item.at(place) for place in places]
    return tuple(np.array([(x.effect, *x.interval) for x in found]).T)


def _set_shares(axes: Axes, values: Floats) -> None:
    """Make the axis one of shares of the first layer: a halving is as far as a doubling."""
    from matplotlib.ticker import Locator, LogLocator, MaxNLocator

    axes.set_yscale("log", base=2)
    spread = values.max() / values.min()
    locator: Locator = LogLocator(10, subs=(1, 1.5, 2, 3, 5, 7)) if spread < 8 else LogLocator(2)
    if 1.1 < spread < 2:  # holds hardly one of these
        locator = MaxNLocator(5, steps=[1, 2, 5, 10])
    axes.yaxis.set_major_locator(locator)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_ylabel(literal("relative to the first layer (log scale)", _HEIGHT))
