"""`cmp train`: train and measure, and no more."""

from __future__ import annotations

import sys
from typing import Any

import click

from cmp_core.cli._options import training_options
from cmp_core.cli._streams import lasting_output
from cmp_core.cli._train import Asked, train


@click.command(
    "train",
    epilog="""\b
Examples:
  cmp train -c greedy_mnist --set data_dir=~/data
  cmp eval RUN && cmp plot all RUN && cmp report RUN""",
)
@training_options
@click.option("--test", "tests", is_flag=True, help="Test the best weights as well.")
def train_command(tests: bool, **options: Any) -> None:
    """Train a network and measure every layer, without the test, plots and report of `cmp run`."""
    asked = Asked(**options)
    with lasting_output():
        outcome = train(asked, None if asked.resumed else asked.config(), tests=tests)

        from cmp_core.cli._results import exit_code, print_failures, print_test, print_trained

        if tests:
            print_test(outcome)
        print_trained(outcome)
        print_failures(outcome.failures, outcome.plugin_errors)
    sys.exit(exit_code(outcome.failures))
