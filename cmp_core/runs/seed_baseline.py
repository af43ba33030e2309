"""How far layers differ from each other, and from those of another seed: as stored for a report."""

from __future__ import annotations

import json
from collections.abc import Mapping

import attrs


@attrs.frozen
class SeedDifference:
    """How far layers differ, as means of 1 − value over layers and over pairs of seeds.

    Attributes:
        metric: label of the metric.
        neighbours: between neighbouring layers of one network.
        same_layer: between a layer and the same one of another seed.
        n: the fewest samples that a pair of seeds shares.
        phase: the split that they are from.
    """

    metric: str
    neighbours: float
    same_layer: float
    n: int
    phase: str


@attrs.frozen
class SeedBaseline:
    """What was measured of replicates, or the reason why nothing was."""

    rows: tuple[SeedDifference, ...] = ()
    reason: str | None = None


def dump_seed_baselines(baselines: Mapping[str, SeedBaseline]) -> str:
    """Return baselines by label of the group as strict JSON.

    >>> print(dump_seed_baselines({"mlp": SeedBaseline(reason="it takes two seeds")}), end="")
    {
      "mlp": {
        "rows": [],
        "reason": "it takes two seeds"
      }
    }
    """
    content = {label: attrs.asdict(baseline) for label, baseline in baselines.items()}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
