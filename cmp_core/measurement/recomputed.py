"""What measuring a snapshot gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from cmp_core.events.rows import Row
from cmp_core.plugins.failures import Failure
from cmp_core.runs.metric_info import MetricInfo, owner_of


@attrs.frozen(repr=False)
class Recomputed:
    """What a snapshot gave: its rows, or the error that kept it from being measured.

    Attributes:
        path: of the file.
        phase, epoch, step: when it was taken.
        rows: values, and reasons of missing ones, in the order of the metrics.
        failures: plugins that raised.
        info: of the metrics.
        layers: names, in order of depth.
        sample_ids: those that were measured, (n,).
        content_hash: of the file, or empty.
        notes: what of the file's own selection was left out, in sentences.
        error: why there is nothing; none where there is.
    """

    path: Path
    phase: str = ""
    epoch: int = 0
    step: int = 0
    rows: tuple[Row, ...] = ()
    failures: tuple[Failure, ...] = ()
    info: tuple[MetricInfo, ...] = ()
    layers: tuple[str, ...] = ()
    sample_ids: tuple[int, ...] = attrs.field(default=(), repr=False)
    content_hash: str = ""
    notes: tuple[str, ...] = ()
    error: str | None = None

    def __repr__(self) -> str:
        when = f"{self.phase}, epoch {self.epoch}, {len(self.rows)} rows"
        return f"<Recomputed {self.path.name}: {self.error or when}>"

    def rows_by_label(self) -> dict[str, tuple[Row, ...]]:
        """Return the rows of each metric that has a value at any layer, by its label."""
        labels = [info.label for info in self.info]
        rows: dict[str, tuple[Row, ...]] = {}
        for label in labels:
            own = tuple(row for row in self.rows if owner_of(row.metric, labels) == label)
            if any(row.value is not None for row in own):
                rows[label] = own
        return rows

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the rows as flat mappings of plain values, for JSON and CSV."""
        for row in self.rows:
            yield {
                "snapshot": str(self.path),
                "phase": self.phase,
                "epoch": self.epoch,
                "step": self.step,
                "layer": row.layer,
                "other": row.other,
                "metric": row.metric,
                "value": list(row.value) if isinstance(row.value, tuple) else row.value,
                "error": list(row.error) if isinstance(row.error, tuple) else row.error,
                "reason": row.reason,
                "n": row.n,
                "pair": row.pair,
                "fit": None if row.fit is None else row.fit.source,
                "n_fit": None if row.fit is None else row.fit.n,
                "by_half_fit": None if row.fit is None else row.fit.half,
            }
