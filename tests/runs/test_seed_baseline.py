"""Tests of `cmp_core.runs.seed_baseline`: what is stored beside a report."""

from __future__ import annotations

import json

from cmp_core.runs.seed_baseline import (
    SeedBaseline,
    SeedDifference,
    dump_seed_baselines,
)

FOUND = {
    "greedy": SeedBaseline((SeedDifference("linear_cka", 0.125, 0.25, 64, "test"),)),
    "mlp": SeedBaseline(reason="seed 1 has no snapshots"),
}


def test_the_file_is_plain_json_by_label() -> None:
    row = {"metric": "linear_cka", "neighbours": 0.125, "same_layer": 0.25, "n": 64}
    assert json.loads(dump_seed_baselines(FOUND)) == {
        "greedy": {"rows": [{**row, "phase": "test"}], "reason": None},
        "mlp": {"rows": [], "reason": "seed 1 has no snapshots"},
    }
