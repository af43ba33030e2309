"""Dead units: the share of a layer's units that are zero for every sample.

A metric that keeps a state, in one file. Use it with `cmp run -p cmp:dead_units`, or copy it and
change it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from cmp_core import LayerView, UndefinedError, metric


@metric(
    "dead_units",
    split="state",
    unit="fraction",
    bounds=(0, 1),
    invariances={"permute_samples", "permute_units", "scale"},
)
class DeadUnits:
    """Share of units that are zero for all samples: such units pass no gradient through a ReLU.

    On a batch it is an upper bound of what the whole split gives. Not to be confused with
    `sparsity`, the share of zeros, which is high in healthy ReLU networks too.
    """

    def __init__(self) -> None:
        self._alive: Tensor | None = None  # (N,) bool

    def update(self, view: LayerView) -> None:
        """Note which units are active in a chunk."""
        alive = (view.activations != 0).any(dim=0)
        self._alive = alive if self._alive is None else self._alive | alive

    def merge(self, other: DeadUnits) -> DeadUnits:
        """Return the state of both sets of samples."""
        merged = DeadUnits()
        known = [alive for alive in (self._alive, other._alive) if alive is not None]
        merged._alive = known[0] | known[-1] if known else None
        return merged

    def compute(self) -> Tensor:
        """Return the share of units that were never active."""
        if self._alive is None:
            raise UndefinedError("there are no samples")
        return 1 - self._alive.float().mean()

    def state_dict(self) -> dict[str, Any]:
        """Return which units were active."""
        return {"alive": self._alive}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._alive = state["alive"]
