"""What `cmp info` prints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
from rich.filesize import decimal

from cmp_core.config.load import read_yaml
from cmp_core.console import say, say_indented, show_table, track, warn
from cmp_core.errors import DataError, UsageError
from cmp_core.measurement.children import Children, Outcome, limited
from cmp_core.measurement.recompute import find_snapshots, snapshots_in, walk_to_snapshots
from cmp_core.runs.directory import (
    ACTIVATIONS,
    ENVIRONMENT,
    OBSERVED,
    PARAMS,
    STATUS,
    TEST_RESULTS,
)
from cmp_core.runs.json_file import read_optional
from cmp_core.runs.lock import TRAINING, is_held
from cmp_core.runs.origin import MEANING, is_foreign
from cmp_core.runs.recomputed import read_recomputed
from cmp_core.runs.test_accuracies import output_accuracy
from cmp_core.runs.walking import MOST_FOLDERS
from cmp_core.snapshots.attributes import shortened
from cmp_core.snapshots.format import CONTENT_HASH
from cmp_core.snapshots.read import Snapshot, open_snapshot
from cmp_core.snapshots.storage import StoredArray
from cmp_core.text import counted, in_short, plural


@attrs.frozen
class Description:
    """What `cmp info` tells of a snapshot.

    Attributes:
        facts: in sentences.
        cells: in a list of snapshots: phase, epoch, step, samples and layers.
        arrays: name, shape, type and size in the file of each.
    """

    facts: tuple[str, ...]
    cells: tuple[str, ...]
    arrays: tuple[tuple[str, ...], ...]


def show(path: str) -> None:
    """Describe a run, a folder or a file."""
    place = Path(path)
    if (place / PARAMS).is_file():
        _show_run(place)
        if not any((place / ACTIVATIONS).glob("*.h5")):
            say("no snapshots")
            return
    if place.is_dir():
        _show_folder(place)
    else:
        _show_snapshot(place)


def describe(path: Path) -> Description:
    """Read a snapshot whole, and return what there is to tell; in a process of its own.

    Raises:
        DataError: it is damaged.
    """
    with limited():
        snapshot = open_snapshot(path)
    with snapshot as s:
        with limited(s.nbytes):
            is_compared = s.verify()
        return Description(
            facts=(*_facts(s), _VERIFIED if is_compared else _UNVERIFIED),
            cells=(s.phase, str(s.epoch), str(s.step), f"{s.n:,}", str(len(s.layers))),
            arrays=tuple(_arrays(s)),
        )


_VERIFIED = "everything can be read, and is what was written"
_UNVERIFIED = f"everything can be read, there is no {CONTENT_HASH}"


def _show_run(folder: Path) -> None:
    config = read_yaml(folder / PARAMS)
    problems: list[str] = []
    status, results, environment = (
        read_optional(folder / name, problems) for name in (STATUS, TEST_RESULTS, ENVIRONMENT)
    )
    for problem in (*problems, *read_recomputed(folder, logged=()).log.problems):
        warn(problem)
    told = {key: _shown(config.get(key, "?")) for key in ("model", "dataset", "seed", "epochs")}
    what = "{model} on {dataset}, seed {seed}".format(**told)
    if "epochs" in config:
        what += f", {told['epochs']} {plural('epoch', config['epochs'])}"
    facts = {"run": f"{what}, observed" if OBSERVED in config else what}
    if is_foreign(folder, environment):
        facts["origin"] = f"another program has logged the metrics: {MEANING}"
    if status:
        state, epoch = (_shown(status.get(key, "?")) for key in ("state", "epoch"))
        facts["state"] = f"{state}, epoch {epoch}"
        if state == "running" and OBSERVED not in config and not is_held(folder, TRAINING):
            facts["state"] += "; its program has ended without a word, see cmp run --resume"
    if results:
        accuracy = output_accuracy(results)
        facts["test"] = f"accuracy {accuracy:.4f}" if math.isfinite(accuracy) else "accuracy ?"
        if "epoch" in results:
            facts["test"] += f", weights of epoch {_shown(results['epoch'])}"
    packages = environment.get("packages")
    if isinstance(packages, dict) and packages:
        versions = (f"{_shown(name)} {_shown(version)}" for name, version in packages.items())
        facts["software"] = ", ".join(versions)
    facts["files"] = in_short(sorted(item.name for item in folder.iterdir()), 50)
    width = max(map(len, facts))
    for name, fact in facts.items():
        say_indented(f"{name:<{width}}  {fact}", 0)


def _shown(value: object) -> str:
    return shortened(str(value))


def _show_folder(folder: Path) -> None:
    """Print a row for each snapshot, no more than `_MOST`, and how many there are.

    Raises:
        UsageError: there is none.
        DataError: some are damaged.
    """
    walk = walk_to_snapshots(folder)
    looking = f"looking for snapshots in {folder}"
    files = snapshots_in(track(walk, "looking for snapshots", line=looking))
    where = "" if walk.is_whole else f" in the nearest {MOST_FOLDERS:,} folders"
    if not files:
        raise UsageError(f"'{folder}' holds no snapshot: there is no .h5 file{where or ' in it'}")
    shown = files[:_MOST]
    errors, rows = [], []
    for file, outcome in zip(shown, _described(shown), strict=True):
        if outcome.problem is not None:
            errors.append(_problem(file, outcome.problem))
        else:
            size = decimal(file.stat().st_size)
            rows.append((_below(folder, file), *outcome.value.cells, size))
    numbers = ("epoch", "step", "samples", "layers", "size")
    show_table(("snapshot", "phase", *numbers), rows, numbers=numbers)
    if len(shown) < len(files):
        many = counted(len(files), "snapshot")
        say(f"the first {len(shown):,} of {many}{where}; name others by their paths")
    elif not walk.is_whole:
        say(f"{counted(len(files), 'snapshot')}{where}")
    if errors:
        raise DataError("\nerror: ".join(errors))


_MOST = 100
"""Snapshots of a folder that are read whole and shown."""


def _described(files: Sequence[Path]) -> Iterator[Outcome]:
    """Yield what each file gives, under a bar; each is read in a process of its own."""
    calls = [(f"{__name__}:{describe.__name__}", (file,)) for file in files]
    line = f"reading {counted(len(files), 'snapshot')}"
    with Children(1) as children:
        yield from track(children.results(calls), "snapshots", len(files), line=line)


def _below(folder: Path, file: Path) -> str:
    inner = folder / ACTIVATIONS
    return str(file.relative_to(inner if inner in file.parents else folder))


def _problem(file: Path, problem: str) -> str:
    return problem if str(file) in problem else f"'{file}': {problem}"


def _show_snapshot(path: Path) -> None:
    (file,) = find_snapshots([path])
    (outcome,) = _described([file])
    if outcome.problem is not None:
        raise DataError(_problem(file, outcome.problem))
    *facts, is_whole = outcome.value.facts
    for fact in facts:
        say(fact)
    show_table(("array", "shape", "type", _SIZE), outcome.value.arrays, numbers=[_SIZE])
    say(is_whole)


_SIZE = "in the file"


def _facts(snapshot: Snapshot) -> Iterator[str]:
    yield f"{snapshot.path}: {snapshot.phase}, epoch {snapshot.epoch}, step {snapshot.step}"
    origin = [x for x in (snapshot.model, snapshot.dataset, snapshot.run_id) if x]
    if origin:
        yield f"from {' '.join(map(shortened, origin))}"
    labels = "without labels" if snapshot.labels is None else counted(snapshot.num_classes, "class")
    fitting = 0 if snapshot.fit is None else int(snapshot.fit.sum())
    told = f", {fitting:,} of them to fit probes to" if fitting else ""
    yield f"{counted(snapshot.n, 'sample')}{told}, {labels}"


def _arrays(snapshot: Snapshot) -> Iterator[tuple[str, ...]]:
    if snapshot.inputs is not None:
        yield _cells("inputs", snapshot.inputs)
    for layer in (*([snapshot.reference] if snapshot.reference else []), *snapshot.layers):
        for what in ("activations", "scores", "anchors"):
            array = getattr(layer, what)
            is_inputs = layer is snapshot.reference and what == "activations"
            is_output = what == "scores" and array is layer.activations
            if array is not None and not (is_inputs or is_output):
                yield _cells(f"{shortened(layer.name)} {what}", array)


def _cells(name: str, array: StoredArray) -> tuple[str, ...]:
    shape = " × ".join(f"{size:,}" for size in array.shape)
    return name, shape, str(array.dtype), decimal(array.stored_bytes)
