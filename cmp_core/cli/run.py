"""`cmp run`: train, measure, test, draw and report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmp_core.cli._options import selection, training_options
from cmp_core.cli._seeds import Seeds, is_folder_of_replicates
from cmp_core.cli._streams import lasting_output
from cmp_core.cli._train import ALLOWED, Asked, train
from cmp_core.config.schema import Config
from cmp_core.errors import CmpError, UsageError, reason_of

if TYPE_CHECKING:
    from cmp_core.cli._finish import Trained


@click.command(
    "run",
    epilog="""\b
Examples:
  cmp run
  cmp run -c greedy_mnist --set data_dir=~/data --set epochs=3
  cmp run -c mlp_digits --set lr=3e-4 --metrics accuracy,margin
  cmp run --seeds 0-4
  cmp run --metrics "all, no:eigenspectrum, {name: mutual_information, label: mi_8, snr: 8}"
  cmp run --plots "standard, {name: heatmap, metric: margin}"
  cmp run -p my_metric.py -p cmp:dead_units
  cmp run -c mlp_digits --compare runs/digits/greedy/0001_2026-11-23_10-15-00
  cmp run --resume runs/digits/greedy/0001_2026-11-23_10-15-00

\b
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration,
3 finished but a plugin was switched off, 130 interrupted (resumable).""",
)
@training_options
@click.option(
    "--seeds",
    type=Seeds(),
    metavar="0-4,7",
    help="Train a run for each of these seeds, and answer the questions from all of them.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="K",
    help="Seeds at once; default: as many as have a core for each thread, on a GPU one.",
)
@click.option(
    "--plots",
    metavar="A,B",
    help="Draw these: standard (the default), all, names, {name: …, metric: …, layer: …}; "
    "no:NAME leaves one out.",
)
@click.option("--research-only", is_flag=True, help="Draw only what answers the three questions.")
@click.option(
    "--compare",
    "compared",
    multiple=True,
    metavar="RUN",
    help="Draw and report this run beside the new one. Repeatable.",
)
@click.option("--show", is_flag=True, help="Open the pictures in windows as well.")
def run_command(
    seeds: Sequence[int] | None,
    jobs: int | None,
    plots: str | None,
    research_only: bool,
    compared: tuple[str, ...],
    show: bool,
    **options: Any,
) -> None:
    """Train a network, measure every layer, test it, draw what came out, and report.

    Without options: the greedy net on scikit-learn's digits, no download, in seconds. Everything
    is kept in a new run directory below `runs`, with `--seeds` in a folder of such directories.
    """
    from cmp_core.cli._pictures import choose_backend
    from cmp_core.console import is_first_process, under_torchrun

    asked = Asked(**options)
    if asked.resumed and (plots or seeds):
        raise click.UsageError(f"--resume goes on with the run's own params.yaml: {ALLOWED}")
    several = seeds is not None or is_folder_of_replicates(asked.resumed)
    if seeds is not None and asked.sets("seed"):
        raise click.UsageError("--seeds gives the seeds: leave --set seed=… out")
    if jobs is not None and not several:
        raise click.UsageError("--jobs is for --seeds, or a folder of replicates that is resumed")
    if several and under_torchrun():
        raise click.UsageError("--seeds starts processes of its own: call it without torchrun")
    choose_backend(show=show)
    others = _check_others(compared)
    config = None if asked.resumed else asked.config(plots=selection(plots, "--plots"))
    with lasting_output():
        if several:
            from cmp_core.cli._replicates import train_replicates

            trained = train_replicates(asked, config, seeds or (), jobs)
        else:
            trained = _train_one(asked, config)
        if not is_first_process():
            return
        from cmp_core.cli._finish import finish

        try:
            code = finish(trained, others, research_only=research_only, show=show)
        except (OSError, UsageError) as error:
            raise CmpError(
                f"{reason_of(error)}. The training and its test are saved; draw and report with: "
                f"cmp plot all {trained.directory} && cmp report {trained.directory}"
            ) from error
    sys.exit(code)


def _train_one(asked: Asked, config: Config | None) -> Trained:
    outcome = train(asked, config)

    from cmp_core.cli._finish import Trained
    from cmp_core.cli._results import print_test

    print_test(outcome)
    return Trained.of(outcome)


def _check_others(compared: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the runs to compare with, before training starts in vain."""
    if not compared:
        return ()
    from cmp_core.analysis.runs import as_run_set

    runs = as_run_set(compared).runs
    for run in runs:
        _ = run.confusion, run.predictions  # raise where a file is damaged
    return tuple(run.directory for run in runs)
