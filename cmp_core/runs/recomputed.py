"""`recomputed.jsonl`: values of metrics that were measured after a run, from its snapshots."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cmp_core.config.schema import shown
from cmp_core.errors import DataError
from cmp_core.runs.directory import RECOMPUTED, write_whole
from cmp_core.runs.json_file import parse_object, texts_of
from cmp_core.runs.log import LogReader, RunLog, as_count
from cmp_core.runs.metric_info import MetricInfo, as_metric_info


@attrs.frozen(eq=False)
class RecomputedValues:
    """The content of `recomputed.jsonl`.

    Attributes:
        log: its values.
        metric_info: of its metrics, by label.
        influences: how much each test sample (n,), or each of 20 groups, moves a value, by
            `layer/metric` and, before training, `untrained/layer/metric`.
        sample_ids: (n,), the test samples that these are of, by label.
    """

    log: RunLog
    metric_info: Mapping[str, MetricInfo]
    influences: Mapping[str, NDArray[np.float64]]
    sample_ids: Mapping[str, NDArray[np.int64]]


@attrs.frozen(eq=False)
class _Line:
    """The values of one metric in one snapshot."""

    number: int
    info: MetricInfo
    phase: str
    epoch: int
    step: int
    sample_ids: NDArray[np.int64]
    influences: Mapping[str, NDArray[np.float64]]
    content: Mapping[str, Any]


def read_recomputed(directory: Path, logged: Collection[str]) -> RecomputedValues:
    """Read what was added to a run; a line that cannot be read is told and left out.

    Args:
        directory: of the run.
        logged: labels and values that the run has logged itself, which count.
    """
    path, reader = directory / RECOMPUTED, LogReader()
    lines: list[_Line] = []
    try:
        for number, text in texts_of(path) if path.exists() else ():
            reader.at(path, number)
            try:
                line = _line(number, parse_object(text))
            except ValueError as error:
                reader.tell(f"left out, {error}")
                continue
            if line.info.label in logged:
                reader.tell(f"left out, the run has logged {line.info.label} itself")
            else:
                lines.append(line)
    except (OSError, ValueError) as error:
        reader.at(path)
        reader.tell(f"the rest is left out, it cannot be read ({error})")
    tested = {line.info.label: line for line in _tested(lines)}
    ids: dict[str, NDArray[np.int64]] = {}
    influences: dict[str, NDArray[np.float64]] = {}
    for line in sorted(lines, key=lambda line: (line.epoch, line.step)):
        label = line.info.label
        if line.phase == "test" and label not in tested:
            continue  # what is known of the untrained network alone is no test
        reader.at(path, line.number)
        reader.add(line.content, line.phase, "", (line.epoch, line.step, 0))
        if line.phase == "test" and line is tested[label]:
            ids[label] = line.sample_ids
            influences |= line.influences
        elif line.phase == "test" and line.epoch == 0 and _are_together(line, tested[label]):
            influences |= {f"untrained/{key}": own for key, own in line.influences.items()}
    info = {line.info.label: line.info for line in lines}
    return RecomputedValues(reader.finished({}), info, influences, ids)


def _are_together(line: _Line, other: _Line) -> bool:
    """Return whether two lines are of the same samples, so that influences can be subtracted."""
    return np.array_equal(line.sample_ids, other.sample_ids)


def _tested(lines: Iterable[_Line]) -> list[_Line]:
    """Return the lines of tests of trained weights, the last one of a metric last."""
    found = [line for line in lines if line.phase == "test" and line.epoch > 0]
    return sorted(found, key=lambda line: (line.epoch, line.step))


def stored_lines(directory: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's `recomputed.jsonl`, none where there is no such file.

    Raises:
        DataError: a line cannot be read, and would be lost if the file were written anew.
    """
    path, lines = directory / RECOMPUTED, []
    number = 0
    try:
        for number, text in texts_of(path) if path.exists() else ():
            content = parse_object(text)
            _line(number, content)
            lines.append(content)
    except ValueError as error:
        raise DataError(
            f"'{path}', line {number}: {error}; mend or remove the line, or nothing can be "
            "added to the file"
        ) from error
    return lines


def save_recomputed(directory: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Add lines to a run's `recomputed.jsonl`; the file is written whole.

    A line replaces that of the same metric and snapshot, and those of the same label that were
    measured by another metric or with other options.

    Raises:
        DataError: the file that is there cannot be read.
    """
    new = [json.loads(json.dumps(line, allow_nan=False)) for line in lines]
    places = {(line["snapshot"], line["label"]) for line in new}
    info = {line["label"]: line["metric_info"] for line in new}
    kept = [
        line
        for line in stored_lines(directory)
        if (line["snapshot"], line["label"]) not in places
        and line["metric_info"] == info.get(line["label"], line["metric_info"])
    ]
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in (*kept, *new))
    write_whole(directory / RECOMPUTED, text)


def _line(number: int, content: Mapping[str, Any]) -> _Line:
    """Return a line that is as it should be.

    Raises:
        ValueError: it is not; the message is the reason.
    """
    label, snapshot, phase = (content.get(key) for key in ("label", "snapshot", "phase"))
    epoch, step = as_count(content.get("epoch")), as_count(content.get("step"))
    for what, value, expected, is_right in (
        ("label", label, "a text", isinstance(label, str)),
        ("snapshot", snapshot, "a text", isinstance(snapshot, str)),
        ("phase", phase, "val, train or test", phase in ("val", "train", "test")),
        ("epoch", content.get("epoch"), "a whole number", epoch is not None),
        ("step", content.get("step"), "a whole number", step is not None),
    ):
        if not is_right:
            raise ValueError(f"its {what} is {shown(value)}; expected {expected}")
    info = as_metric_info({str(label): content.get("metric_info")})[str(label)]
    try:
        influences = {
            str(place): np.array(own, dtype=np.float64).reshape(-1)
            for place, own in content.get("influences", {}).items()
        }
        sample_ids = np.array(content.get("sample_ids", []), dtype=np.int64).reshape(-1)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            "its sample_ids or influences are no lists of numbers; expected [id, …] and "
            "{layer/metric: [number, …]}"
        ) from error
    return _Line(number, info, str(phase), epoch or 0, step or 0, sample_ids, influences, content)
