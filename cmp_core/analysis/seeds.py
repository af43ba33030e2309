"""Which of some runs count as replicates: networks of different seeds."""

from __future__ import annotations

from collections.abc import Sequence

from cmp_core.runs.record import RunRecord
from cmp_core.runs.test_accuracies import output_accuracy


def distinct_seeds(runs: Sequence[RunRecord], notes: list[str]) -> list[RunRecord]:
    """Return one run of each seed: a second one of the same seed is no replicate."""
    by_seed: dict[object, RunRecord] = {}
    for run in runs:
        key = run.directory if run.seed is None else str(run.seed)
        if key in by_seed:
            notes.append(f"{run.name} is left out: it has the seed of {by_seed[key].name}")
        else:
            by_seed[key] = run
    return list(by_seed.values())


def distinct_networks(runs: Sequence[RunRecord], notes: list[str]) -> list[RunRecord]:
    """Return runs of different seeds, of which none is a copy of another."""
    by_values: dict[object, RunRecord] = {}
    for run in distinct_seeds(runs, notes):
        values = _fingerprint(run)
        if values in by_values:
            same = by_values[values].name
            notes.append(f"{run.name} is left out: it has all the values of {same}")
        else:
            by_values[values] = run
    replicates = list(by_values.values())
    if any(set(run.hidden_layers) != set(replicates[0].hidden_layers) for run in replicates):
        notes.append("the runs have different layers: those that all of them have are compared")
    return replicates


def _fingerprint(run: RunRecord) -> tuple[object, ...]:
    """Return the last values that a run has logged: networks that share them are one network."""
    values = sorted(
        (key, float(one.values[-1]))
        for key, one in run.log.series.items()
        if not run.is_recomputed(key[2])
    )
    return (*values, str(output_accuracy(run.log.test))) if values else (run.directory,)
