"""Replaying a snapshot: the same events that a live run emits, from a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch import Tensor

from cmp_core.errors import DataError
from cmp_core.events.activations import LayerActivations, Phase, chunk_size
from cmp_core.events.rows import INPUT
from cmp_core.layers.arrays import WHOLE_IN_FLOAT64
from cmp_core.layers.layer import Layer
from cmp_core.snapshots.read import Snapshot, SnapshotLayer
from cmp_core.snapshots.storage import StoredArray


def replay(snapshot: Snapshot, pass_index: int = 1) -> Iterator[LayerActivations]:
    """Yield the chunks of a snapshot's split; `Measurer.split` takes them like those of a run.

    Activations and inputs of more than two dimensions are flattened to (n, units);
    whole numbers and truth values become float64.
    """
    for chunk, is_fitted_to in _chunks(snapshot, pass_index):
        if not is_fitted_to.any():
            yield chunk
        elif not is_fitted_to.all():
            yield chunk.select((~is_fitted_to).nonzero()[:, 0], "chunk")


def replay_fitting(snapshot: Snapshot) -> Iterator[LayerActivations]:
    """Yield the chunks of the samples that linear fits are made to."""
    for chunk, is_fitted_to in _chunks(snapshot):
        if is_fitted_to.any():
            yield chunk.select(is_fitted_to.nonzero()[:, 0], "fit")


def _chunks(snapshot: Snapshot, pass_index: int = 1) -> Iterator[tuple[LayerActivations, Tensor]]:
    """Yield all rows in chunks, and which of each are fitted to, (k,) bool."""
    arrays = [snapshot.inputs, *(layer.activations for layer in snapshot.layers)]
    size = chunk_size(sum(math.prod(array.shape[1:]) for array in arrays if array is not None))
    targets = snapshot.targets
    for start in range(0, snapshot.n, size):
        rows = slice(start, min(start + size, snapshot.n))
        inputs = _flat(snapshot.inputs, rows)
        chunk = LayerActivations(
            source="replay",
            phase=cast("Phase", snapshot.phase),
            part="chunk",
            epoch=snapshot.epoch,
            step=snapshot.step,
            layers=tuple(_layer(layer, rows) for layer in snapshot.layers),
            sample_ids=torch.from_numpy(snapshot.sample_ids[rows]),
            labels=None if targets is None else torch.from_numpy(targets[rows]),
            inputs=inputs,
            num_classes=snapshot.num_classes,
            pass_index=pass_index,
            reference=_reference(snapshot, inputs, rows),
        )
        fit = np.zeros(chunk.n, dtype=bool) if snapshot.fit is None else snapshot.fit[rows]
        yield chunk, torch.from_numpy(fit)


def _reference(snapshot: Snapshot, inputs: Tensor | None, rows: slice) -> Layer | None:
    if snapshot.reference is not None:
        return _layer(snapshot.reference, rows)
    return None if inputs is None else Layer(INPUT, -1, INPUT, inputs)


def _layer(layer: SnapshotLayer, rows: slice) -> Layer:
    activations = _flat(layer.activations, rows)
    assert activations is not None  # every layer has activations
    return Layer(
        name=layer.name,
        depth=layer.depth,
        module=layer.module,
        activations=activations,
        scores=_flat(layer.scores, rows),
        anchors=_flat(layer.anchors, slice(None)),
        anchor_kind=layer.anchor_kind,
    )


def _flat(array: StoredArray | None, rows: slice) -> Tensor | None:
    if array is None:
        return None
    values = array[rows]
    is_float = values.dtype.kind == "f"
    if not is_float and values.size:
        largest = max(abs(int(values.min())), int(values.max()))
        if largest > WHOLE_IN_FLOAT64:
            raise DataError(
                f"{array.place}: expected whole numbers up to 2^53, which float64 holds, got "
                f"{largest}; subtract their common offset"
            )
    size = min(values.dtype.itemsize, 8) if is_float else 8  # torch has no longer ones
    native = values.astype(np.dtype(f"=f{size}"), copy=False)
    return torch.from_numpy(np.ascontiguousarray(native)).flatten(1)
