"""`cmp run --seeds`: replicates trained, and shown on one screen while that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cmp_core.cli._finish import Trained
from cmp_core.cli._results import FINISHED_WITHOUT_PLUGIN
from cmp_core.cli._train import Asked
from cmp_core.config.load import load_config
from cmp_core.config.schema import Config
from cmp_core.console import complain, out, say, warn
from cmp_core.errors import CmpError
from cmp_core.plotting.plot import select_plots
from cmp_core.plugins.loader import load_plugins
from cmp_core.replication import Replicate, Training, begin_replicates, jobs_for
from cmp_core.runs.directory import PARAMS, PLUGIN_ERRORS, run_directories
from cmp_core.text import counted, in_short, plural


def train_replicates(
    asked: Asked, config: Config | None, seeds: Sequence[int], jobs: int | None
) -> Trained:
    """Train and test all seeds, new ones or those of the folder that is to be resumed.

    Raises:
        KeyboardInterrupt: Ctrl-C came; how to go on has been said.
        CmpError: not one of them came to its end.
    """
    options = ["--allow-changes"] * asked.allow_changes
    options += ["--plugins-from-run"] * asked.plugins_from_run
    if config is not None:
        folder = begin_replicates(config, seeds, asked.plugins_dir, jobs)
    else:
        folder = Path(str(asked.resumed)).absolute()
        options += [f"--set={setting}" for setting in asked.settings]
    directories = run_directories(folder)
    complete = load_config(directories[0] / PARAMS)
    at_once = min(jobs or jobs_for(complete), len(directories))
    say(f"folder {folder}")
    try:
        with Training(directories, at_once, options) as training:
            _describe(training.replicates, at_once)
            _show(training)
    except KeyboardInterrupt:
        say(f"interrupted; go on with: cmp run --resume {folder}")
        raise
    code = _code(training.replicates, folder)
    plugins = attrs.evolve(load_plugins(complete.plugins, built_ins=("cmp_plots",)), named=())
    return Trained(
        directory=folder,
        runs=[one.directory for one in training.replicates if one.state == "finished"],
        plots=select_plots(plugins, complete.plots),
        policy=complete.on_plugin_error,
        tracebacks=folder / PLUGIN_ERRORS,
        exit_code=code,
    )


def _describe(replicates: Sequence[Replicate], at_once: int) -> None:
    left = [one for one in replicates if one.state != "finished"]
    done = len(replicates) - len(left)
    known = f", {done} of them finished already" if done else ""
    say(f"{counted(len(replicates), 'seed')}{known}, {at_once} at once")


def _show(training: Training) -> None:
    """Print a line for each seed that has ended, and in a terminal bars of the others."""
    console = out()
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("epochs {task.fields[told]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    told: set[str] = set()
    with bars:
        total = sum(one.config.epochs for one in training.replicates)
        whole = bars.add_task("all", total=total, told="")
        tasks = {}
        for one in training.progress():
            if one not in tasks:
                tasks[one] = bars.add_task(
                    f"seed {one.config.seed}", total=one.config.epochs, told=""
                )
            val = "" if one.val_acc is None else f"· val acc {one.val_acc:.4f} ·"
            bars.update(tasks[one], completed=one.epoch, told=val)
            bars.update(whole, completed=sum(each.epoch for each in training.replicates))
            if one.exit_code is not None:
                bars.remove_task(tasks[one])
                _print_ended(one, told)


def _print_ended(one: Replicate, told: set[str]) -> None:
    """Print how a seed has ended, and what it has said that no other has."""
    for line in one.said.splitlines():
        if line not in told:
            told.add(line)
            click.echo(line, err=True)
    test = "" if one.test_acc is None else f", test accuracy {one.test_acc:.4f}"
    say(f"seed {one.config.seed}: {one.state}, epoch {one.epoch}/{one.config.epochs}{test}")


def _code(replicates: Sequence[Replicate], folder: Path) -> int:
    """Return the exit code; say which seeds did not come to their end.

    Raises:
        CmpError: none of them did.
    """
    missing = [str(one.config.seed) for one in replicates if one.state != "finished"]
    if missing:
        what = f"{plural('seed', len(missing))} {in_short(missing)} did not come to an end"
        again = "them" if len(missing) > 1 else "it"
        how = f"try {again} again with: cmp run --resume {folder}"
        if len(missing) == len(replicates):
            raise CmpError(f"{what}; {how}")
        complain(f"{what}; {how}")
        return CmpError.exit_code
    lacking = [one for one in replicates if (one.directory / PLUGIN_ERRORS).exists()]
    for one in lacking:
        if one.exit_code is None:  # it was finished before; of the others it has been told
            tracebacks = one.directory / PLUGIN_ERRORS
            warn(f"seed {one.config.seed}: a plugin raised (traceback: {tracebacks})")
    return FINISHED_WITHOUT_PLUGIN if lacking else 0
