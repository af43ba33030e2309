"""What stands in a report, put together for its template."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
from jinja2 import Environment, PackageLoader, StrictUndefined

from cmp_core.analysis import words
from cmp_core.analysis.comparison import comparisons_of
from cmp_core.analysis.questions import QUESTIONS, Answer, answers_of
from cmp_core.analysis.values import accuracy_at, estimate_at, recomputed_from, tested_layers
from cmp_core.errors import UndefinedError
from cmp_core.events.rows import INPUT
from cmp_core.plotting.plot import Plot, PlotView
from cmp_core.plotting.render import DRAWING, render
from cmp_core.plugins.failures import Failure, failure_of
from cmp_core.plugins.fence import Fence
from cmp_core.runs.directory import OBSERVED, PARAMS
from cmp_core.runs.record import RunRecord
from cmp_core.runs.replicates import ReplicateGroup, RunSet
from cmp_core.runs.seed_baseline import SeedBaseline


@attrs.frozen
class Picture:
    """A figure for light and for dark pages, as data URIs."""

    light: str
    dark: str


def report_html(
    runs: RunSet, plots: Sequence[Plot], baselines: Mapping[str, SeedBaseline]
) -> tuple[str, list[Failure]]:
    """Return the page, and what the plots in it raised; a page without them is still a page.

    Args:
        runs: what it is about.
        plots: those that answer the research questions are shown.
        baselines: by label of the group, what `cmp report` has stored.
    """
    failures: list[Failure] = []
    answers = answers_of(runs)
    groups = [
        _group(group, answers[group.label], plots, baselines, failures) for group in runs.groups
    ]
    comparisons = comparisons_of(runs)
    page = Environment(
        loader=PackageLoader("cmp_core.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"number": words.number, "p": words.p_value}
    html = page.get_template("report.html.jinja").render(
        title=_title(runs),
        summary=_summary(runs),
        runs=runs.runs,
        names=runs.names,
        groups=groups,
        several=len(groups) > 1,
        comparisons=comparisons,
        differences=_pictures(PlotView(runs), plots, "several", failures) if comparisons else [],
        questions=QUESTIONS,
        accuracies=_accuracies(runs),
        settings=_settings(runs),
        words=words,
        environments=_environments(runs),
        reproduce=[_reproduce(run) for run in runs.runs],
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
        version=metadata.version("chain-of-metric-predictors"),
        report_command=_report_command(runs),
    )
    # Half a surrogate pair, as a log or the name of a folder may hold one, is no text.
    return html.encode(errors="replace").decode(), failures


def _summary(runs: RunSet) -> list[str]:
    """Return what was run, in a few words per experiment."""
    lines = []
    for group in runs.groups:
        told = {key: _plain(value) for key, value in group.runs[0].config.items()}
        parts = [text.format(told[key]) for key, text in _TOLD.items() if key in told]
        seeds = [str(run.seed) for run in group.runs if run.seed is not None]
        parts += [f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"] if seeds else []
        lines.append(f"{group.label}: {', '.join(parts)}")
    return lines


_TOLD = {
    "layers": "{} layers",
    "N": "{} units each",
    "epochs": "{} epochs",
    "batch_size": "batch size {}",
    "lr": "learning rate {}",
}
"""Keys that the head of the page tells, and how."""


def _title(runs: RunSet) -> str:
    models = " and ".join(dict.fromkeys(run.model for run in runs.runs))
    datasets = " and ".join(dict.fromkeys(run.dataset for run in runs.runs))
    return f"{models} on {datasets}"


# The questions


def _group(
    group: ReplicateGroup,
    answers: Sequence[Answer],
    plots: Sequence[Plot],
    baselines: Mapping[str, SeedBaseline],
    failures: list[Failure],
) -> dict[str, Any]:
    alone = RunSet(group.runs, (group.label,) * len(group.runs))

    def pictures_of(one: Answer) -> list[Picture]:
        view = PlotView(alone, question=one.question)
        return _pictures(view, plots, "any", failures) if one.evidence else []

    return {
        "label": group.label,
        "seeds": [run.seed for run in group.runs],
        "answers": [(one, pictures_of(one)) for one in answers],
        "seed_baseline": baselines.get(group.label) if len(group.runs) > 1 else None,
        "phase": _phase(group),
        "metrics": _metrics(group, _phase(group)),
        "recomputed": _recomputed(group),
        "columns": (INPUT, *alone.layers),
        "missing": _missing(group),
        "problems": [problem for run in group.runs for problem in run.problems],
    }


def _pictures(
    view: PlotView, plots: Sequence[Plot], kind: str, failures: list[Failure]
) -> list[Picture]:
    """Return what the plots make of a view that answer for runs of a kind, `any` or `several`."""
    pictures = []
    fence = Fence()
    for plot in plots:
        if not plot.definition.answers or plot.definition.runs != kind:
            continue
        try:
            with fence.around(plot.label, DRAWING):
                light, dark = (
                    _data_uri(render(plot, view, "svg", dark=dark)) for dark in (False, True)
                )
        except UndefinedError:
            continue
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            failures.append(failure_of(plot.label, "the report", error, "disable"))
            continue
        pictures.append(Picture(light, dark))
    return pictures


def _data_uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


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
            rows.append({"name": name, "info": info, "tested": tested, "untrained": untrained})
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


# What was run


def _settings(runs: RunSet) -> list[dict[str, Any]]:
    """Return the configuration: a row per key, with one value where all runs agree."""
    keys = dict.fromkeys(key for run in runs.runs for key in run.config)
    rows = []
    for key in keys:
        values = [_plain(run.config.get(key)) for run in runs.runs]
        agrees = len(set(values)) == 1
        rows.append({"key": key, "values": values[:1] if agrees else values, "agrees": agrees})
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except (TypeError, ValueError):  # YAML has keys and reference cycles that JSON has not
        return str(value)


def _environments(runs: RunSet) -> list[tuple[list[str], dict[str, str]]]:
    """Return each environment once, with the names of its runs."""
    found: list[tuple[list[str], dict[str, str]]] = []
    for name, run in zip(runs.names, runs.runs, strict=True):
        facts = _environment(run)
        same = next((names for names, other in found if other == facts), None)
        if same is None:
            found.append(([name], facts))
        else:
            same.append(name)
    return found


def _environment(run: RunRecord) -> dict[str, str]:
    known = dict(run.environment)
    packages = known.pop("packages", None)
    facts = {} if not isinstance(packages, dict) else {k: str(v) for k, v in packages.items()}
    told = ("python", "platform", "device", "gpu", "threads", "git_commit")
    return {key: str(known[key]) for key in told if known.get(key) is not None} | facts


def _reproduce(run: RunRecord) -> list[str]:
    """Return the commands that made a run, and that make it again."""
    made = []
    match run.environment.get("command"):
        case [str(program), *arguments] if _is_cmp(Path(program)):
            made = [shlex.join(["cmp", *map(str, arguments)])]
    if run.snapshot is not None:
        return [shlex.join(["cmp", "recompute", run.snapshot])]
    if OBSERVED in run.config:  # by a program that is not ours
        return made
    return [*made, shlex.join(["cmp", "run", "-c", str(run.directory / PARAMS)])]


def _is_cmp(program: Path) -> bool:
    """Return whether a program is the command line; a run may be made in Python as well."""
    is_module = program.parts[-2:] == ("cmp_core", "__main__.py")
    return is_module or program.stem in ("cmp", "cmp-metrics")


def _report_command(runs: RunSet) -> str:
    labels = ["--labels", ",".join(runs.labels)] if runs.labels else []
    places = [run.snapshot or str(run.directory) for run in runs.runs]
    return shlex.join(["cmp", "report", *places, *labels])
