"""Answers and comparisons as notebooks show them."""

from __future__ import annotations

from cmp_core.analysis import words
from cmp_core.analysis.comparison import OUTPUT, Comparison
from cmp_core.analysis.questions import Answer
from cmp_core.runs.notebook import html_table


def html_of_answer(answer: Answer) -> str:
    """Return the answer, and what each metric says."""
    rows = [
        [
            found.evidence.info.label,
            "–" if answer.is_descriptive else found.word,
            words.effect(found.evidence, found.evidence.effect),
            words.interval(found.evidence, found.evidence.effect),
            words.effect(found.evidence, found.evidence.learned),
        ]
        for found in answer.findings
    ]
    columns = ["metric", "says", "effect", "95 % interval", "learned"]
    return html_table(f"{answer.title} {answer.short_verdict}", columns, rows, answer.notes)


def html_of_comparison(comparison: Comparison) -> str:
    """Return the differences, a row for each metric."""
    places = [*comparison.layers, *([OUTPUT] if comparison.output else [])]
    rows = [
        [f"{metric}, points" if unit == "fraction" else metric]
        + [words.difference(comparison.at(metric, place)) for place in places]
        for metric, unit in comparison.units.items()
    ]
    heading = f"{comparison.second} − {comparison.first}: {comparison.design}"
    legend = ["value(standard error); *: p < .05 (Holm)"] if rows else []
    return html_table(heading, ["difference", *places], rows, [*legend, *comparison.notes])
