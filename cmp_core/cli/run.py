"""`cmp run`: train, measure and test."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cmp_core.cli._metrics import metric_list
from cmp_core.config_io import load_config, presets
from cmp_core.errors import UsageError


def _list_presets(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo("\n".join(presets()))
        ctx.exit()


@click.command(
    "run",
    epilog="""\b
Examples:
  cmp run
  cmp run -c greedy_mnist --set data_dir=~/data --set epochs=3
  cmp run -c mlp_digits --set lr=3e-4 --metrics accuracy,margin
  cmp run --metrics "all, no:eigenspectrum, {name: mutual_information, label: mi_8, snr: 8}"
  cmp run -p my_metric.py -p cmp:dead_units
  cmp run --resume runs/digits/greedy/0001_2026-11-23_10-15-00

\b
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration,
3 finished but a plugin was switched off, 130 interrupted (resumable).""",
)
@click.option("-c", "--config", "source", metavar="CONFIG", help="Preset name or YAML file.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one key; the value is YAML. Repeatable.",
)
@click.option(
    "--metrics",
    metavar="A,B",
    help="Measure these: names, {name: …, label: …, <option>: …}, all; no:NAME leaves one out.",
)
@click.option(
    "-p",
    "--plugin",
    "plugins",
    multiple=True,
    metavar="PLUGIN",
    help="Load a file, a module or an example (cmp:NAME); no:NAME leaves one out. Repeatable.",
)
@click.option(
    "--plugins-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Load every *.py file of a folder as a plugin.",
)
@click.option("--no-snapshots", is_flag=True, help="Store no activations.")
@click.option("--resume", "resumed", metavar="RUN", help="Go on with an interrupted run.")
@click.option(
    "--presets",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_presets,
    help="List the presets and exit.",
)
def run_command(
    source: str | None,
    settings: tuple[str, ...],
    metrics: str | None,
    plugins: tuple[str, ...],
    plugins_dir: Path | None,
    no_snapshots: bool,
    resumed: str | None,
) -> None:
    """Train a network, measure every layer, and test it.

    Without options: the greedy net on scikit-learn's digits, no download, in seconds. Everything
    is kept in a new run directory below `runs`.
    """
    if resumed and (source or metrics or plugins or plugins_dir or no_snapshots):
        raise UsageError("--resume goes on with the run's own params.yaml: only --set may be given")
    overrides: dict[str, object] = {} if metrics is None else {"metrics": metric_list(metrics)}
    if no_snapshots:
        overrides["snapshots"] = None
    config = None if resumed else load_config(source, settings, plugins, **overrides)

    from cmp_core import workflow
    from cmp_core.cli._results import exit_code, print_outcome

    if config is None:
        outcome = workflow.resume(str(resumed), settings)
    else:
        outcome = workflow.run(config, plugins_dir)
    print_outcome(outcome)
    sys.exit(exit_code(outcome))
