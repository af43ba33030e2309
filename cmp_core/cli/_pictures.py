"""Drawing under a progress bar, and what is said of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmp_core.console import say, say_indented, track, warn
from cmp_core.errors import UsageError
from cmp_core.reasons import grouped
from cmp_core.text import counted, in_short

if TYPE_CHECKING:
    from cmp_core.plotting.render import Drawn, Task


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
    """Draw pictures under a bar, and open them in windows where that was asked for."""
    from cmp_core.plotting.render import draw

    done = draw(todo, folder, form, dpi, policy, keeps_open=show)
    pictures = counted(sum(task.view is not None for task in todo), "picture")
    drawn = list(track(done, "drawing", len(todo), line=f"drawing {pictures}"))
    if show:
        _show()
    return drawn


def say_drawn(drawn: Sequence[Drawn]) -> None:
    """Say what was drawn, and why something was not."""
    paths = [picture.path for picture in drawn if picture.path is not None]
    if len(paths) == 1:
        say(f"{paths[0]}")
    elif paths:
        say(f"{counted(len(paths), 'picture')} in {paths[0].parent}")
    for line in reasons_of(drawn):
        say_indented(f"– {line}", 0)


def reasons_of(drawn: Sequence[Drawn]) -> list[str]:
    """Return why pictures were not drawn, in few lines: the types of plot, and why."""
    records = []
    for picture in drawn:
        if picture.reason is not None:
            view, label = picture.task.view, picture.task.plot.label
            names = (view.metric or "", view.layer or "") if view else ("", "")
            records.append((picture.reason, label, *names))
    lines = []
    for reason, (labels, *about) in grouped(records):
        told = [text for text in map(in_short, about) if text and text not in reason]
        lines.append(f"{', '.join(labels)}: {reason}" + (f" ({' '.join(told)})" if told else ""))
    return lines


def _show() -> None:
    """Wait until the windows are closed; say so where there is no display."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    if mpl.get_backend().lower() in ("agg", "cairo", "pdf", "ps", "svg", "template"):
        warn("--show: there is no display to open windows on; the files are written all the same")
    else:
        plt.show()
    plt.close("all")
