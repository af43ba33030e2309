"""What `cmp info` prints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
from rich import box
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from cmp_core.config.load import read_yaml
from cmp_core.console import out, say, track, warn
from cmp_core.errors import DataError
from cmp_core.measurement.children import Children, Outcome, limited
from cmp_core.measurement.recompute import find_snapshots
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
from cmp_core.snapshots.attributes import shortened
from cmp_core.snapshots.format import CONTENT_HASH
from cmp_core.snapshots.read import Snapshot, open_snapshot
from cmp_core.snapshots.storage import StoredArray


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
    files = find_snapshots([place])
    with Children(1) as children:
        outcomes = children.results(
            [(f"{__name__}:{describe.__name__}", (file,)) for file in files]
        )
        if place.is_dir():
            _show_list(place, files, outcomes)
        else:
            _show_snapshot(place, next(outcomes))


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
        what += f", {told['epochs']} epochs"
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
    facts["files"] = ", ".join(sorted(item.name for item in folder.iterdir()))
    width = max(map(len, facts))
    for name, fact in facts.items():
        say(f"{name:<{width}}  {fact}")


def _shown(value: object) -> str:
    return shortened(str(value))


def _show_list(folder: Path, files: list[Path], outcomes: Iterable[Outcome]) -> None:
    errors: list[str] = []
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("snapshot", overflow="fold")
    table.add_column("phase")
    for column in ("epoch", "step", "samples", "layers", "size"):
        table.add_column(column, justify="right")
    for file, outcome in zip(files, track(outcomes, "snapshots", len(files)), strict=True):
        if outcome.problem is not None:
            errors.append(_problem(file, outcome.problem))
        else:
            size = decimal(file.stat().st_size)
            table.add_row(escape(_below(folder, file)), *outcome.value.cells, size)
    out().print(table)
    if errors:
        raise DataError("\nerror: ".join(errors))


def _below(folder: Path, file: Path) -> str:
    inner = folder / ACTIVATIONS
    return str(file.relative_to(inner if inner in file.parents else folder))


def _problem(file: Path, problem: str) -> str:
    return problem if str(file) in problem else f"'{file}': {problem}"


def _show_snapshot(file: Path, outcome: Outcome) -> None:
    if outcome.problem is not None:
        raise DataError(_problem(file, outcome.problem))
    *facts, is_whole = outcome.value.facts
    for fact in facts:
        say(fact)
    table = Table("array", "shape", "type", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("in the file", justify="right")
    for cells in outcome.value.arrays:
        table.add_row(*map(escape, cells))
    out().print(table)
    say(is_whole)


def _facts(snapshot: Snapshot) -> Iterator[str]:
    yield f"{snapshot.path}: {snapshot.phase}, epoch {snapshot.epoch}, step {snapshot.step}"
    origin = [x for x in (snapshot.model, snapshot.dataset, snapshot.run_id) if x]
    if origin:
        yield f"from {' '.join(map(shortened, origin))}"
    labels = "without labels" if snapshot.labels is None else f"{snapshot.num_classes} classes"
    fitting = 0 if snapshot.fit is None else int(snapshot.fit.sum())
    told = f", {fitting:,} of them to fit probes to" if fitting else ""
    yield f"{snapshot.n:,} samples{told}, {labels}"


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
