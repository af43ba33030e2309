"""Training with several processes: which samples of a batch are whose, and one gradient of all."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmp_core.data.splits import Batch, Split
from cmp_core.distributed.processes import Processes
from cmp_core.errors import TrainingError
from cmp_core.events.activations import LayerActivations, joined


class DataParallel:
    """Shares batches out among processes, and gives parameters the gradients of whole batches.

    The gradient of a mean over a batch is the mean of those of the shares, weighted by their
    numbers of samples, so the processes take the step that a single one would take. It is taken
    in each backward pass, before gradients are accumulated, whatever rule they are for.

    Args:
        processes: that train together.
        model: the same in all of them.

    Attributes:
        n: samples of the batch in hand, in all processes.
        own: how many of them this process has. One that has none is given the first sample, with
            weight 0, so that it takes part in the step.
    """

    def __init__(self, processes: Processes, model: nn.Module) -> None:
        self._processes, self._model = processes, model
        self.n = self.own = 0
        if processes.size > 1:
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.register_hook(self.mean)  # type: ignore[no-untyped-call]

    def batches(
        self, split: Split, positions: NDArray[np.intp], size: int, augment: torch.Generator
    ) -> Iterator[Batch]:
        """Yield this process's share of each batch of some samples, `size` at a time."""
        rank, processes = self._processes.rank, self._processes.size
        of_all = [positions[start : start + size] for start in range(0, len(positions), size)]
        shares = [whole[rank::processes] for whole in of_all]
        given = [
            share if len(share) else whole[:1] for share, whole in zip(shares, of_all, strict=True)
        ]
        order = np.concatenate([*given, positions[:0]])
        batches = split.batches(order, max(map(len, given), default=1), augment)
        for whole, share, batch in zip(of_all, shares, batches, strict=True):
            self.n, self.own = len(whole), len(share)
            yield batch

    def mean(self, values: Tensor) -> Tensor:
        """Return means over the batch, given those over this process's share."""
        return self._processes.sum(values * (self.own / self.n))

    def joined(self, event: LayerActivations) -> LayerActivations:
        """Return the samples of the batch of all processes, given this one's."""
        if self._processes.size == 1:
            return event
        where = torch.arange(self.own, device=event.sample_ids.device)
        return joined(self._processes.gather(event.select(where, "batch")))

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
