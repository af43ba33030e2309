"""`cmp report`: one page about one run or several."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cmp_core.cli._options import plugin_options, split_labels


@click.command(
    "report",
    epilog="""\b
Examples:
  cmp report runs/digits/greedy/0001_2026-11-23_10-15-00
  cmp report runs/digits/greedy/* --out greedy.html""",
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--labels",
    metavar="A,B",
    help="A label for each run; runs of one label are taken as replicates.",
)
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Default: RUN/report.html, or ./report.html for several runs.",
)
@plugin_options
def report_command(
    runs: tuple[str, ...],
    labels: str | None,
    target: Path | None,
    plugins: tuple[str, ...],
    plugins_dir: Path | None,
) -> None:
    """Write a self-contained page: what was run, what came out, and the three questions answered.

    Runs that differ by seed alone are replicates, over which the questions are tested; one seed is
    described. A snapshot file, or a folder of them, is measured first, and stands for a test.
    """
    from cmp_core.analysis.runs import as_run_set
    from cmp_core.cli._pictures import choose_backend
    from cmp_core.cli._results import exit_code
    from cmp_core.console import say
    from cmp_core.plotting.plot import load_plots
    from cmp_core.reporting.write import page_at, warn_of_failures, write_report
    from cmp_core.runs.directory import REPORT

    asked = None if target is None else page_at(target)
    choose_backend(show=False)
    plots = load_plots(plugins, plugins_dir)
    run_set = as_run_set(runs, split_labels(labels))
    path = asked or page_at(run_set.folder / REPORT)
    failures = write_report(run_set, plots, path)
    say(f"{path}")
    warn_of_failures(failures)
    sys.exit(exit_code(failures))
