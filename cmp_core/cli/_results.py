"""What the last screen says: accuracy per layer, and which plugins failed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmp_core.analysis.crossed import Estimate
from cmp_core.analysis.words import estimate, unbroken
from cmp_core.console import say, say_indented, show_table, warn
from cmp_core.plugins.failures import Failure
from cmp_core.text import counted

if TYPE_CHECKING:
    from cmp_core.analysis.questions import Answer
    from cmp_core.workflow import Outcome

FINISHED_WITHOUT_PLUGIN = 3


def exit_code(failures: Iterable[Failure]) -> int:
    """Return 3 where a plugin was switched off, otherwise 0."""
    is_complete = not any(failure.disabled for failure in failures)
    return 0 if is_complete else FINISHED_WITHOUT_PLUGIN


def print_test(outcome: Outcome) -> None:
    """Print the test accuracy of every layer, with half of its 95 % interval over samples."""
    results = outcome.results
    rows = []
    for layer, accuracy in results["acc_layers"].items():
        freedom = max(1, results["n"] - 1)
        error = math.sqrt(accuracy * (1 - accuracy) / freedom)
        rows.append((layer, estimate(Estimate(accuracy, error, freedom))))
    show_table(("layer", _ACCURACY), rows, numbers=[_ACCURACY])
    say_indented(
        f"{results['checkpoint']} checkpoint, epoch {results['epoch']}: {_ACCURACY} "
        f"{results['acc']:.4f} (n = {results['n']:,}; ±: 95 % interval)",
        0,
    )


_ACCURACY = "test accuracy"


def print_trained(outcome: Outcome) -> None:
    """Print where the files are, and how to test them where that is still to be done."""
    say(f"files in {outcome.directory}")
    if not outcome.results:
        say(f"test the best weights with: cmp eval {outcome.directory}")


def print_failures(failures: Iterable[Failure], tracebacks: Path) -> None:
    """Warn of the plugins that raised."""
    for failure in failures:
        what = (
            "was switched off" if failure.disabled else f"raised {counted(failure.count, 'time')}"
        )
        warn(
            f"plugin {failure.plugin} {what} in {failure.hook}: {failure.error} "
            f"(traceback: {tracebacks})"
        )


def print_confusion(outcome: Outcome) -> None:
    """Print counts with the true class as the row and the predicted one as the column."""
    assert outcome.confusion is not None  # only what was tested is printed
    names = outcome.class_names
    counts = [[str(count or "·") for count in row] for row in outcome.confusion.tolist()]
    first = max(map(len, names))
    widths = [max(map(len, column)) for column in zip(names, *counts, strict=True)]
    say("\nconfusion matrix: a row per true class, a column per predicted class")
    for label, row in zip(["", *names], [names, *counts], strict=True):
        cells = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        say("  ".join([label.ljust(first), *cells]))


def print_answers(answers: Sequence[Answer]) -> None:
    """Print the answer to each research question, what it rests on, and what was left out."""
    from cmp_core.analysis.words import finding, p_value, sentence, verdict

    for one in answers:
        p = f", p {p_value(one.adjusted_p)}" if math.isfinite(one.adjusted_p) else ""
        say_indented(unbroken(f"{one.title} {verdict(one)}{p}"), 0)
        for line in map(finding, one.findings):
            say_indented(unbroken(line), 2)
        if not one.findings:
            say_indented(unbroken(sentence(one)), 2)
    for note in dict.fromkeys(note for one in answers if one.findings for note in one.notes):
        say_indented(unbroken(f"– {note}"), 0)


def print_legend(answers: Iterable[Answer]) -> None:
    """Print what the numbers of answers are."""
    found = [one for one in answers if one.findings]
    if any(one.seeds < 2 for one in found if not one.is_foreign):
        say_indented("in brackets: 95 % intervals over test samples", 0)
        say_indented("one seed is described; several test the questions (cmp report RUN…)", 0)
    if any(not one.is_descriptive for one in found):
        say_indented(
            "in brackets: 95 % intervals; p: adjusted for all answers that are given here (Holm)", 0
        )
    if any(item.learned is not None for one in found for item in one.evidence):
        say_indented(
            "learned: the effect less that before training; of falls, the change of what is left", 0
        )
