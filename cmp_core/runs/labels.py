"""What experiments are called: their model, and what of their configurations tells them apart.

A label stands in the heads of tables and the keys of pictures, so it is short, and no other has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pprint import pformat
from typing import Any

from cmp_core.runs.origin import OTHER_PROGRAM
from cmp_core.runs.record import RunRecord
from cmp_core.text import in_one_line

MOST_KEYS = 4
"""Keys that a label tells at most."""

MORE = "…"
"""Ends a label where the experiments of the model differ in more keys than it tells."""

_LONGEST_VALUE = 24
_LONGEST_MODEL = 48


def labels_of(runs: Sequence[RunRecord], keys: Sequence[str]) -> list[str]:
    """Return a label for each of some experiments.

    The model, and where several have it the keys in which these differ: all of them if they are
    few, otherwise those that suffice to tell the experiment from the others, and at most four.
    What is still called alike gets its number among all.

    Args:
        runs: one of each experiment.
        keys: that may make two runs different experiments, but for the model.
    """
    is_mixed = len({run.foreign for run in runs}) > 1
    names = [_model(run, is_mixed) for run in runs]
    labels = []
    for name, run in zip(names, runs, strict=True):
        # Of two models only keys that differ among the runs of one model are worth the space.
        peers = [other for own, other in zip(names, runs, strict=True) if own == name]
        differing = _differing(peers, keys)
        told = differing if len(differing) <= MOST_KEYS else _telling(run, peers, differing)
        texts = [f"{key}={in_one_line(str(run.config.get(key)), _LONGEST_VALUE)}" for key in told]
        labels.append(" ".join([name, *texts, *([MORE] if len(told) < len(differing) else [])]))
    while len(set(labels)) < len(labels):
        labels = [
            f"{label} #{number}" if labels.count(label) > 1 else label
            for number, label in enumerate(labels, 1)
        ]
    return labels


def _model(run: RunRecord, is_mixed: bool) -> str:
    name = in_one_line(run.model, _LONGEST_MODEL)
    return f"{name} ({OTHER_PROGRAM})" if is_mixed and run.foreign else name


def _differing(peers: Sequence[RunRecord], keys: Sequence[str]) -> list[str]:
    """Return the keys in which runs differ, first those that all of them state."""
    found = [key for key in keys if len({_value(run, key) for run in peers}) > 1]
    return sorted(found, key=lambda key: any(run.config.get(key) is None for run in peers))


def _telling(run: RunRecord, peers: Sequence[RunRecord], keys: Sequence[str]) -> list[str]:
    """Return few keys by which a run is told from its peers, in the order in which they are given.

    One after the other that which the fewest of the others share that are not told from it yet.
    """
    rest = [other for other in peers if other is not run]
    told: list[str] = []
    while rest and len(told) < MOST_KEYS:
        alike = {key: [one for one in rest if _value(one, key) == _value(run, key)] for key in keys}
        best = min(keys, key=lambda key: len(alike[key]))
        if len(alike[best]) == len(rest):
            break
        told.append(best)
        rest = alike[best]
    return [key for key in keys if key in told]


def _value(run: RunRecord, key: str) -> Any:
    return pformat(run.config.get(key))  # has a form for whatever YAML can hold, and can be hashed
