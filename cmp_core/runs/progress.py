"""How far training has come."""

from __future__ import annotations

import attrs
from attrs.validators import and_, ge, instance_of

_COUNT = and_(instance_of(int), ge(0))


@attrs.define
class Progress:
    """All counters that a checkpoint needs.

    `iter` counts the steps done in the current epoch, and is 0 between epochs.
    """

    epoch: int = attrs.field(default=0, validator=_COUNT)
    iter: int = attrs.field(default=0, validator=_COUNT)
    step: int = attrs.field(default=0, validator=_COUNT)
    best_epoch: int = attrs.field(default=0, validator=_COUNT)
    best_step: int = attrs.field(default=0, validator=_COUNT)
    best_acc: float = attrs.field(default=-1.0, validator=instance_of(float))
