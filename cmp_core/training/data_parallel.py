"""Training with several processes: which samples of a batch are whose, and one gradient of all."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmp_core.distributed.processes import Processes
from cmp_core.errors import TrainingError


@attrs.frozen
class Share:
    """What a process has of a batch.

    Attributes:
        n: samples of the batch in all processes.
        own: how many of them this process has; a process that has none is given the first one, so
            that it takes part in the step, with weight 0.
    """

    n: int
    own: int

    @property
    def weight(self) -> float:
        """The share in a mean over the batch."""
        return self.own / self.n


class DataParallel:
    """Splits batches among processes, and gives each parameter the gradient of the whole batch.

    The gradient of a mean over the batch is the mean of those of the shares, weighted by their
    numbers of samples, so that the processes take the step that a single one would take. It is
    taken when a parameter's gradient is complete, whatever rule it is for.

    Args:
        processes: that train together.
        model: the same in all of them.
    """

    def __init__(self, processes: Processes, model: nn.Module) -> None:
        self._processes, self._model = processes, model
        self._weight = 1.0
        if processes.size > 1:
            for parameter in model.parameters():
                hook = parameter.register_post_accumulate_grad_hook
                hook(self._average)  # type: ignore[no-untyped-call]

    def shares(self, positions: NDArray[np.intp], size: int) -> Iterator[Share]:
        """Yield this process's share of each batch of some samples, `size` at a time."""
        rank, processes = self._processes.rank, self._processes.size
        for start in range(0, len(positions), size):
            n = min(size, len(positions) - start)
            yield Share(n, len(range(rank, n, processes)))

    def own(self, positions: NDArray[np.intp], size: int) -> tuple[NDArray[np.intp], int]:
        """Return the positions of this process's samples, and the size of its batches."""
        rank, processes = self._processes.rank, self._processes.size
        if processes == 1:
            return positions, size
        batches = [positions[start : start + size] for start in range(0, len(positions), size)]
        own = [batch[rank::processes] if rank < len(batch) else batch[:1] for batch in batches]
        return np.concatenate([*own, positions[:0]]), max(1, len(range(rank, size, processes)))

    def begin_step(self, share: Share) -> None:
        """Weight the gradients of the next step by a share."""
        self._weight = share.weight

    def mean(self, values: Tensor, share: Share) -> Tensor:
        """Return the means over a batch of which this process has means over its share."""
        return self._processes.sum(values * share.weight)

    def check_weights(self) -> None:
        """Check that all processes have the same weights.

        Raises:
            TrainingError: they have not, as a rule has updated them by other than their gradients.
        """
        if self._processes.size == 1:
            return
        total = 0
        for tensor in self._model.state_dict().values():
            plain = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            total = zlib.crc32(plain.numpy().tobytes(), total)
        if len(set(self._processes.gather(total))) > 1:
            raise TrainingError(
                "the weights of the processes differ: the learning rule or the model changes them "
                "by other than the gradients of its parameters, which are averaged; train it with "
                "one process"
            )

    def _average(self, parameter: Tensor) -> None:
        if parameter.grad is not None:
            parameter.grad = self._processes.sum(parameter.grad * self._weight)
