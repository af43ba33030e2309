"""What stands in a report, put together for its template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from cmp_core.analysis import words
from cmp_core.analysis.comparison import comparisons_of
from cmp_core.analysis.questions import QUESTIONS, Answer, answers_of
from cmp_core.analysis.values import accuracy_at, estimate_at, recomputed_from, tested_layers
from cmp_core.events.rows import INPUT
from cmp_core.plotting.plot import Plot, PlotView
from cmp_core.plugins.failures import Failure
from cmp_core.reporting.facts import (
    environments,
    picture_files,
    plain,
    report_command,
    reproduce,
    settings,
    without_places,
)
from cmp_core.reporting.outcome import confusions_of, epochs_of
from cmp_core.reporting.pictures import Pictures
from cmp_core.runs.labels import MORE
from cmp_core.runs.replicates import ReplicateGroup, RunSet
from cmp_core.runs.seed_baseline import SeedBaseline
from cmp_core.text import plural


def report_html(
    runs: RunSet,
    plots: Sequence[Plot],
    baselines: Mapping[str, SeedBaseline],
    place: Path | None = None,
) -> tuple[str, list[Failure]]:
    """Return the page, and what the plots in it raised; a page without them is still a page.

    Args:
        runs: what it is about.
        plots: those that declare it are shown.
        baselines: by label of the group, what `cmp report` has stored.
        place: the folder of the page, from where it names runs and pictures; none: the current one.
    """
    pictures, answers = Pictures(plots), answers_of(runs)
    groups = [_group(group, answers[group.label], pictures, baselines) for group in runs.groups]
    comparisons = comparisons_of(runs)
    page = Environment(
        loader=PackageLoader("cmp_core.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"number": words.number, "p": words.p_value, "code": _with_code}
    page.filters["sentence"] = _sentence
    html = page.get_template("report.html.jinja").render(
        title=_title(runs),
        summary=_summary(runs),
        runs=runs.runs,
        names=runs.names,
        groups=groups,
        several=len(groups) > 1,
        comparisons=comparisons,
        differences=pictures.of_differences(runs) if comparisons else [],
        outcome=pictures.of_outcome(runs),
        files=picture_files(place or Path()),
        questions=QUESTIONS,
        accuracies=_accuracies(runs),
        note_on_origin=runs.note_on_origin,
        more=MORE if any(MORE in group.label.split() for group in runs.groups) else "",
        settings=settings(runs),
        words=words,
        environments=environments(runs),
        reproduce=[reproduce(run, place or Path()) for run in runs.runs],
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
        version=metadata.version("chain-of-metric-predictors"),
        report_command=report_command(runs, place or Path()),
    )
    # Half a surrogate pair, as a log or the name of a folder may hold one, is no text.
    return html.encode(errors="replace").decode(), pictures.failures


def _sentence(text: str) -> str:
    """Return a text with a capital in front; names in it stay what they are."""
    return text[:1].upper() + text[1:]


def _summary(runs: RunSet) -> list[str]:
    """Return what was run, in a few words per experiment."""
    lines = []
    for group in runs.groups:
        told = {key: plain(value) for key, value in group.runs[0].config.items()}
        parts = [
            text.format(told[key], s="" if told[key] == "1" else "s")
            for key, text in _TOLD.items()
            if key in told
        ]
        seeds = [str(run.seed) for run in group.runs if run.seed is not None]
        parts += [f"{plural('seed', len(seeds))} {', '.join(seeds)}"] if seeds else []
        lines.append(f"{group.label}: {', '.join(parts)}")
    return lines


_TOLD = {
    "layers": "{} layer{s}",
    "N": "{} unit{s} each",
    "epochs": "{} epoch{s}",
    "batch_size": "batch size {}",
    "lr": "learning rate {}",
}
"""Keys that the head of the page tells, and how."""


def _title(runs: RunSet) -> str:
    models = " and ".join(dict.fromkeys(run.model for run in runs.runs))
    return f"{models} on {' and '.join(runs.datasets)}"


# The questions


def _group(
    group: ReplicateGroup,
    answers: Sequence[Answer],
    pictures: Pictures,
    baselines: Mapping[str, SeedBaseline],
) -> dict[str, Any]:
    alone = RunSet(group.runs, (group.label,) * len(group.runs))

    def pictures_of(one: Answer) -> list[str]:
        view = PlotView(alone, question=one.question)
        return pictures.of_answer(view) if one.evidence else []

    return {
        "label": group.label,
        "seeds": [run.seed for run in group.runs],
        "answers": [(one, pictures_of(one)) for one in answers],
        "seed_baseline": baselines.get(group.label) if len(group.runs) > 1 else None,
        "phase": _phase(group),
        "metrics": _metrics(group, _phase(group)),
        "recomputed": _recomputed(group),
        "note_on_origin": alone.note_on_origin,
        "columns": (INPUT, *alone.layers),
        "missing": _missing(group),
        "problems": [
            without_places(problem.replace(str(run.directory), "…"))
            for run in group.runs
            for problem in run.problems
        ],
        "epochs": epochs_of(group),
        "confusions": confusions_of(group),
    }


# The numbers


def _accuracies(runs: RunSet) -> list[dict[str, Any]]:
    """Return for every layer the test accuracy of each group."""
    return [
        {"layer": layer, "cells": [accuracy_at(group.runs, layer) for group in runs.groups]}
        for layer in tested_layers(runs)
    ]


def _metrics(group: ReplicateGroup, phase: str) -> list[dict[str, Any]]:
    """Return a row per headline metric: values at the tested weights with errors, and before."""
    runs = RunSet(group.runs, (group.label,) * len(group.runs))
    columns = (INPUT, *runs.layers)
    rows = []
    for metric in runs.headlines:
        info = next(
            (run.metric_info[metric] for run in group.runs if metric in run.metric_info), None
        )
        is_added = any(run.is_recomputed(metric) for run in group.runs)
        own_phase = "val" if is_added and not _has(group, "test", metric) else phase
        tested, untrained = (
            [estimate_at(group.runs, metric, own_phase, layer, weights) for layer in columns]
            for weights in ("tested", "untrained")
        )
        untrained[0] = None  # the input is the same before and after
        if any(value is not None for value in (*tested, *untrained)):
            name = metric if own_phase == phase else f"{metric} (validation)"
            # What is known is of the metric here, and another program's may be another one.
            known = None if any(run.is_foreign(metric) for run in group.runs) else info
            rows.append({"name": name, "info": known, "tested": tested, "untrained": untrained})
    return rows


def _recomputed(group: ReplicateGroup) -> list[str]:
    """Return of each metric that was measured after the run which samples it rests on."""
    found = []
    for metric in RunSet(group.runs).headlines:
        if origin := recomputed_from(group.runs, metric):
            times = {
                f"{phase} of epochs {', '.join(map(str, series.epochs))}": None
                for run in group.runs
                for (phase, _, name), series in run.log.series.items()
                if name == metric and run.is_recomputed(name)
            }
            found.append(f"{metric}: {origin} ({'; '.join(times)})")
    return found


def _phase(group: ReplicateGroup) -> str:
    """Return the split that the values of all metrics are of: test, or without one validation."""
    return "test" if _has(group, "test") else "val"


def _has(group: ReplicateGroup, phase: str, metric: str | None = None) -> bool:
    """Return whether all runs have values of a split, of any metric or of one."""
    return all(
        any(p == phase and metric in (None, name) for p, _, name in run.log.series)
        for run in group.runs
    )


def _missing(group: ReplicateGroup) -> list[dict[str, Any]]:
    """Return why values of validation and test are missing, each reason once."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for run in group.runs:
        for (phase, layer, metric), reasons in run.log.missing.items():
            if phase in ("val", "test"):
                for reason in reasons:
                    found.setdefault((metric.partition(":")[0], reason), {})[layer] = None
    order = {layer: place for place, layer in enumerate((INPUT, *RunSet(group.runs).layers))}
    return [
        {"metric": m, "reason": reason, "layers": sorted(names, key=lambda x: order.get(x, -1))}
        for (m, reason), names in found.items()
    ]


def _with_code(text: str) -> Markup:
    """Return a text with what stands between backticks as code.

    >>> _with_code("the `head` < 1")
    Markup('the <code>head</code> &lt; 1')
    """
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one is alone, and means nothing
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )
