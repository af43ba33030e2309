"""The last screen: accuracy per layer, where the files are, and which plugins failed."""

from __future__ import annotations

from rich import box
from rich.table import Table

from cmp_core.console import out, say, warn
from cmp_core.workflow import Outcome

FINISHED_WITHOUT_PLUGIN = 3


def exit_code(outcome: Outcome) -> int:
    """Return 3 where a plugin was switched off, otherwise 0."""
    is_complete = not any(failure.disabled for failure in outcome.failures)
    return 0 if is_complete else FINISHED_WITHOUT_PLUGIN


def print_outcome(outcome: Outcome) -> None:
    """Print the test accuracy of every layer and the run directory."""
    results = outcome.results
    table = Table("layer", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("test accuracy", justify="right")
    for layer, accuracy in results["acc_layers"].items():
        table.add_row(layer, f"{accuracy:.4f}")
    out().print(table)
    say(
        f"{results['checkpoint']} checkpoint, epoch {results['epoch']}: "
        f"test accuracy {results['acc']:.4f} (n = {results['n']:,})"
    )
    say(f"files in {outcome.directory}")
    for failure in outcome.failures:
        what = "was switched off" if failure.disabled else f"raised {failure.count} times"
        warn(
            f"plugin {failure.plugin} {what} in {failure.hook}: {failure.error} "
            f"(traceback: {outcome.plugin_errors})"
        )


def print_confusion(outcome: Outcome) -> None:
    """Print counts with the true class as the row and the predicted one as the column."""
    names = outcome.class_names
    counts = [[str(count or "·") for count in row] for row in outcome.confusion.tolist()]
    first = max(map(len, names))
    widths = [max(map(len, column)) for column in zip(names, *counts, strict=True)]
    say("\nconfusion matrix: a row per true class, a column per predicted class")
    for label, row in zip(["", *names], [names, *counts], strict=True):
        cells = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        say("  ".join([label.ljust(first), *cells]))
