"""What was run, on what, and how it is made again, as a report tells it: without absolute paths.

A page is sent to others, whom it does not concern where the files of its runs lie.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cmp_core.plotting.render import FORMATS
from cmp_core.runs.directory import OBSERVED, PARAMS, PLOTS
from cmp_core.runs.record import RunRecord
from cmp_core.runs.replicates import RunSet

_ABSOLUTE = re.compile(r"(?<![^\s'\"=(\[,])/(?:[\w.~-][^/\s'\",=]*/)*([\w.~-][^/\s'\",=]*)/?")
_MOST_UP = 2
"""Folders up from the page to what it names by its way from there."""


def without_places(text: str) -> str:
    """Return a text in which of absolute paths the last part is left.

    >>> without_places("'/home/me/runs/0001/log.jsonl' is left out: 1/2 of https://a.org/b")
    "'…/log.jsonl' is left out: 1/2 of https://a.org/b"
    """
    return _ABSOLUTE.sub(r"…/\1", text)


def _from(place: Path, path: str | Path) -> str:
    """Return the way to a path from the folder of the page; its name where that is far away."""
    try:
        way = os.path.relpath(path, place)
    except ValueError:  # another drive of Windows
        return Path(path).name
    return way if way.count("..") <= _MOST_UP else Path(path).name


def picture_files(place: Path) -> list[str]:
    """Return the addresses of the pictures beside a page, from its folder."""
    files = sorted(path.name for path in (place / PLOTS).glob("[!.]*"))
    return [quote(f"{PLOTS}/{name}") for name in files if name.rpartition(".")[2] in FORMATS]


def settings(runs: RunSet) -> list[dict[str, Any]]:
    """Return the configuration: a row per key, with one value where all runs agree."""
    keys = dict.fromkeys(key for run in runs.runs for key in run.config)
    rows = []
    for key in keys:
        values = [without_places(plain(run.config.get(key))) for run in runs.runs]
        agrees = len(set(values)) == 1
        rows.append({"key": key, "values": values[:1] if agrees else values, "agrees": agrees})
    return rows


def plain(value: Any) -> str:
    """Return a value of a configuration as a text."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except (TypeError, ValueError):  # YAML has keys and reference cycles that JSON has not
        return str(value)


def environments(runs: RunSet) -> list[tuple[list[str], dict[str, str]]]:
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
    found = {key: str(known[key]) for key in told if known.get(key) is not None} | facts
    return {key: without_places(value) for key, value in found.items()}


def reproduce(run: RunRecord, place: Path) -> list[str]:
    """Return the commands that made a run, and that make it again, called where the page is."""
    made = []
    match run.environment.get("command"):
        case [str(program), *arguments] if _is_cmp(Path(program)):
            made = [shlex.join(["cmp", *(without_places(str(x)) for x in arguments)])]
    if run.snapshot is not None:
        return [shlex.join(["cmp", "recompute", _from(place, run.snapshot)])]
    if OBSERVED in run.config:  # by a program that is not ours
        return made
    return [*made, shlex.join(["cmp", "run", "-c", _from(place, run.directory / PARAMS)])]


def _is_cmp(program: Path) -> bool:
    """Return whether a program is the command line; a run may be made in Python as well."""
    is_module = program.parts[-2:] == ("cmp_core", "__main__.py")
    return is_module or program.stem in ("cmp", "cmp-metrics")


def report_command(runs: RunSet, place: Path) -> str:
    """Return the command that writes the page again, called where it is."""
    labels = ["--labels", ",".join(runs.labels)] if runs.labels else []
    places = [_from(place, run.snapshot or run.directory) for run in runs.runs]
    return shlex.join(["cmp", "report", *places, *labels])
