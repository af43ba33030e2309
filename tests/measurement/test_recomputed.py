"""Tests of `cmp_core.measurement.recomputed`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import attrs

from cmp_core.events.rows import Row
from cmp_core.measurement.recomputed import Recomputed
from tests.measurement.test_recompute import KEYS


def test_it_prints_shortly(tmp_path: Path) -> None:
    row = Row("layer_0", "m", 1.0, 3)
    found = Recomputed(tmp_path / "a.h5", "val", 1, 2, (row,))
    assert repr(found) == "<Recomputed a.h5: val, epoch 1, 1 rows>"
    assert repr(Recomputed(tmp_path / "a.h5", error="it is cut")) == "<Recomputed a.h5: it is cut>"


def test_records_are_plain(tmp_path: Path) -> None:
    row = Row("layer_0", "m", (1.0, 2.0), 3)
    (record,) = Recomputed(tmp_path, "val", 1, 2, (row,)).records()
    assert list(record) == KEYS
    assert record["value"] == [1.0, 2.0]
    assert math.isfinite(json.loads(json.dumps(record))["value"][0])
    assert attrs.asdict(row)["pair"] is record["pair"]
