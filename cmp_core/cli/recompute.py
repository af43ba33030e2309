"""`cmp recompute`: measure stored activations."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import click

from cmp_core.cli._options import plugin_options, plugins_from_run_option, selection
from cmp_core.cli._streams import results_alone


@click.command(
    "recompute",
    epilog="""\b
Examples:
  cmp recompute runs/digits/greedy/0001_2026-11-23_10-15-00
  cmp recompute RUN --metrics "linear_cka, {name: mutual_information, snr: 8}"
  cmp recompute RUN -p my_metric.py --json | jq .value
  cmp recompute RUN --metrics linear_cka --save && cmp plot heatmap RUN --metric linear_cka
  cmp recompute my_activations.h5 --out rows.csv

\b
Exit codes: 0 done, 2 wrong usage or a snapshot that cannot be read (the others are measured),
3 finished but a plugin was switched off.""",
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--metrics",
    metavar="A,B",
    help="Measure these instead of the run's own: names, {name: …, label: …, <option>: …}, all; "
    "no:NAME leaves one out.",
)
@plugin_options
@plugins_from_run_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a row, not a table.")
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the rows to FILE, .jsonl or .csv, instead of printing them.",
)
@click.option(
    "--save",
    is_flag=True,
    help="Add the values of --metrics, and of metrics of -p plugins, to the runs, so that plots "
    "and reports show them.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes of one thread each; default: one for each core.",
)
def recompute_command(
    paths: tuple[str, ...],
    metrics: str | None,
    plugins: tuple[str, ...],
    plugins_dir: Path | None,
    plugins_from_run: bool,
    as_json: bool,
    target: Path | None,
    save: bool,
    workers: int | None,
) -> None:
    """Measure the activations of runs, folders and snapshot files again.

    The same metrics as in the run, or others; a value that needs no more than a snapshot holds is
    what the run would have logged for these samples.

    Of the plugins that a file names, those that are built in, installed or shipped are loaded. A
    path or module is code of anyone's, and loaded only when asked for, by -p or by
    --plugins-from-run; metrics that need it are left out.
    """
    asked = selection(metrics, "--metrics")

    from cmp_core.cli import _recomputed

    prints_json = as_json and target is None
    with results_alone() if prints_json else nullcontext() as results:
        code = _recomputed.show(
            paths,
            asked,
            plugins,
            plugins_dir,
            workers,
            results,
            target,
            save=save,
            plugins_from_run=plugins_from_run,
        )
    sys.exit(code)
