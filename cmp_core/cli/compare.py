"""`cmp compare`: runs side by side."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cmp_core.cli._options import picture_options, split_labels


@click.command(
    "compare",
    epilog="""\b
Examples:
  cmp compare GREEDY_RUN MLP_RUN
  cmp compare runs/digits/greedy/* runs/digits/mlp/* --out figures
  cmp compare A B C --labels small,small,large""",
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@picture_options
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of the pictures; default: ./plots.",
)
def compare_command(
    runs: tuple[str, ...],
    labels: str | None,
    form: str,
    dpi: int,
    show: bool,
    folder: Path | None,
) -> None:
    """Print accuracies, answers and differences of runs, and draw the comparison.

    Runs that differ by seed alone are replicates: their means are printed, with 95 % intervals.
    A snapshot file, or a folder of them, is measured first, and stands for a test.
    """
    from cmp_core.analysis.runs import as_run_set
    from cmp_core.cli._comparison import print_comparison
    from cmp_core.cli._pictures import choose_backend, draw_all, say_drawn
    from cmp_core.cli._results import exit_code, print_failures
    from cmp_core.plotting.plot import load_plots
    from cmp_core.plotting.render import tasks
    from cmp_core.plugins.failures import write_plugin_errors
    from cmp_core.runs.directory import PLOTS, PLUGIN_ERRORS, check_folder

    choose_backend(show=show)
    run_set = as_run_set(runs, split_labels(labels))
    if len(run_set.runs) < 2:
        raise click.UsageError("give two different runs or more")
    target = folder or Path.cwd() / PLOTS
    check_folder(target)
    print_comparison(run_set)
    plots = [
        plot
        for plot in load_plots()
        if plot.definition.runs == "several" or plot.definition.answers
    ]
    drawn = draw_all(tasks(plots, run_set), target, form, dpi, show=show)
    say_drawn([picture for picture in drawn if picture.path is not None])
    failures = [picture.failure for picture in drawn if picture.failure is not None]
    if failures:
        write_plugin_errors(target / PLUGIN_ERRORS, failures)
        print_failures(failures, target / PLUGIN_ERRORS)
    sys.exit(exit_code(failures))
