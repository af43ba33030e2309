"""Drawing under a progress bar, and what is said of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from cmp_core.console import out, say, track, warn
from cmp_core.errors import UsageError

if TYPE_CHECKING:
    from cmp_core.plotting.plot import Plot
    from cmp_core.plotting.render import Drawn, Task
    from cmp_core.runs.record import RunRecord
    from cmp_core.runs.replicates import RunSet


def load_runs(paths: Sequence[str | Path], labels: Sequence[str] = ()) -> RunSet:
    """Read runs, and warn of what could not be read.

    Raises:
        UsageError: one is no run, or none of them has logged anything yet.
    """
    from cmp_core.runs.record import load_run
    from cmp_core.runs.replicates import RunSet

    # However it is spelt, a run that is given twice is one.
    places: dict[str, Path] = {}
    for path in chain.from_iterable(map(_runs_or_snapshots, map(Path, paths))):
        places.setdefault(os.path.realpath(path), path.absolute())
    runs = tuple(_with_metric_info(load_run(_measured(place))) for place in places.values())
    for run in runs:
        warn_of_problems(run)
    if not any(map(_has_logged, runs)):
        raise UsageError("there is nothing to show yet: no training step, no epoch and no test")
    return RunSet(runs, tuple(labels))


def _runs_or_snapshots(path: Path) -> list[Path]:
    """Return the snapshot files of a folder that is no run, otherwise what was given."""
    from cmp_core.runs.directory import PARAMS

    is_folder = path.is_dir() and not (path / PARAMS).exists()
    return (sorted(path.glob("[!.]*.h5")) if is_folder else []) or [path]


def _measured(path: Path) -> Path:
    """Return a run directory: of a snapshot file one that is made of it."""
    if not path.is_file() or path.suffix not in (".h5", ".hdf5"):
        return path
    from cmp_core.observation.stored import run_of_snapshot

    with out().status(f"measuring {path.name}"):
        return run_of_snapshot(path)


def _with_metric_info(run: RunRecord) -> RunRecord:
    """Return a run that has stored nothing about its metrics with what the installed ones say."""
    if not (run.metrics and all(map(run.is_recomputed, run.metric_info))):
        return run
    try:
        from cmp_core.measurement.selection import with_installed_metric_info
    except ModuleNotFoundError as error:  # runs can be shown where torch is not installed
        if error.name != "torch":
            raise
        return run
    return with_installed_metric_info(run)


def _has_logged(run: RunRecord) -> bool:
    log = run.log
    return bool(len(log.training.epochs) or len(log.validation.epochs) or log.test)


def warn_of_problems(run: RunRecord) -> None:
    """Warn of what could not be read of a run."""
    for problem in run.problems:
        warn(problem)


def output_folder(runs: RunSet) -> Path:
    """Return where files about runs go: into the only run, or into the current folder."""
    only = runs.runs[0]
    return Path.cwd() if len(runs.runs) > 1 or only.snapshot else only.directory


def load_plots(plugins: Sequence[str] = (), plugins_dir: Path | None = None) -> list[Plot]:
    """Return all plots, and warn of installed plugins that are broken."""
    from cmp_core.plotting.plot import select_plots
    from cmp_core.plugins.loader import load_plugins

    loaded = load_plugins(plugins, plugins_dir, built_ins=("cmp_plots",))
    for broken in loaded.broken:
        warn(str(broken))
    return select_plots(loaded)


def check_folder(folder: Path) -> None:
    """Raise before any work is done where a folder can be neither made nor written to."""
    wanted = folder.absolute()
    there = next(place for place in (wanted, *wanted.parents) if os.access(place, os.F_OK))
    problem = ""
    if not there.is_dir():
        problem = "is a file"
    elif not os.access(there, os.W_OK | os.X_OK):
        problem = "is read-only"
    if problem:
        place = "it" if there == wanted else f"'{there}'"
        raise UsageError(
            f"cannot write to '{folder}': {place} {problem}; choose another place with --out"
        )


def choose_backend(*, show: bool) -> None:
    """Keep matplotlib from a backend for windows where none are to be opened.

    It is called before plugins are loaded, which may import matplotlib.

    Raises:
        UsageError: windows are to be opened, and MPLBACKEND names what is not installed.
    """
    if not show:
        os.environ["MPLBACKEND"] = "agg"  # whatever the notebook that calls us has set
        return
    try:
        import matplotlib as mpl
        from matplotlib import pyplot as plt

        plt.switch_backend(mpl.get_backend())
    except (ImportError, RuntimeError, ValueError) as error:
        wrong = os.environ.get("MPLBACKEND")
        raise UsageError(f"--show: MPLBACKEND is '{wrong}', which fails: {error}") from error


def draw_all(
    todo: Sequence[Task],
    folder: Path,
    form: str = "png",
    dpi: int = 150,
    policy: str = "disable",
    *,
    show: bool = False,
) -> list[Drawn]:
    """Draw pictures, with a bar, and open them in windows where that was asked for."""
    from cmp_core.plotting.render import draw

    done = draw(todo, folder, form, dpi, policy, keeps_open=show)
    drawn = list(track(done, "drawing", len(todo)))
    if show:
        _show()
    return drawn


def say_drawn(drawn: Sequence[Drawn]) -> None:
    """Say what was drawn, and why something was not."""
    paths = [picture.path for picture in drawn if picture.path is not None]
    if len(paths) == 1:
        say(f"{paths[0]}")
    elif paths:
        say(f"{len(paths)} pictures in {paths[0].parent}")
    reasons: dict[str, list[str]] = {}
    for picture in drawn:
        if picture.reason is not None:
            view, label = picture.task.view, picture.task.plot.label
            about = " ".join(filter(None, (view.metric, view.layer))) if view else ""
            names = reasons.setdefault(f"{label}: {picture.reason}", [])
            if about and about not in picture.reason:
                names.append(about)
    for reason, names in reasons.items():
        say(f"– {reason}" + (f" ({', '.join(names)})" if names else ""))


def _show() -> None:
    """Wait until the windows are closed; say so where there is no display."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    if mpl.get_backend().lower() in ("agg", "cairo", "pdf", "ps", "svg", "template"):
        warn("--show: there is no display to open windows on; the files are written all the same")
    else:
        plt.show()
    plt.close("all")
