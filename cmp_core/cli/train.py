"""`cmp train`: train and measure, and no more."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cmp_core.cli._options import selection, training_options
from cmp_core.cli._streams import lasting_output
from cmp_core.cli._train import train


@click.command(
    "train",
    epilog="""\b
Examples:
  cmp train -c greedy_mnist --set data_dir=~/data
  cmp eval RUN && cmp plot all RUN && cmp report RUN""",
)
@training_options
def train_command(
    source: str | None,
    settings: tuple[str, ...],
    metrics: str | None,
    plugins: tuple[str, ...],
    plugins_dir: Path | None,
    no_snapshots: bool,
    resumed: str | None,
    allow_changes: bool,
    plugins_from_run: bool,
) -> None:
    """Train a network and measure every layer, without the test, plots and report of `cmp run`."""
    asked = {"metrics": selection(metrics, "--metrics")}
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
            tests=False,
        )

        from cmp_core.cli._results import exit_code, print_failures, print_trained

        print_trained(outcome)
        print_failures(outcome.failures, outcome.plugin_errors)
    sys.exit(exit_code(outcome.failures))
