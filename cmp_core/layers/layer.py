"""A layer as the engine and the metrics see it: a name and what it made of some samples."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from torch import Tensor


@attrs.frozen(eq=False)
class Layer:
    """A layer and what it made of n samples.

    Attributes:
        name: `layer_0`, `layer_1`, …, `head`; `input` for the reference.
        depth: 0 for `layer_0`; -1 for the input.
        module: path of the module inside the model, such as `layers.0`.
        activations: (n, N), as computed in the step's forward.
        scores: (n, C) with softmax(scores) = q, the temperature already divided in; or none.
        anchors: (C, N), or none.
        anchor_kind: `orthonormal`, `block`, `class_mean`, or none.
    """

    name: str
    depth: int
    module: str
    activations: Tensor
    scores: Tensor | None = None
    anchors: Tensor | None = None
    anchor_kind: str | None = None

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> Layer:
        """Return the layer with `change` applied to each of its tensors."""
        return attrs.evolve(
            self,
            activations=change(self.activations),
            scores=None if self.scores is None else change(self.scores),
            anchors=None if self.anchors is None else change(self.anchors),
        )
