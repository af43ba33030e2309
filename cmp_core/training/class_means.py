"""Class-mean anchors: what a layer without anchors of its own is scored against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs
import torch
from torch import Tensor

from cmp_core.config.schema import shown
from cmp_core.distributed.processes import ALONE, Processes
from cmp_core.layers.arrays import wide
from cmp_core.layers.layer import Layer
from cmp_core.layers.similarity import scores


class ClassMeans:
    """Means of the training activations of each class, per layer: nearest-class-mean scores.

    At the end of an epoch they are measured exactly over a fixed set of training samples. While
    the weights move on, they follow the measured batches as an exponential average; a batch is
    scored before it is averaged in.

    Args:
        num_classes: C.
        similarity: `cosine` or `l2`, as for fixed anchors.
        tau: temperature of the scores.
        processes: of which each measures means over samples of its own.
        decay: weight of the old mean when a class occurs in a new batch.
    """

    def __init__(
        self,
        num_classes: int,
        similarity: str,
        tau: float,
        processes: Processes = ALONE,
        decay: float = 0.9,
    ) -> None:
        self._processes = processes
        self._num_classes = num_classes
        self._similarity = similarity
        self._tau = tau
        self._decay = decay
        self._means: dict[str, Tensor] = {}

    def measure(self, chunks: Iterable[tuple[Sequence[Layer], Tensor]]) -> None:
        """Replace the means of all given layers by exact ones over chunks of (layers, labels).

        A layer gets no anchors where a class has no sample.
        """
        sums: dict[str, Tensor] = {}
        counts = torch.zeros(self._num_classes, 1)
        for layers, labels in chunks:
            members = self._members(labels)
            counts = counts.to(members.device) + members.sum(1, keepdim=True)
            for layer in layers:
                if layer.scores is None:
                    total = _class_sums(members, layer.activations)
                    sums[layer.name] = sums[layer.name] + total if layer.name in sums else total
        counts, sums = self._processes.reduce((counts, sums), _added)
        if bool((counts > 0).all()):
            self._means |= {name: (total / counts).float() for name, total in sums.items()}

    def follow(self, layers: Sequence[Layer], labels: Tensor) -> None:
        """Average a measured batch in."""
        members = self._members(labels)
        counts = members.sum(1, keepdim=True)
        for layer in layers:
            if layer.name in self._means and layer.scores is None:
                old = self._means[layer.name]
                batch = (_class_sums(members, layer.activations) / counts.clamp_min(1)).float()
                mixed = self._decay * old + (1 - self._decay) * batch
                self._means[layer.name] = torch.where(counts > 0, mixed, old)

    def attach(self, layer: Layer) -> Layer:
        """Return the layer with its class means as anchors, if it lacks scores and has means."""
        if layer.scores is not None or layer.name not in self._means:
            return layer
        activations = wide(layer.activations)
        # A plugin that writes into the anchors of an event must hit a copy.
        anchors = self._means[layer.name].to(activations.dtype, copy=True)
        return attrs.evolve(
            layer,
            scores=scores(activations, anchors, self._similarity, self._tau),
            anchors=anchors,
            anchor_kind="class_mean",
        )

    def knows(self, layer: str) -> bool:
        """Whether the layer has means."""
        return layer in self._means

    def state_dict(self) -> dict[str, Tensor]:
        """Return the means (C, N) by layer."""
        return dict(self._means)

    def load_state_dict(self, state: Mapping[str, Tensor], widths: Mapping[str, int]) -> None:
        """Take over what `state_dict` returned.

        Args:
            state: the means by layer.
            widths: of the layers, and of the input.

        Raises:
            ValueError: the means are not of these.
        """
        for name, means in state.items():
            if getattr(means, "shape", None) != (self._num_classes, widths.get(name)):
                raise ValueError(f"the class means of {shown(name)} have another shape")
        self._means = dict(state)

    def _members(self, labels: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(labels, self._num_classes).T.float()


_Sums = tuple[Tensor, dict[str, Tensor]]


def _added(a: _Sums, b: _Sums) -> _Sums:
    """Return class counts, and class sums by layer, of both sets of samples."""
    both = {name: a[1][name] + b[1][name] for name in a[1].keys() & b[1].keys()}
    return a[0].to(b[0].device) + b[0], a[1] | b[1] | both


def without_means(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers without class means and the scores against these, of which others are made."""
    return [
        attrs.evolve(layer, scores=None, anchors=None, anchor_kind=None)
        if layer.anchor_kind == "class_mean"
        else layer
        for layer in layers
    ]


def _class_sums(members: Tensor, activations: Tensor) -> Tensor:
    """Return the sums (C, N) of activations (n, N) by class, given 0/1 memberships (C, n)."""
    sums = members.to(wide(activations).dtype) @ wide(activations)
    # Chunks add up in float64 where there is one, so that their number does not matter.
    return sums if sums.device.type == "mps" else sums.double()
