"""How far training has come."""

from __future__ import annotations

import attrs


@attrs.define
class Progress:
    """All counters that a checkpoint needs.

    `iter` counts the steps done in the current epoch, and is 0 between epochs.
    """

    epoch: int = 0
    iter: int = 0
    step: int = 0
    best_epoch: int = 0
    best_step: int = 0
    best_acc: float = -1.0
