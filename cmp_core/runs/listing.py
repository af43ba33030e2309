"""The runs below a folder, each in a few facts, and what tells them apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from cmp_core.config.load import parse_yaml, read_yaml
from cmp_core.config.schema import shown
from cmp_core.errors import UsageError, unknown
from cmp_core.runs.directory import OBSERVED, PARAMS, STATUS, TEST_RESULTS
from cmp_core.runs.json_file import read_optional
from cmp_core.runs.lock import TRAINING, is_held
from cmp_core.runs.log import as_count, as_number
from cmp_core.runs.replicates import SHARED
from cmp_core.runs.test_accuracies import output_accuracy
from cmp_core.runs.walking import Folder

STATE = "state"


@attrs.frozen
class ListedRun:
    """A run in a few facts.

    Attributes:
        directory: of the run.
        begun: when its configuration was written.
        config: the keys of `params.yaml`, unchecked.
        state: `finished`, `running`, `failed`, `interrupted`, `killed` where its program has ended
            without a word, `waiting` for its start, or `?`.
        epoch: the last one that is over, or none.
        test_acc: accuracy of the test, NaN without one.
        val_acc: accuracy on validation after the last epoch, NaN where it is not told.
    """

    directory: Path
    begun: datetime
    config: Mapping[str, Any]
    state: str
    epoch: int | None
    test_acc: float
    val_acc: float

    def has(self, key: str, value: str) -> bool:
        """Return whether a key of the configuration, or the state, has a value, as in YAML."""
        if key == STATE:
            return self.state == value
        own = self.config.get(key)
        return key in self.config and (str(own) == value or own == parse_yaml(value, key))


def find_runs(folders: Iterable[Folder]) -> Iterator[Path]:
    """Yield those folders that are run directories.

    Args:
        folders: a `Walk` that ends at `PARAMS`: nothing is looked for inside a run.
    """
    for folder in folders:
        if PARAMS in folder.files and (folder.path / PARAMS).is_file():
            yield folder.path


def begun_at(directory: Path) -> datetime:
    """Return when a run's configuration was written."""
    return datetime.fromtimestamp((directory / PARAMS).stat().st_mtime).astimezone()


def read_listed_run(directory: Path, problems: list[str]) -> ListedRun:
    """Return a run's facts; what cannot be read of it is appended to `problems`, in sentences."""
    try:
        config = read_yaml(directory / PARAMS)
    except UsageError as error:
        problems.append(str(error))
        config = {}
    status, results = (read_optional(directory / name, problems) for name in (STATUS, TEST_RESULTS))
    return ListedRun(
        directory,
        begun_at(directory),
        config,
        _state(directory, config, status, results),
        as_count(status.get("epoch")),
        output_accuracy(results),
        as_number(status.get("val_acc")),
    )


def _state(
    directory: Path,
    config: Mapping[str, Any],
    status: Mapping[str, Any],
    results: Mapping[str, Any],
) -> str:
    told = status.get("state")
    if not isinstance(told, str):
        return "finished" if results else "?" if (directory / "log.jsonl").exists() else "waiting"
    if told == "running" and OBSERVED not in config and not is_held(directory, TRAINING):
        return "killed"
    return told


def differing(runs: Sequence[ListedRun]) -> list[dict[str, Any]]:
    """Return for each run the keys in which runs of its dataset and model differ, but the seed."""
    peers: dict[tuple[str, str], list[ListedRun]] = {}
    for run in runs:
        peers.setdefault(_kind(run), []).append(run)
    keys = {
        kind: [
            key
            for key in dict.fromkeys(key for run in group for key in run.config)
            if key not in SHARED and len({shown(run.config.get(key)) for run in group}) > 1
        ]
        for kind, group in peers.items()
    }
    return [{key: run.config.get(key) for key in keys[_kind(run)]} for run in runs]


def _kind(run: ListedRun) -> tuple[str, str]:
    return str(run.config.get("dataset")), str(run.config.get("model"))


def chosen(runs: Sequence[ListedRun], conditions: Sequence[str]) -> list[ListedRun]:
    """Return the runs that hold all conditions, `key=value` texts.

    Raises:
        UsageError: a condition is none, or no run has its key.
    """
    for condition in conditions:
        key, separator, value = condition.partition("=")
        known = dict.fromkeys([STATE, *(str(key) for run in runs for key in run.config)])
        if not separator:
            raise UsageError(f"--where expects key=value, for example model=mlp; got '{condition}'")
        if key not in known:
            raise UsageError(f"--where {condition}: {unknown('key', key, list(known))}")
        runs = [run for run in runs if run.has(key, value)]
    return list(runs)
