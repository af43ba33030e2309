"""The statistics of layers that are given as arrays, for plain functions and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from cmp_core.errors import UsageError
from cmp_core.layers.arrays import Array, as_labels, as_matrices, class_indices
from cmp_core.layers.layer import Layer
from cmp_core.statistics.batch import moments_at_hand
from cmp_core.statistics.classes import Classes
from cmp_core.statistics.fits import Fitting, LinearFits, fewest, too_wide
from cmp_core.statistics.folds import Folds
from cmp_core.statistics.interface import EventStatistics, LayerStatistics


def statistics_of(
    *activations: Array, labels: Array | None = None, is_rescaled: bool = False
) -> list[LayerStatistics]:
    """Return the statistics of layers that are given as arrays (n, …), in their order.

    What is held out is so by ridge regression in five folds, as on a batch, see
    `held_out_statistics_of` for least squares. NumPy or torch, sample ids 0 to n-1.

    Args:
        activations: (n, p) of each layer; more dimensions are flattened.
        labels: (n,) whole numbers.
        is_rescaled: as a metric sees them that declares the invariance `scale`: of activations
            divided by a power of two near their largest size, so that no product overflows.

    Raises:
        UsageError: an array is not (n, …), labels are none, or the numbers of samples differ.
        UndefinedError: activations are NaN or infinite.

    >>> (statistics,) = statistics_of(torch.eye(3))
    >>> statistics.eigenvalues()
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    layers = _layers(activations)
    known = None if labels is None else class_indices(labels, layers[0].activations)
    return _statistics(layers, known, is_rescaled=is_rescaled)


def held_out_statistics_of(
    *activations: Array,
    labels: Array | None = None,
    fit: Sequence[Array] | None = None,
    penalty: float = 0.0,
) -> list[LayerStatistics]:
    """Return the statistics of layers whose samples are scored by fits to others.

    They are in units of each layer's scale.

    Args:
        activations: (n, p) of each layer; more dimensions are flattened.
        labels: (n,) whole numbers.
        fit: the samples that least squares are fitted to, as over a split of a run: activations
            (m, p) of each layer and, where there are labels, theirs (m,). Without them every sample
            is scored by the fit to the other four of five folds.
        penalty: of ridge regressions in five folds, as on a batch; 0 for least squares.

    Raises:
        UsageError: as `statistics_of`, or the fitting samples are of other layers.
        UndefinedError: activations are NaN or infinite.
    """
    if penalty:
        if fit is not None:
            raise UsageError("expected fit (least squares) or penalty (ridge, in folds), got both")
        return statistics_of(*activations, labels=labels, is_rescaled=True)
    layers = _layers(activations)
    rows = layers[0].activations
    if fit is None:
        known = None if labels is None else class_indices(labels, rows)
        folds = Folds(torch.arange(len(rows), device=rows.device), known)
        return _statistics(layers, known, _fits(layers, known, folds), is_rescaled=True)
    expected = len(layers) + (labels is not None)
    if len(fit) != expected:
        what = "activations and labels" if labels is not None else "activations"
        raise UsageError(f"fit: expected {expected} arrays, {what}, got {len(fit)}")
    fitting = _layers(fit[: len(layers)])
    for own, other in zip(layers, fitting, strict=True):
        units, found = own.activations.shape[1], other.activations.shape[1]
        if units != found:
            raise UsageError(f"fit: expected {units} units of {own.name}, got {found}")
    known = known_fit = None
    if labels is not None:  # a class has one number on both sides
        sides = as_labels(labels, rows), as_labels(fit[-1], fitting[0].activations).to(rows.device)
        both = class_indices(torch.cat(sides))
        known, known_fit = both[: len(rows)], both[len(rows) :]
    fits = _fits(fitting, known_fit, None, known)
    return _statistics(layers, known, fits, is_rescaled=True)


def _layers(activations: Sequence[Array]) -> list[Layer]:
    matrices = as_matrices(*activations)
    return [Layer(f"layer_{i}", i, "", tensor) for i, tensor in enumerate(matrices)]


def _fits(
    layers: Sequence[Layer],
    labels: Tensor | None,
    folds: Folds | None,
    scored: Tensor | None = None,
) -> LinearFits:
    """Return the fits to some samples, in folds where they are scored themselves.

    Args:
        layers, labels: of the fitting samples.
        folds: none where other samples are scored.
        scored: labels of these.
    """
    rows = layers[0].activations
    n = len(rows)
    ids = torch.arange(n, device=rows.device)
    there = [own for own in (labels, scored) if own is not None]
    classes = Classes(max(map(_count, there)), *there) if there else None
    widths = {layer.name: layer.activations.shape[1] for layer in layers}
    fitting = Fitting(
        frozenset({"next"} if labels is None else {"labels", "next"}),
        n,
        classes,
        folds,
        rows.device,
        left_out=too_wide(widths, n if folds is None else fewest(n)),
    )
    fitting.update(layers, ids, labels)
    return fitting.fits()


def _statistics(
    layers: Sequence[Layer],
    labels: Tensor | None,
    fits: LinearFits | None = None,
    *,
    is_rescaled: bool,
) -> list[LayerStatistics]:
    rows = layers[0].activations
    folds = Folds(torch.arange(len(rows), device=rows.device), labels)
    moments = partial(moments_at_hand, layers, folds, _count(labels))
    scales = None if fits is None else fits.scales
    statistics = EventStatistics(layers, folds.sample_ids, labels, moments, folds, fits, scales)
    return [statistics.of(layer.name, is_rescaled=is_rescaled) for layer in layers]


def _count(labels: Tensor | None) -> int:
    """Return the number of classes of labels from 0 on."""
    return 0 if labels is None or not len(labels) else int(labels.max()) + 1
