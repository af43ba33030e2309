"""`cmp run`: train, measure, test, draw and report."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cmp_core.cli._options import selection, training_options
from cmp_core.cli._streams import lasting_output
from cmp_core.cli._train import train
from cmp_core.errors import CmpError, UsageError, reason_of


@click.command(
    "run",
    epilog="""\b
Examples:
  cmp run
  cmp run -c greedy_mnist --set data_dir=~/data --set epochs=3
  cmp run -c mlp_digits --set lr=3e-4 --metrics accuracy,margin
  cmp run --metrics "all, no:eigenspectrum, {name: mutual_information, label: mi_8, snr: 8}"
  cmp run --plots "training_curves, {name: heatmap, metric: margin}"
  cmp run -p my_metric.py -p cmp:dead_units
  cmp run -c mlp_digits --compare runs/digits/greedy/0001_2026-11-23_10-15-00
  cmp run --resume runs/digits/greedy/0001_2026-11-23_10-15-00

\b
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration,
3 finished but a plugin was switched off, 130 interrupted (resumable).""",
)
@training_options
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
    source: str | None,
    settings: tuple[str, ...],
    metrics: str | None,
    plugins: tuple[str, ...],
    plugins_dir: Path | None,
    no_snapshots: bool,
    resumed: str | None,
    allow_changes: bool,
    plugins_from_run: bool,
    plots: str | None,
    research_only: bool,
    compared: tuple[str, ...],
    show: bool,
) -> None:
    """Train a network, measure every layer, test it, draw what came out, and report.

    Without options: the greedy net on scikit-learn's digits, no download, in seconds. Everything
    is kept in a new run directory below `runs`.
    """
    from cmp_core.cli._pictures import choose_backend

    choose_backend(show=show)
    others = _check_others(compared)
    asked = {"metrics": selection(metrics, "--metrics"), "plots": selection(plots, "--plots")}
    with lasting_output():
        outcome = train(
            source,
            settings,
            asked,
            plugins,
            plugins_dir,
            no_snapshots,
            resumed,
            allow_changes,
            plugins_from_run,
        )

        from cmp_core.cli._finish import finish
        from cmp_core.console import is_first_process

        if not is_first_process():
            return
        try:
            code = finish(outcome, others, research_only=research_only, show=show)
        except (OSError, UsageError) as error:
            raise CmpError(
                f"{reason_of(error)}. The training and its test are saved; draw and report with: "
                f"cmp plot all {outcome.directory} && cmp report {outcome.directory}"
            ) from error
    sys.exit(code)


def _check_others(compared: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the runs to compare with, before training starts in vain."""
    if not compared:
        return ()
    from cmp_core.runs.record import load_run

    runs = [load_run(path) for path in compared]
    for run in runs:
        _ = run.confusion, run.predictions  # raise where a file is damaged
    return tuple(run.directory for run in runs)
