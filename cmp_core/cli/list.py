"""`cmp list`: the runs below a folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cmp_core.runs.listing import ListedRun


@click.command(
    "list",
    epilog="""\b
Examples:
  cmp list
  cmp list runs/mnist --where model=greedy --where state=finished
  cmp list --where N=256 --json""",
)
@click.argument("root", default="runs", type=click.Path(path_type=Path))
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only runs with this value of a configuration key, or of `state`. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="A list of objects instead of a table.")
def list_command(root: Path, conditions: tuple[str, ...], as_json: bool) -> None:
    """List the runs below ROOT (default: runs), the newest first; the table has 500 at most.

    `differs` tells in which keys runs of one dataset and model differ, but for the seed. States:
    finished, running, failed, interrupted, killed, and waiting for replicates that are still to be
    trained; all but the first two are resumed by cmp run --resume.
    """
    from cmp_core.console import say, show_table, track, warn
    from cmp_core.errors import UsageError
    from cmp_core.runs.directory import PARAMS
    from cmp_core.runs.listing import begun_at, chosen, differing, find_runs, read_listed_run
    from cmp_core.runs.walking import MOST_FOLDERS, Walk
    from cmp_core.text import counted

    if not root.is_dir():
        raise UsageError(f"there is no folder '{root}'; name the one that holds the runs")
    problems: list[str] = []
    walk = Walk(root, PARAMS)
    found = sorted(find_runs(track(walk, "looking for runs")), key=begun_at, reverse=True)
    shown = found if as_json or conditions else found[:_MOST_ROWS]
    runs = [read_listed_run(path, problems) for path in track(shown, "reading runs")]
    if not walk.is_whole:
        problems.append(f"'{root}': only the nearest {MOST_FOLDERS:,} folders were looked into")
    for problem in problems:
        warn(problem)
    kept = chosen(runs, conditions)
    kept.sort(key=lambda run: (run.begun, run.directory), reverse=True)
    pairs = list(zip(kept, differing(kept), strict=True))
    if as_json:
        click.echo(json.dumps([_object(*pair) for pair in pairs]))
    elif not pairs:
        say("no runs")
    else:
        rows = (_row(root, *pair) for pair in pairs)
        show_table(COLUMNS, rows, numbers=("seed", "test accuracy"))
    if len(shown) < len(found):
        say(
            f"the newest {len(shown):,} of {counted(len(found), 'run')}; "
            "a folder below, --where or --json tell of others"
        )


def _object(run: ListedRun, differs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run as `--json` prints it."""
    return {
        "directory": str(run.directory.absolute()),
        **{key: _plain(run.config.get(key)) for key in ("dataset", "model", "seed", "epochs")},
        "state": run.state,
        "epoch": run.epoch,
        "test_acc": None if math.isnan(run.test_acc) else run.test_acc,
        "val_acc": None if math.isnan(run.val_acc) else run.val_acc,
        "begun": run.begun.isoformat(timespec="seconds"),
        "differs": {key: _plain(value) for key, value in differs.items()},
    }


def _plain(value: Any) -> Any:
    """Return a value of YAML as JSON has it, otherwise as a text."""
    from cmp_core.config.schema import shown

    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return shown(value)
    return value


COLUMNS = ("run", "dataset", "model", "seed", "differs", "test accuracy", "state", "begun")

_MOST_ROWS = 500
"""Runs that the table tells of where it is not said which."""

_MOST = 3
"""Keys that the table tells of what differs; `--json` has all."""


def _row(root: Path, run: ListedRun, differs: Mapping[str, Any]) -> tuple[str, ...]:
    from cmp_core.config.schema import shown
    from cmp_core.text import in_one_line

    told = [f"{key}={shown(value)}" for key, value in differs.items()]
    texts = (
        str(run.directory.relative_to(root)),
        *(str(run.config.get(key, "?")) for key in ("dataset", "model", "seed")),
        " ".join([*told[:_MOST], *["…"] * (len(told) > _MOST)]),
        "" if math.isnan(run.test_acc) else f"{run.test_acc:.4f}",
        f"{run.state}, epoch {run.epoch}" if run.epoch and run.state != "finished" else run.state,
        run.begun.strftime("%Y-%m-%d %H:%M"),
    )
    return tuple(map(in_one_line, texts))
