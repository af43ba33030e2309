"""The payloads of the event hooks: frozen values that the engine, or a replay, hands to plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Self

import attrs
from torch import Tensor

from cmp_core.config.schema import Config
from cmp_core.events.rows import Row
from cmp_core.layers.layer import Layer
from cmp_core.statistics.batch import EventStatistics
from cmp_core.statistics.interface import Guarded, first_modified
from cmp_core.statistics.split import SplitStatistics

Source = Literal["live", "replay"]
Phase = Literal["train", "val", "test"]
Part = Literal["batch", "chunk", "subset"]


@attrs.frozen(eq=False)
class Run:
    """What does not change during a run; every event hook may take it as `run`."""

    config: Config
    class_names: tuple[str, ...]
    layer_names: tuple[str, ...]
    directory: Path | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.class_names)


@attrs.frozen(eq=False)
class Event:
    """What all payloads have in common: they may be read but not written to."""

    def modified(self) -> str | None:
        """Return the name of a tensor that was written to since the event was made, or none.

        Found by PyTorch's version counters, which do not see writes through a NumPy view.
        """
        return None

    def copy(self) -> Self:
        """Return the event with tensors of its own."""
        return self


@attrs.frozen(eq=False)
class LayerActivations(Event):
    """The activations of all layers for some samples, detached from the autograd graph.

    Attributes:
        source: `live` during training, `replay` from a snapshot.
        phase: `train`, `val` or `test`.
        part: `batch` is measured by itself; `chunk` is a piece of a split, whose values come
            with `cmp_split_finished`; `subset` is the fixed sample of a split that comes with it.
        reading: 1, or 2 when the split is read again for metrics that fit first and then score.
        epoch: 0 for the untrained network.
        step: optimizer steps so far.
        layers: in order of depth, the MLP's `head` last.
        reference: the input as a layer, or none for a training batch.
        inputs: (n, d), normalised; labels: (n,) int64; sample_ids: (n,) int64.
        num_classes: C.
        fitted: in the second reading, the statistics of the whole split from the first.
        statistics: shared statistics by layer name.
    """

    source: Source
    phase: Phase
    part: Part
    epoch: int
    step: int
    layers: tuple[Layer, ...]
    sample_ids: Tensor
    labels: Tensor | None
    inputs: Tensor | None
    num_classes: int
    reading: int = 1
    reference: Layer | None = None
    fitted: SplitStatistics | None = None
    statistics: EventStatistics = attrs.field(
        init=False, default=attrs.Factory(lambda self: self._make_statistics(), takes_self=True)
    )
    _guards: tuple[Guarded, ...] = attrs.field(
        init=False, default=attrs.Factory(lambda self: tuple(self._guarded()), takes_self=True)
    )

    @property
    def all_layers(self) -> tuple[Layer, ...]:
        """The reference, if there is one, and the layers."""
        return self.layers if self.reference is None else (self.reference, *self.layers)

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.sample_ids.shape[0]

    def modified(self) -> str | None:
        """Return the name of a tensor that was written to since the event was made, or none."""
        return first_modified(self._guards, self.statistics.guards)

    def copy(self) -> LayerActivations:
        """Return the event with tensors of its own and no statistics computed yet."""
        return self.map_tensors(lambda tensor: tensor.clone())

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> LayerActivations:
        """Return the event with `change` applied once to each distinct tensor."""
        changed: dict[int, Tensor] = {}

        def once(tensor: Tensor) -> Tensor:
            if id(tensor) not in changed:
                changed[id(tensor)] = change(tensor)
            return changed[id(tensor)]

        return attrs.evolve(
            self,
            layers=tuple(layer.map_tensors(once) for layer in self.layers),
            reference=None if self.reference is None else self.reference.map_tensors(once),
            inputs=None if self.inputs is None else once(self.inputs),
            labels=None if self.labels is None else once(self.labels),
            sample_ids=once(self.sample_ids),
        )

    def _make_statistics(self) -> EventStatistics:
        return EventStatistics(
            self.all_layers,
            self.sample_ids,
            self.labels,
            self.num_classes,
            is_chunk=self.part == "chunk",
            fitted=self.fitted,
        )

    def _guarded(self) -> Iterator[Guarded]:
        for layer in self.all_layers:
            for what in ("activations", "scores", "anchors"):
                if (tensor := getattr(layer, what)) is not None:
                    yield Guarded(f"{what} of {layer.name}", tensor)
        for what in ("inputs", "labels", "sample_ids"):
            if (tensor := getattr(self, what)) is not None:
                yield Guarded(what, tensor)


@attrs.frozen(eq=False)
class SplitFinished(Event):
    """All chunks of a split have been seen, as often as any metric reads them.

    Attributes:
        n: samples in the split.
        layers, reference: as in the chunks, without samples.
        num_classes: C.
        statistics: shared statistics of the whole split, as far as the selected metrics declare
            to need them.
        subset: the split's fixed sample, chosen by a hash of the sample ids, for metrics that
            must see their samples at once; none where no selected metric does.
    """

    source: Source
    phase: Phase
    epoch: int
    step: int
    n: int
    layers: tuple[Layer, ...]
    reference: Layer | None
    num_classes: int
    statistics: SplitStatistics
    subset: LayerActivations | None = None

    @property
    def all_layers(self) -> tuple[Layer, ...]:
        """The reference, if there is one, and the layers."""
        return self.layers if self.reference is None else (self.reference, *self.layers)

    def modified(self) -> str | None:
        """Return the name of a tensor of the subset or the statistics that was written to."""
        kept = first_modified(self.statistics.guards)
        return kept or (None if self.subset is None else self.subset.modified())

    def copy(self) -> SplitFinished:
        """Return the event with a subset of its own and no statistics computed yet."""
        return attrs.evolve(
            self,
            statistics=SplitStatistics(self.statistics.sums),
            subset=None if self.subset is None else self.subset.copy(),
        )


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
    """One optimizer step was made; `rows` are the values of a measured batch, else empty."""

    epoch: int
    iter: int
    step: int
    loss: float
    acc: float
    n: int
    rows: tuple[Row, ...] = ()


@attrs.frozen(eq=False)
class SnapshotWritten(Event):
    """A snapshot of n samples is complete and in its place."""

    path: Path
    phase: Phase
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
        state: returns all that is needed to resume: weights, optimizers, generators, counters;
            the tensors are the live ones, to be saved or copied but not to be written to.
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
    """Training ended early; `state` is given after an interruption that can be resumed."""

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
    """

    epoch: int
    step: int
    acc: float | None = None
    test_loss: float | None = None
    rows: tuple[Row, ...] = ()
    n: int = 0
