"""The payloads of the hooks about a run's progress; those with activations: see `activations`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import attrs

from cmp_core.config.schema import Config
from cmp_core.events.rows import Row


@attrs.frozen(eq=False)
class Run:
    """What does not change during a run; every event hook may take it as `run`.

    Attributes:
        config: of the run.
        class_names: of the dataset.
        layer_names: in order of depth, the output last.
        directory: of the run, or none.
        output: the layer whose activations are the scores of the classes; none where the last
            layer is one like the others.
    """

    config: Config
    class_names: tuple[str, ...]
    layer_names: tuple[str, ...]
    directory: Path | None = None
    output: str | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.class_names)


@attrs.frozen(eq=False)
class Event:
    """What all payloads have in common: they may be read but not written to."""

    def modified(self) -> str | None:
        """Return the name of a tensor that was written to since the event was made, or none.

        Found by PyTorch's version counters. They do not see writes through a NumPy view or
        `tensor.data`: of a `copy` the values are compared as well.
        """
        return None

    def copy(self) -> Self:
        """Return the event with rows and tensors of its own, to be handed to plugins."""
        rows = {
            name: tuple(map(attrs.evolve, getattr(self, name)))
            for name in ("rows", "train_rows", "untrained_rows")
            if hasattr(self, name)
        }
        return attrs.evolve(self, **rows)

    def drop_copies(self) -> None:
        """Keep no longer what `modified` compares a copy's values with."""


@attrs.frozen(eq=False)
class RunStarted(Event):
    """Training is about to begin, or to go on from an epoch and step (0 for a fresh run)."""

    model: str
    parameters: int
    device: str
    steps_per_epoch: int
    epoch: int = 0
    step: int = 0


@attrs.frozen(eq=False)
class EpochStarted(Event):
    """An epoch of `steps` training steps begins, at its `done`-th step when resumed."""

    epoch: int
    steps: int
    done: int = 0


@attrs.frozen(eq=False)
class StepFinished(Event):
    """One optimizer step was made.

    Attributes:
        iter, step: its number in the epoch and over all epochs, from 1 on.
        loss, acc: of the batch of n samples.
        rows: the values of a measured batch, else empty.
        state: as in `EpochFinished`; none where the loss is not finite, or the training is not
            cmp's own.
    """

    epoch: int
    iter: int
    step: int
    loss: float
    acc: float
    n: int
    rows: tuple[Row, ...] = ()
    state: Callable[[], dict[str, Any]] | None = None


@attrs.frozen(eq=False)
class SnapshotWritten(Event):
    """A snapshot of n samples is complete and in its place."""

    path: Path
    phase: str
    epoch: int
    step: int
    n: int


@attrs.frozen(eq=False)
class EpochFinished(Event):
    """The splits were measured at the end of an epoch; epoch 0 is the untrained network.

    Attributes:
        acc: validation accuracy of the output layer (the last layer, or the head).
        val_loss: validation loss of the learning rule.
        rows, train_rows: values on the validation split and on the fixed training subset.
        n, train_n: samples in each.
        is_best: whether `acc` is the best so far; epoch 0 never is.
        state: returns a copy of all that is needed to resume: weights, optimizers, generators,
            counters.
    """

    epoch: int
    step: int
    acc: float
    val_loss: float
    rows: tuple[Row, ...]
    train_rows: tuple[Row, ...]
    n: int
    train_n: int
    is_best: bool
    state: Callable[[], dict[str, Any]]


@attrs.frozen(eq=False)
class RunFailed(Event):
    """Training ended early; `state` is given as in `EpochFinished` where it can be resumed."""

    error: BaseException
    epoch: int
    step: int
    state: Callable[[], dict[str, Any]] | None = None


@attrs.frozen(eq=False)
class RunFinished(Event):
    """Training and the test of the best weights are done.

    Attributes:
        epoch, step: of the best weights.
        acc: test accuracy of the output layer; test_loss: the learning rule's loss; both are none
            where the run was only to be trained.
        rows: values on the test split, of n samples.
        untrained_rows: values of the network before training on the same samples.
    """

    epoch: int
    step: int
    acc: float | None = None
    test_loss: float | None = None
    rows: tuple[Row, ...] = ()
    untrained_rows: tuple[Row, ...] = ()
    n: int = 0
