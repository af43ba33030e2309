"""The commonest state of a metric: a tensor that is summed over chunks of samples."""

from __future__ import annotations

import copy
from typing import Any, Self

from torch import Tensor

from cmp_core.errors import UndefinedError


class TensorSum:
    """Base of metric classes whose state is one sum; a subclass writes `update` and `compute`.

    >>> import torch
    >>> a, b = TensorSum(), TensorSum()
    >>> a.add(torch.ones(2))
    >>> b.add(torch.ones(2))
    >>> a.merge(b).total
    tensor([2., 2.])
    """

    _total: Tensor | None = None

    def add(self, tensor: Tensor) -> None:
        """Add what a chunk contributes, always of one shape."""
        self._total = tensor if self._total is None else self._total + tensor

    @property
    def total(self) -> Tensor:
        """The sum so far.

        Raises:
            UndefinedError: nothing was added.
        """
        if self._total is None:
            raise UndefinedError("there are no samples")
        return self._total

    def merge(self, other: Self) -> Self:
        """Return the state of both sets of samples, with the options of this one."""
        merged = copy.copy(self)
        if other._total is not None:
            merged.add(other._total)
        return merged

    def state_dict(self) -> dict[str, Any]:
        """Return the sum."""
        return {"total": self._total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._total = state["total"]
