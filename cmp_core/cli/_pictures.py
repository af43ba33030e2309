"""Drawing under a progress bar, and what is said of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmp_core.console import say, track, warn

if TYPE_CHECKING:
    from cmp_core.drawing import Drawn, Task
    from cmp_core.run_record import RunRecord
    from cmp_core.run_set import RunSet

FOLDER = "plots"


def load_runs(paths: Sequence[str | Path], labels: Sequence[str] = ()) -> RunSet:
    """Read runs, and warn of what could not be read."""
    from cmp_core.run_record import load_run
    from cmp_core.run_set import RunSet

    runs = tuple(map(load_run, dict.fromkeys(Path(path).absolute() for path in paths)))
    for run in runs:
        warn_of_problems(run)
    return RunSet(runs, tuple(labels))


def warn_of_problems(run: RunRecord) -> None:
    """Warn of what could not be read of a run."""
    for problem in run.problems:
        warn(problem)


def home_of(runs: RunSet) -> Path:
    """Return where files about runs go: into the only run, or into the current folder."""
    return runs.runs[0].directory if len(runs.runs) == 1 else Path.cwd()


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
    if not show:
        os.environ.setdefault("MPLBACKEND", "agg")

    from cmp_core.drawing import draw

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
