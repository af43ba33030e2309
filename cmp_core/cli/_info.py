"""What `cmp info` prints."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from cmp_core.config.load import read_yaml
from cmp_core.console import out, say, track, warn
from cmp_core.errors import DataError
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
from cmp_core.runs.log import as_number
from cmp_core.runs.recomputed import read_recomputed
from cmp_core.snapshots.format import CONTENT_HASH
from cmp_core.snapshots.read import Snapshot, open_snapshot
from cmp_core.snapshots.storage import StoredArray


def show(path: str) -> None:
    """Describe a run, a folder or a file."""
    place = Path(path)
    if (place / PARAMS).is_file():
        _show_run(place)
        if not any((place / ACTIVATIONS).glob("*.h5")):
            say("no snapshots")
            return
    files = find_snapshots([place])
    if place.is_dir():
        _show_list(place, files)
    else:
        with open_snapshot(place) as snapshot:
            _show_snapshot(snapshot)
            is_compared = snapshot.verify()
        known = "and is what was written" if is_compared else f"there is no {CONTENT_HASH}"
        say(f"everything can be read, {known}")


def _show_run(folder: Path) -> None:
    config = read_yaml(folder / PARAMS)
    problems: list[str] = []
    status, results, environment = (
        read_optional(folder / name, problems) for name in (STATUS, TEST_RESULTS, ENVIRONMENT)
    )
    for problem in (*problems, *read_recomputed(folder, logged=()).log.problems):
        warn(problem)
    told = {key: config.get(key, "?") for key in ("model", "dataset", "seed")}
    what = "{model} on {dataset}, seed {seed}".format(**told)
    if "epochs" in config:
        what += f", {config['epochs']} epochs"
    facts = {"run": f"{what}, observed" if OBSERVED in config else what}
    if status:
        facts["state"] = f"{status.get('state', '?')}, epoch {status.get('epoch', '?')}"
    if results:
        accuracy, epoch = as_number(results.get("acc")), results.get("epoch", "?")
        facts["test"] = f"accuracy {accuracy:.4f}, weights of epoch {epoch}"
    packages = environment.get("packages")
    if isinstance(packages, dict) and packages:
        facts["software"] = ", ".join(f"{name} {version}" for name, version in packages.items())
    facts["files"] = ", ".join(sorted(item.name for item in folder.iterdir()))
    width = max(map(len, facts))
    for name, fact in facts.items():
        say(f"{name:<{width}}  {fact}")


def _show_list(folder: Path, files: list[Path]) -> None:
    errors: list[str] = []
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("snapshot", overflow="fold")
    table.add_column("phase")
    for column in ("epoch", "step", "samples", "layers", "size"):
        table.add_column(column, justify="right")
    for file in track(files, "snapshots"):
        size = decimal(file.stat().st_size)
        try:
            with open_snapshot(file) as s:
                s.verify()
                numbers = (s.epoch, s.step, f"{s.n:,}", len(s.layers))
                table.add_row(escape(_below(folder, file)), s.phase, *map(str, numbers), size)
        except DataError as error:
            errors.append(str(error))
    out().print(table)
    if errors:
        raise DataError("\nerror: ".join(errors))


def _below(folder: Path, file: Path) -> str:
    inner = folder / ACTIVATIONS
    return str(file.relative_to(inner if inner in file.parents else folder))


def _show_snapshot(snapshot: Snapshot) -> None:
    origin = " ".join(x for x in (snapshot.model, snapshot.dataset, snapshot.run_id) if x)
    say(f"{snapshot.path}: {snapshot.phase}, epoch {snapshot.epoch}, step {snapshot.step}")
    if origin:
        say(f"from {origin}")
    labels = "without labels" if snapshot.labels is None else f"{snapshot.num_classes} classes"
    fitting = 0 if snapshot.fit is None else int(snapshot.fit.sum())
    told = f", {fitting:,} of them to fit probes to" if fitting else ""
    say(f"{snapshot.n:,} samples{told}, {labels}")
    table = Table("array", "shape", "type", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("in the file", justify="right")
    if snapshot.inputs is not None:
        _add(table, "inputs", snapshot.inputs)
    for layer in (*([snapshot.reference] if snapshot.reference else []), *snapshot.layers):
        for what in ("activations", "scores", "anchors"):
            array = getattr(layer, what)
            is_inputs = layer is snapshot.reference and what == "activations"
            is_output = what == "scores" and array is layer.activations
            if array is not None and not (is_inputs or is_output):
                _add(table, f"{layer.name} {what}", array)
    out().print(table)


def _add(table: Table, name: str, array: StoredArray) -> None:
    shape = " × ".join(f"{size:,}" for size in array.shape)
    table.add_row(escape(name), shape, str(array.dtype), decimal(array.stored_bytes))
