"""The processes of `torchrun` or `torch.distributed`, and what each tells the others."""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import reduce
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from cmp_core.errors import CmpError, UsageError

T = TypeVar("T")

WAIT = timedelta(minutes=5)
"""How long one process waits for the others to begin."""


class Processes:
    """The processes that share a run, each of which has some of its samples.

    Every method is a collective operation: all processes must call it, in the same order.

    Args:
        rank: of this one, from 0 on.
        size: how many there are.
        group: through which they send objects, by gloo, on the host.

    >>> ALONE.gather("one"), ALONE.reduce(2, max), ALONE.on_first(lambda: 3)
    (['one'], 2, 3)
    """

    def __init__(self, rank: int = 0, size: int = 1, group: Any = None) -> None:
        self.rank, self.size = rank, size
        # torch holds the group until `destroy_process_group`. One that lives on to the end of the
        # program aborts it there, with gloo's threads still running.
        self._group = (lambda: None) if group is None else weakref.ref(group)

    @classmethod
    @contextmanager
    def of_torchrun(cls) -> Iterator[Processes]:
        """Have the processes that `torchrun` has started within a `with` block."""
        # Other launchers set WORLD_SIZE and RANK for programs that have nothing to do together.
        is_ours = dist.is_torchelastic_launched() and not dist.is_initialized()
        if is_ours:
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        try:
            yield cls.started()
        finally:
            if is_ours:
                dist.destroy_process_group()

    @classmethod
    def started(cls) -> Processes:
        """Return the processes of `torch.distributed`, or this one alone where it is not in use.

        Raises:
            UsageError: the others do not call this within five minutes.
        """
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return ALONE
        rank, size = dist.get_rank(), dist.get_world_size()
        _meet(rank, size)
        return cls(rank, size, dist.new_group(backend="gloo"))

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    @property
    def on_this_machine(self) -> int:
        """How many share this machine's memory."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.size))

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes in the order of their ranks."""
        return list(self._each(value))

    def reduce(self, value: T, merge: Callable[[T, T], T]) -> T:
        """Return the values of all processes merged, in every process alike to the last bit."""
        return reduce(merge, self._each(value))

    def on_first(self, function: Callable[[], T]) -> T:
        """Call a function in the first process; return its value, or raise its error, in all."""
        value: T | None = None
        error: CmpError | None = None
        if self.is_first:
            try:
                value = function()
            except CmpError as raised:
                error = raised
        if self.size > 1:
            value, error = self.gather((value, error))[0]
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # the function's own

    def first_then_others(self, function: Callable[[], T]) -> T:
        """Call a function in the first process, then in all others, as for a download."""
        value = function() if self.is_first else None
        self.gather(None)
        return function() if value is None else value

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, on its device."""
        if self.size == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total, group=self._group() if total.device.type == "cpu" else None)
        return total

    def any(self, condition: bool) -> bool:
        """Whether a condition holds in any process."""
        return bool(self.sum(torch.tensor(float(condition))))

    def _each(self, value: T) -> Iterator[T]:
        """Yield the values in the order of the ranks; one of another process is held at a time."""
        for rank in range(self.size):
            if self.size == 1:
                yield value
                continue
            sent = [_packed(value) if rank == self.rank else None]
            dist.broadcast_object_list(sent, rank, self._group())
            yield value if rank == self.rank else _unpacked(sent[0])


ALONE = Processes()
"""A single process."""


def _packed(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _unpacked(sent: Any) -> Any:
    """Return a value of another process, with its tensors on this one's device."""

    def place(storage: Any, location: str) -> Any:
        return storage if location == "cpu" else storage.cuda()

    return torch.load(io.BytesIO(sent), map_location=place, weights_only=False)


def _meet(rank: int, size: int) -> None:
    """Wait for the other processes, which tell by the store that they are here.

    Raises:
        UsageError: they do not come.
    """
    store = dist.distributed_c10d._get_default_store()
    times = store.add(f"cmp/{rank}", 1)
    store.set(f"cmp/{rank}/{times}", "here")
    for other in range(size):
        try:
            store.wait([f"cmp/{other}/{times}"], WAIT)
        except RuntimeError as error:  # each kind of store has its own
            raise UsageError(
                f"waited {WAIT.seconds} s for process {other} of {size}: when torch.distributed is "
                "in use, every process must observe, measure or train, with the same calls in the "
                "same order; for one process alone call destroy_process_group() before"
            ) from error
