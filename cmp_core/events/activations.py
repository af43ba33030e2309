"""The activation events, and what a metric sees of a layer in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Literal

import attrs
import torch
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError
from cmp_core.events.payloads import Event
from cmp_core.events.rows import INPUT
from cmp_core.layers.layer import Layer
from cmp_core.statistics.batch import moments_at_hand
from cmp_core.statistics.fits import LinearFits
from cmp_core.statistics.folds import Folds, Groups
from cmp_core.statistics.guards import Guards
from cmp_core.statistics.interface import EventStatistics, LayerStatistics, SelectedStatistics
from cmp_core.statistics.split import SplitStatistics

Source = Literal["live", "replay"]
Phase = Literal["train", "val", "test"]
Part = Literal["batch", "chunk", "subset", "fit"]

CHUNK = 1024
"""Samples of a split whose activations are in memory at once, of a run, a file or an array."""

CHUNK_BYTES = 2**28
"""About what they may take; of very wide layers there are fewer samples in a chunk."""


def chunk_size(units: int) -> int:
    """Return how many samples make a chunk, for so many units of all layers together.

    >>> chunk_size(5 * 1024), chunk_size(10**6)
    (1024, 67)
    """
    return max(1, min(CHUNK, CHUNK_BYTES // (4 * max(1, units))))


_LAYER_TENSORS = ("activations", "scores", "anchors")
_SAMPLE_TENSORS = ("inputs", "labels", "sample_ids")


@attrs.frozen(eq=False)
class Selected:
    """Some samples of a chunk: the chunk's statistics, and the positions of the samples, (m,)."""

    statistics: EventStatistics
    where: Tensor


@attrs.frozen(eq=False)
class LayerActivations(Event):
    """The activations of all layers for some samples, detached from the autograd graph.

    Attributes:
        source: `live` during training, `replay` from a snapshot.
        phase: `train`, `val` or `test`; of samples to fit to that of the split which they score,
            `val` for the training subset too.
        part: `batch` is measured by itself; `chunk` is a piece of a split, whose values come
            with `cmp_split_finished`; `subset` is a split's fixed subsample, which comes with it;
            `fit` is a piece of the samples that linear fits are made to, which plugins do not see.
        pass_index: 1, or 2 when the split is read again for metrics that need two passes.
        epoch: 0 for the untrained network.
        step: optimizer steps so far.
        layers: in order of depth, the MLP's `head` last.
        reference: the input as a layer, or none for a training batch.
        inputs: (n, d), normalised; labels: (n,) int64; sample_ids: (n,) int64.
        num_classes: C.
        fits: linear fits that score the samples of a split; none for a batch, or where no metric
            asks for them.
        folds: of the split that the samples are from; none for a batch, which has its own.
        groups: of the split, of which each is left out once for standard errors; none where no
            errors are wanted.
        scales: of each layer, see `binary_scale`; none where these samples are all there are.
        left_out: layers whose samples would not fit into the memory, with the reason.
        reference_is_known: metrics have measured the reference in an earlier pass, and do not see
            it again.
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
    pass_index: int = 1
    reference: Layer | None = None
    fits: LinearFits | None = None
    folds: Folds | None = None
    groups: Groups | None = None
    scales: Mapping[str, Tensor] | None = None
    left_out: Mapping[str, str] = attrs.field(factory=dict)
    reference_is_known: bool = False
    _selected: Selected | None = None
    _guards: Guards = attrs.field(
        init=False, default=attrs.Factory(lambda self: self._guarded(), takes_self=True)
    )

    @property
    def all_layers(self) -> tuple[Layer, ...]:
        """The reference, if there is one, and the layers."""
        return self.layers if self.reference is None else (self.reference, *self.layers)

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.sample_ids.shape[0]

    @cached_property
    def statistics(self) -> EventStatistics:
        """The statistics that all metrics share, by layer name."""
        whole = None if self._selected is None else self._selected.statistics
        if self.reference is None:
            return self._statistics(self.layers, whole)
        # By themselves, so that whether there is a reference changes no digit of a layer's.
        apart = self._statistics([self.reference], None if whole is None else whole.reference)
        return self._statistics(self.layers, whole, apart)

    def _statistics(
        self,
        own: Sequence[Layer],
        whole: EventStatistics | None,
        reference: EventStatistics | None = None,
    ) -> EventStatistics:
        layers = [layer for layer in own if layer.name not in self.left_out]
        if whole is not None and self._selected is not None:
            where = self._selected.where
            return SelectedStatistics(
                whole, where, layers, self.sample_ids, self.labels, reference=reference
            )
        own_folds = Folds(self.sample_ids, self.labels)
        moments = partial(moments_at_hand, layers, own_folds, self.num_classes)
        return EventStatistics(
            layers,
            self.sample_ids,
            self.labels,
            moments=None if self.part == "chunk" else moments,
            folds=self.folds or own_folds,
            fits=self.fits,
            scales=self.scales,
            reference=reference,
        )

    @cached_property
    def by_half_fits(self) -> LayerActivations | None:
        """The same samples, scored by fits to half of the fitting samples; none without fits."""
        if self.fits is None:
            return None
        again = attrs.evolve(self, fits=self.fits.half, selected=None)
        again.statistics.take_rows_of(self.statistics)
        return again

    @cached_property
    def by_group(self) -> tuple[LayerActivations | None, ...]:
        """The samples of each group, none for a group that has no samples here."""
        if self.groups is None:
            return ()
        group_of = self.groups.of(self.sample_ids)
        positions = [(group_of == i).nonzero()[:, 0] for i in range(self.groups.count)]
        return tuple(self._group(where) if len(where) else None for where in positions)

    def _group(self, where: Tensor) -> LayerActivations:
        group = self.select(where, self.part)
        if self.part != "chunk":  # a subset has statistics of all samples too
            return group
        # Of the chunk itself, which keeps its groups, a reference would keep both in memory.
        return attrs.evolve(group, selected=Selected(self.statistics, where))

    def modified(self) -> str | None:
        """Return the name of a tensor that was written to since the event was made, or none."""
        return next(filter(None, (guards.modified() for guards in self._all_guards())), None)

    def copy(self) -> LayerActivations:
        """Return the event with tensors of its own and no statistics computed yet."""
        copy = self.map_tensors(torch.clone)
        copy._guards.keep_copies(originals=self._guards)
        for guards in copy._all_guards():
            guards.keep_copies()
        return copy

    def drop_copies(self) -> None:
        """Keep no longer what `modified` compares a copy's values with."""
        for guards in self._all_guards():
            guards.drop_copies()

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> LayerActivations:
        """Return the event with `change` applied once to each distinct tensor."""
        changed: dict[int, Tensor] = {}

        def once(owner: object, names: tuple[str, ...]) -> dict[str, Any]:
            tensors = {name: getattr(owner, name) for name in names}
            for tensor in tensors.values():
                if tensor is not None and id(tensor) not in changed:
                    changed[id(tensor)] = change(tensor)
            return {
                name: changed[id(tensor)] for name, tensor in tensors.items() if tensor is not None
            }

        layers = [attrs.evolve(x, **once(x, _LAYER_TENSORS)) for x in self.all_layers]
        scales = None if self.scales is None else {k: change(x) for k, x in self.scales.items()}
        left_out = dict(self.left_out)
        samples = once(self, _SAMPLE_TENSORS)
        return self._with_layers(layers, scales=scales, left_out=left_out, **samples)

    def select(self, where: Tensor, part: Part) -> LayerActivations:
        """Return the samples at some positions (k,) as a part with tensors of its own."""

        def rows(owner: object, names: tuple[str, ...]) -> dict[str, Any]:
            tensors = {name: getattr(owner, name) for name in names}
            return {
                name: tensor.clone() if name == "anchors" else tensor[where]
                for name, tensor in tensors.items()
                if tensor is not None
            }

        layers = [attrs.evolve(x, **rows(x, _LAYER_TENSORS)) for x in self.all_layers]
        return self._with_layers(layers, part=part, **rows(self, _SAMPLE_TENSORS))

    def _with_layers(self, all_layers: list[Layer], **changes: Any) -> LayerActivations:
        """Return the event with other layers, the reference first where there is one."""
        if self.reference is not None:
            changes["reference"] = all_layers.pop(0)
        return attrs.evolve(self, layers=tuple(all_layers), selected=None, **changes)

    def _guarded(self) -> Guards:
        guards = Guards()
        for layer in self.all_layers:
            for what in _LAYER_TENSORS:
                if (tensor := getattr(layer, what)) is not None:
                    guards.add(f"{what} of {layer.name}", tensor)
        for what in _SAMPLE_TENSORS:
            if (tensor := getattr(self, what)) is not None:
                guards.add(what, tensor)
        for name, scale in (self.scales or {}).items():
            guards.add(f"scales of {name}", scale)
        return guards

    def _all_guards(self) -> tuple[Guards, ...]:
        again = self.by_half_fits
        events = (self,) if again is None else (self, again)
        statistics = [x for e in events for x in (e.statistics, e.statistics.reference)]
        return self._guards, *(x.guards for x in statistics if x is not None)


def joined(parts: Sequence[LayerActivations]) -> LayerActivations:
    """Return all samples of some events of the same layers as one, in the order of their ids."""
    order = torch.argsort(torch.cat([part.sample_ids for part in parts]))

    def cat(tensors: Sequence[Tensor | None]) -> Tensor | None:
        there = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(there)[order] if there else None

    def join(layers: Sequence[Layer]) -> Layer:
        activations = torch.cat([layer.activations for layer in layers])[order]
        return attrs.evolve(
            layers[0], activations=activations, scores=cat([layer.scores for layer in layers])
        )

    references = [part.reference for part in parts if part.reference is not None]
    return attrs.evolve(
        parts[0],
        layers=tuple(join(layers) for layers in zip(*(p.layers for p in parts), strict=True)),
        reference=join(references) if references else None,
        inputs=cat([part.inputs for part in parts]),
        labels=cat([part.labels for part in parts]),
        sample_ids=torch.cat([part.sample_ids for part in parts])[order],
    )


@attrs.frozen(eq=False)
class SplitFinished(Event):
    """All chunks of a split have been seen, in as many passes as any metric makes.

    Attributes:
        n: samples in the split.
        layers, reference: as in the chunks, without samples.
        num_classes: C.
        statistics: shared statistics of the whole split, as far as the selected metrics declare
            to need them.
        fits: linear fits that have scored the samples; none where no metric asks for them.
        groups: of the samples, of which each is left out once for standard errors; none where no
            errors are wanted.
        subset: the split's fixed subsample, chosen by a hash of the sample ids, for metrics that
            must see their samples at once; none where no selected metric does.
        reference_is_known: as of the chunks; neither the split nor its subset has one then.
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
    fits: LinearFits | None = None
    groups: Groups | None = None
    subset: LayerActivations | None = None
    reference_is_known: bool = False

    @property
    def all_layers(self) -> tuple[Layer, ...]:
        """The reference, if there is one, and the layers."""
        return self.layers if self.reference is None else (self.reference, *self.layers)

    @cached_property
    def without_groups(self) -> tuple[SplitFinished, ...]:
        """The split without each group of its samples; empty where no errors are wanted."""
        if self.groups is None or self.statistics.groups is None:
            return ()
        rest = [self.statistics.without(i) for i in range(self.groups.count)]
        return tuple(attrs.evolve(self, n=x.n, statistics=x, subset=None) for x in rest)

    def modified(self) -> str | None:
        """Return the name of a tensor of the subset or the statistics that was written to."""
        found = self.statistics.moments.guards.modified()
        return found or (None if self.subset is None else self.subset.modified())

    def copy(self) -> SplitFinished:
        """Return the event with a subset of its own, and statistics that nobody has written to."""
        if self.statistics.moments.guards.modified():
            self.statistics.renew()
        self.statistics.moments.guards.keep_copies()
        subset = None if self.subset is None else self.subset.copy()
        return attrs.evolve(self, subset=subset)

    def drop_copies(self) -> None:
        """Keep no longer what `modified` compares a copy's values with."""
        self.statistics.moments.guards.drop_copies()
        if self.subset is not None:
            self.subset.drop_copies()


class LayerView:
    """What a metric sees of one layer; what the layer does not have raises `UndefinedError`.

    Under `split="moments"` a function sees a split through its statistics alone: there, what
    belongs to single samples raises `UsageError`.

    To a metric that declares the invariance `scale`, a layer's activations and anchors are divided
    by one power of two near their largest size, and its statistics are of these.
    """

    def __init__(
        self, event: LayerActivations | SplitFinished, layer: Layer, *, is_rescaled: bool = False
    ) -> None:
        self._event = event
        self._layer = layer
        self._is_rescaled = is_rescaled

    @property
    def name(self) -> str:
        """Name of the layer, such as `layer_0`."""
        return self._layer.name

    @property
    def depth(self) -> int:
        """Position of the layer, from 0; -1 for the input."""
        return self._layer.depth

    @property
    def n(self) -> int:
        """Number of samples."""
        return self._event.n

    @property
    def width(self) -> int:
        """Number of units N."""
        return self._layer.activations.shape[1]

    @property
    def activations(self) -> Tensor:
        """Activations (n, N)."""
        return self._tensor("activations")

    @property
    def scores(self) -> Tensor:
        """Scores (n, C), with softmax(scores) = q."""
        return self._tensor("scores")

    @property
    def anchors(self) -> Tensor:
        """Class anchors (C, N)."""
        return self._tensor("anchors")

    @property
    def inputs(self) -> Tensor:
        """The network's inputs (n, d)."""
        return self._tensor("inputs")

    @property
    def labels(self) -> Tensor:
        """Class labels (n,), int64."""
        return self._tensor("labels")

    @property
    def sample_ids(self) -> Tensor:
        """Sample ids (n,), int64."""
        return self._samples.sample_ids

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self._event.num_classes

    @property
    def statistics(self) -> LayerStatistics:
        """Statistics that all metrics share."""
        self._require_samples()
        return self._event.statistics.of(self.name, is_rescaled=self._is_rescaled)

    @property
    def previous(self) -> LayerView:
        """The layer before."""
        return self._neighbour(-1, "first")

    @property
    def next(self) -> LayerView:
        """The layer after."""
        return self._neighbour(+1, "last")

    def name_of(self, neighbour: Literal["previous", "next"] | None) -> str | None:
        """Return the name of a neighbour, or none where there is no such layer."""
        if neighbour is None or self.name == INPUT:
            return None
        beside = self._beside(1 if neighbour == "next" else -1)
        return None if beside is None else beside.name

    def _neighbour(self, offset: int, end: str) -> LayerView:
        if self.name == INPUT:
            raise UndefinedError("the input is a reference and has no neighbours")
        beside = self._beside(offset)
        if beside is not None:
            return LayerView(self._event, beside, is_rescaled=self._is_rescaled)
        depths = [layer.depth for layer in self._event.layers]
        is_end = self.depth == 0 if offset < 0 else self.depth == max(depths)
        if is_end:
            raise UndefinedError(f"{self.name} is the {end} layer")
        raise UndefinedError(f"the layer beside {self.name} was not stored")

    def _beside(self, offset: int) -> Layer | None:
        """Return the layer of the next or the last depth; a snapshot may have gaps."""
        depth = self.depth + offset
        return next((layer for layer in self._event.layers if layer.depth == depth), None)

    @property
    def _samples(self) -> LayerActivations:
        if isinstance(self._event, SplitFinished):
            raise UsageError(
                "under split='moments' a function sees a split through its statistics alone; it "
                "would see the fixed subset under split='subset', all samples under split='mean'"
            )
        return self._event

    def _tensor(self, what: str) -> Tensor:
        event = self._samples
        owner = event if what in _SAMPLE_TENSORS else self._layer
        if what == "activations":
            self._require_samples()
        tensor: Tensor | None = getattr(owner, what)
        if tensor is None:
            raise UndefinedError(f"{self.name} has no {what}")
        if self._is_rescaled and what in ("activations", "anchors"):
            return event.statistics.rescaled(self.name, what)
        return tensor

    def _require_samples(self) -> None:
        """Raise where the layer's samples would not fit into the memory."""
        if isinstance(self._event, LayerActivations) and self.name in self._event.left_out:
            raise UndefinedError(self._event.left_out[self.name])
