"""Drawing selected plots of runs into files; a plot that raises costs its own pictures alone."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from cmp_core.errors import DataError, PluginError, UndefinedError, message_of
from cmp_core.plotting.fonts import families_for, lacking_characters, warn_of_lacking
from cmp_core.plotting.plot import Plot, PlotView
from cmp_core.plugins.failures import Failure, failure_of, fatal_error
from cmp_core.plugins.fence import Fence
from cmp_core.runs.directory import whole_file
from cmp_core.runs.replicates import RunSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
DRAWING = "drawing"
"""Stands where failures of other plugins name a hook."""

# Okabe & Ito's colours, which colour-blind people can tell apart, black last.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

_THEME: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.max_open_warning": 0,
    "figure.titlesize": 12,
    "font.size": 10,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "image.cmap": "cividis",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "cmp",
}

# Of an SVG, the colours of text, axes, paper and grid follow the page that shows it.
_INK, _PAPER, _GRID = "#1d2026", "#fffffe", "#b0b0b1"
_THEME |= {
    **dict.fromkeys(
        ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), _INK
    ),
    **dict.fromkeys(("axes.facecolor", "figure.facecolor", "savefig.facecolor"), _PAPER),
    "grid.color": _GRID,
}
_DARK = {_INK: "#e6e6e6", _PAPER: "#1b1d22", _GRID: "#8a8f98"}


def on_dark_pages(svg: bytes) -> bytes:
    """Return an SVG of `render` that is dark on a dark screen, and light on paper."""
    rules = "".join(
        f'[style*="{what}: {light}"] {{{what}: {dark} !important}}'
        for light, dark in _DARK.items()
        for what in ("fill", "stroke")
    )
    style = f"<style>@media screen and (prefers-color-scheme: dark) {{{rules}}}</style></defs>"
    return svg.replace(b"</defs>", style.encode(), 1)


@attrs.frozen
class Task:
    """A picture to be drawn: which view of which plot, or why there is none."""

    plot: Plot
    view: PlotView | None
    reason: str | None = None


@attrs.frozen
class Drawn:
    """A picture: its file, or the reason or failure for which there is none."""

    task: Task
    path: Path | None = None
    reason: str | None = None
    failure: Failure | None = None


@attrs.frozen
class Attempt:
    """What drawing a picture gave: the content of its file, or the reason or failure instead."""

    content: bytes = b""
    reason: str | None = None
    failure: Failure | None = None


def tasks(plots: Iterable[Plot], runs: RunSet) -> list[Task]:
    """Return all pictures of some plots.

    Raises:
        UsageError: a plot is asked for a metric or layer that no run has.
    """
    found: list[Task] = []
    for plot in plots:
        try:
            found += [Task(plot, view) for view in plot.views(runs)]
        except UndefinedError as error:
            found.append(Task(plot, None, message_of(error)))
    return found


def draw(
    todo: Sequence[Task],
    folder: Path,
    form: str = "png",
    dpi: int = 150,
    policy: str = "disable",
    keeps_open: bool = False,
) -> Iterator[Drawn]:
    """Draw pictures into a folder, which is made when it is needed, and yield what came of each.

    Many are drawn on all cores.

    Args:
        todo: what `tasks` returned.
        folder: where the files go.
        form: one of `FORMATS`.
        dpi: dots per inch of a PNG.
        policy: `disable` draws no more of a plot that has raised, `warn` goes on with it, `raise`
            ends all.
        keeps_open: leave the figures open, for `matplotlib.pyplot.show`.

    Raises:
        PluginError: a plot raised, and the policy is `raise`.
    """
    failed: set[str] = set()
    with _attempts(todo, form, dpi, policy, keeps_open=keeps_open) as attempts:
        for task, attempt in zip(todo, attempts, strict=True):
            if task.view is None:
                yield Drawn(task, reason=task.reason)
                continue
            if task.plot.label in failed:
                continue
            made = attempt()
            if made.failure is not None and policy == "disable":
                failed.add(task.plot.label)
            path = None
            if made.content:
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / f"{task.plot.file_name(task.view)}.{form}"
                with whole_file(path) as file:
                    file.write(made.content)
            yield Drawn(task, path, made.reason, made.failure)


def _attempts(
    todo: Sequence[Task], form: str, dpi: int, policy: str, *, keeps_open: bool
) -> AbstractContextManager[Sequence[Callable[[], Attempt]]]:
    """Give for each picture what draws it, or waits for the process that does."""
    draws = partial(attempt, fence=Fence(), policy=policy, keeps_open=keeps_open)
    here = [partial(draws, task, form, dpi) for task in todo]
    if keeps_open or policy == "raise":
        return nullcontext(here)
    from cmp_core.plotting.processes import by_processes

    return by_processes(todo, here, form, dpi, policy)


def attempt(
    task: Task, form: str, dpi: int, *, fence: Fence, policy: str, keeps_open: bool = False
) -> Attempt:
    """Draw a picture, and return what came of it.

    Raises:
        DataError: a file of a run is damaged, which is not the plot's fault.
        PluginError: the plot raised, and the policy is `raise`.
    """
    assert task.view is not None  # otherwise there is nothing to draw
    try:
        with fence.around(task.plot.label, DRAWING):
            return Attempt(render(task.plot, task.view, form, dpi, keeps_open=keeps_open))
    except UndefinedError as error:
        return Attempt(reason=message_of(error))
    except (DataError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if policy == "raise":
            raise fatal_error(task.plot.label, DRAWING, error) from error
        return Attempt(failure=failure_of(task.plot.label, DRAWING, error, policy))


def render(
    plot: Plot,
    view: PlotView,
    form: str = "png",
    dpi: int = 150,
    *,
    keeps_open: bool = False,
) -> bytes:
    """Return a picture as the content of a file.

    Raises:
        UndefinedError: there is nothing to draw.
        PluginError: the plot returned something else than a figure.
    """
    with figure_of(plot, view, keeps_open=keeps_open) as figure:
        if not keeps_open:
            _lay_out(figure, dpi)
        return _content(figure, form, dpi)


@contextmanager
def figure_of(plot: Plot, view: PlotView, *, keeps_open: bool = False) -> Iterator[Figure]:
    """Give a plot's figure while the theme is set, and close it, and what else the plot opened.

    The theme stands on matplotlib's defaults: a user's matplotlibrc changes no picture, and cannot
    ask for a LaTeX that is not there. Where the font lacks characters, the plot is drawn once more
    with installed fonts that have them.

    Raises:
        UndefinedError: there is nothing to draw.
        PluginError: the plot returned something else than a figure.
    """
    import matplotlib as mpl
    from cycler import cycler
    from matplotlib import pyplot as plt

    theme: Any = {
        **_THEME,
        "axes.prop_cycle": cycler(color=list(PALETTE)),
    }
    others = set(plt.get_fignums())
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # we say it in a sentence
        mpl.rcdefaults()
        mpl.rcParams.update(theme)
        try:
            figure = _drawn(plot, view)
            if lacking := lacking_characters(figure):
                mpl.rcParams["font.family"] = ["sans-serif", *families_for(lacking)]
                _close_all_but(others)
                figure = _drawn(plot, view)
                if lacking := lacking_characters(figure):
                    warn_of_lacking(lacking)
            yield figure
        finally:
            if not keeps_open:
                _close_all_but(others)


def _drawn(plot: Plot, view: PlotView) -> Figure:
    from matplotlib.figure import Figure

    figure = plot.definition.implementation(view)
    if not isinstance(figure, Figure):
        raise PluginError(f"expected a matplotlib Figure, got {type(figure).__name__}")
    return figure


def _close_all_but(others: Set[int]) -> None:
    from matplotlib import pyplot as plt

    for number in set(plt.get_fignums()) - others:
        plt.close(number)


def _lay_out(figure: Figure, dpi: int) -> None:
    """Lay a figure out once and for all: `savefig` would draw all of it once more to do so."""
    import matplotlib as mpl

    figure.set_dpi(dpi)
    engine = figure.get_layout_engine()
    if engine is not None and figure.axes:
        engine.execute(figure)
        mpl.rcParams["figure.constrained_layout.use"] = False  # until the theme is taken away
        figure.set_layout_engine()


def _content(figure: Figure, form: str, dpi: int) -> bytes:
    buffer = io.BytesIO()
    # Without a date, so that equal numbers give equal files.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form)
    figure.savefig(buffer, format=form, dpi=dpi, metadata=metadata)
    return buffer.getvalue()
