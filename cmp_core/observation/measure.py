"""Measuring a finished model on the samples of a loader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from cmp_core.events.rows import as_frame
from cmp_core.observation.batches import Unpack
from cmp_core.observation.modules import Modules
from cmp_core.observation.observer import observe
from cmp_core.observation.reduction import Reduction
from cmp_core.observation.subject import AUTO, Anchors

if TYPE_CHECKING:
    from pandas import DataFrame


def measure(
    model: nn.Module,
    loader: Iterable[Any],
    layers: Modules = "*",
    metrics: str | Sequence[Any] = "all",
    *,
    out: str | Path | None = None,
    untrained: nn.Module | None = None,
    reduce: Reduction | Mapping[str, Reduction] = "mean",
    output: str | None = AUTO,
    fit: Iterable[Any] | None = None,
    anchors: Anchors = "class_mean",
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
    plugins: Sequence[str] = (),
    unpack: Unpack | None = None,
    snapshots: bool = True,
) -> DataFrame:
    """Return what metrics say of the layers of a model, with standard errors.

    The columns are those of `as_frame`; `attrs["output"]` names the layer that is the output. Other
    arguments than these are those of `observe`.

    Args:
        loader: yields the batches of a test split; it is read several times.
        out: the run directory to write, for `cmp report` and all other commands; none: nothing.
        untrained: the same architecture before training, with which the answers compare.

    Raises:
        UsageError: a layer, metric or reduction is unknown, or `out` holds something.
        DataError: the loader yields what is not known, or other samples at its second reading.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> batches = [(torch.randn(30, 4), torch.arange(30) % 3) for _ in range(2)]
    >>> rows = measure(model, batches, ["0", "2"], ["participation_ratio"])
    observing Sequential: 0 (mean, 8 units), 2 (mean, 3 units); output: 2
    >>> rows.layer.tolist()
    ['input', '0', '2']
    """
    with observe(
        model,
        layers,
        metrics,
        out=out,
        reduce=reduce,
        output=output,
        fit=fit,
        anchors=anchors,
        num_classes=num_classes,
        class_names=class_names,
        config=config,
        plugins=plugins,
        unpack=unpack,
        snapshots=snapshots,
    ) as watch:
        rows = as_frame(watch.test(loader, untrained))
        rows.attrs["output"] = watch.subject.output
    return rows
