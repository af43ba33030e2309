"""`cmp eval`: test a run again."""

from __future__ import annotations

import sys

import click

from cmp_core.cli._imports import import_for_training, importing
from cmp_core.cli._options import plugins_from_run_option
from cmp_core.cli._unknown import Setting
from cmp_core.config.schema import keys_about


@click.command(
    "eval",
    epilog="""\b
Examples:
  cmp eval runs/digits/greedy/0001_2026-11-23_10-15-00
  cmp eval runs/digits/greedy/0001_2026-11-23_10-15-00 --checkpoint last --confusion""",
)
@click.argument("run")
@click.option(
    "--checkpoint",
    type=click.Choice(["best", "last"]),
    default="best",
    show_default=True,
    help="Best by validation, or the weights after the last epoch.",
)
@click.option(
    "--set",
    "settings",
    type=Setting(keys_about("place")),
    multiple=True,
    metavar="KEY=VALUE",
    help="Where things are now: data_dir, device or num_workers. Repeatable.",
)
@plugins_from_run_option
@click.option("--confusion", is_flag=True, help="Print the confusion matrix as well.")
def eval_command(
    run: str,
    checkpoint: str,
    settings: tuple[str, ...],
    plugins_from_run: bool,
    confusion: bool,
) -> None:
    """Test a checkpoint of RUN on the test split, layer by layer.

    `best` writes the run's test files again; `last` writes them to RUN/eval_last.
    """
    with importing():
        from cmp_core import workflow

        import_for_training(tests=True)
    from cmp_core.cli._results import exit_code, print_confusion, print_failures, print_test
    from cmp_core.console import say

    outcome = workflow.evaluate(run, checkpoint, settings, plugins_from_run=plugins_from_run)
    print_test(outcome)
    say(f"files in {outcome.directory}")
    print_failures(outcome.failures, outcome.plugin_errors)
    if confusion:
        print_confusion(outcome)
    sys.exit(exit_code(outcome.failures))
