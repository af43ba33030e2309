"""What a metric sees of a layer, or of several layers at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError
from cmp_core.events.payloads import LayerActivations, SplitFinished
from cmp_core.events.rows import INPUT
from cmp_core.layers.layer import Layer
from cmp_core.statistics.interface import LayerStatistics
from cmp_core.statistics.stacked import StackedStatistics

_OF_SAMPLES = ("inputs", "labels")


class LayerView:
    """What a metric sees of one layer; what the layer does not have raises `UndefinedError`.

    A function whose needs name a statistic of the whole split sees a split through its statistics
    alone: there, what belongs to single samples raises `UsageError`.
    """

    def __init__(self, event: LayerActivations | SplitFinished, layer: Layer) -> None:
        self._event = event
        self._layer = layer

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
        return self._event.statistics[self.name]

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
            return LayerView(self._event, beside)
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
                "a function whose needs name a statistic of all samples sees a split through its "
                "statistics alone; without that need, it would see the split's fixed subset"
            )
        return self._event

    def _tensor(self, what: str) -> Tensor:
        event = self._samples
        owner = event if what in _OF_SAMPLES else self._layer
        tensor: Tensor | None = getattr(owner, what)
        if tensor is None:
            raise UndefinedError(f"{self.name} has no {what}")
        return tensor


class StackedView(LayerView):
    """Several layers of one event, of the same width, seen as one; for vectorized metrics.

    What belongs to a layer has a first dimension of layers: activations (L, n, N), scores
    (L, n, C), anchors (L, C, N), and every statistic. Labels, ids and inputs are as ever.
    """

    def __init__(self, views: Sequence[LayerView]) -> None:
        super().__init__(views[0]._event, views[0]._layer)
        self._views = views

    @property
    def name(self) -> str:
        """The names of the layers."""
        return ", ".join(view.name for view in self._views)

    @property
    def depth(self) -> int:
        """Not defined for several layers."""
        raise UsageError("a vectorized metric sees several layers at once, which have no one depth")

    @property
    def statistics(self) -> LayerStatistics:
        """Statistics that all metrics share, with a first dimension of layers."""
        stacked = StackedStatistics([view.statistics for view in self._views])
        return cast("LayerStatistics", stacked)

    @property
    def previous(self) -> LayerView:
        """The layers before."""
        return StackedView([view.previous for view in self._views])

    @property
    def next(self) -> LayerView:
        """The layers after."""
        return StackedView([view.next for view in self._views])

    def _tensor(self, what: str) -> Tensor:
        if what in _OF_SAMPLES:
            return self._views[0]._tensor(what)
        return torch.stack([view._tensor(what) for view in self._views])
