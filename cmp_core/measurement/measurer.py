"""Measuring a batch, or a split chunk by chunk: emit the events, bring the answers to the host."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import attrs
import numpy as np
import pluggy
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmp_core.errors import UsageError
from cmp_core.events.activations import LayerActivations, SplitFinished
from cmp_core.events.payloads import Run
from cmp_core.events.results import DeviceValue, MetricResult, SampleMean, SampleValues
from cmp_core.events.rows import FitInfo, Row, Value
from cmp_core.layers.arrays import binary_scale, precise, wide
from cmp_core.layers.layer import Layer
from cmp_core.layers.memory import memory_of
from cmp_core.layers.sampling import choose
from cmp_core.measurement.jackknife import FEWEST, standard_error
from cmp_core.measurement.listener import MetricListener, total_and_count
from cmp_core.measurement.memory import STATISTICS_SHARE, SUBSET_SIZE, Demand
from cmp_core.measurement.metric import Metric
from cmp_core.plugins.dispatch import Dispatcher
from cmp_core.statistics.classes import Classes
from cmp_core.statistics.fits import Fitting, LinearFits
from cmp_core.statistics.folds import Folds, Groups
from cmp_core.statistics.split import SplitAccumulator, SplitStatistics


@attrs.frozen(eq=False)
class FitSamples:
    """Samples that linear fits are made to, and that are not scored.

    Attributes:
        n: how many.
        labels: (n,), or none.
        read: yields their chunks, each with `part="fit"`.
    """

    n: int
    labels: NDArray[np.int64] | None
    read: Callable[[], Iterable[LayerActivations]]


class Measurer:
    """Emits activation events and gathers what the selected metrics answer.

    Args:
        metrics: the selected ones; a listener for each is registered.
        run: what every listener may ask for.
        manager: holds the other plugins.
        policy: what happens to a plugin that raises, see `Dispatcher`.
        processes: how many share the machine's memory.

    Attributes:
        dispatcher: emits the events.
        listeners: of the metrics.
    """

    def __init__(
        self,
        metrics: Iterable[Metric],
        run: Run,
        manager: pluggy.PluginManager,
        policy: str = "disable",
        processes: int = 1,
    ) -> None:
        self.dispatcher = Dispatcher(manager, run, policy)
        self.listeners = [MetricListener(metric) for metric in metrics]
        for listener in self.listeners:
            manager.register(listener, listener.name)
        definitions = [listener.metric.definition for listener in self.listeners]
        self._passes = max((d.pass_indices[-1] for d in definitions), default=1)
        self._share = STATISTICS_SHARE / processes
        self._demand = Demand(
            sums=frozenset[str]().union(*(d.sums for d in definitions)),
            fits=frozenset[str]().union(*(d.fits for d in definitions)),
            subset=any(d.split == "subset" or d.scope == "pair" for d in definitions),
        )

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return the states of the metrics that run on from batch to batch, by label."""
        states: dict[str, dict[str, Any]] = {}
        for listener in self.listeners:
            with self.dispatcher.fence.around(listener.name, "state_dict"):
                states[listener.metric.label] = listener.state_dict()
        return {label: state for label, state in states.items() if state}

    def load_state_dict(self, states: dict[str, dict[str, Any]]) -> None:
        """Take over what `state_dict` returned."""
        for listener in self.listeners:
            with self.dispatcher.fence.around(listener.name, "load_state_dict"):
                listener.load_state_dict(states.get(listener.metric.label, {}))

    @property
    def has_listeners(self) -> bool:
        """Whether anybody wants activations."""
        return self.dispatcher.has_listeners("cmp_layer_activations")

    def left_out(
        self, widths: Mapping[str, int], n: int, num_classes: int, device: torch.device
    ) -> dict[str, str]:
        """Return the layers of a split that do not fit into the memory, with the reason.

        Args:
            widths: number of units of each layer, in order of depth.
            n: samples in the split.
            num_classes: C.
            device: where they are.
        """
        return self._demand.left_out(widths, n, num_classes, self._available(device))

    def _available(self, device: torch.device) -> int:
        """Return the bytes that statistics may take."""
        return int(self._share * memory_of(device))

    def batch(self, event: LayerActivations) -> tuple[Row, ...]:
        """Measure a training batch by itself."""
        failures_before = self.dispatcher.failure_counts()
        extremes = {layer.name: _Extremes.of(layer) for layer in event.all_layers}
        answers = self.dispatcher.emit("cmp_layer_activations", event)
        return self._rows(answers, extremes, event.layers, failures_before)

    def fit(self, samples: FitSamples, *scored: NDArray[np.int64] | None) -> LinearFits | None:
        """Return linear fits to samples that are not scored, or none where no metric asks for them.

        Args:
            samples: what is fitted to.
            scored: labels (n,) of the splits that the fits will score.
        """

        def read() -> Iterator[LayerActivations]:
            for chunk in samples.read():
                self.dispatcher.emit_to_essential("cmp_layer_activations", chunk)
                yield chunk

        return self._fitted(read(), samples.n, [samples.labels, *scored], None)

    def _fitted(
        self,
        chunks: Iterable[LayerActivations],
        n: int,
        labels: Sequence[NDArray[np.int64] | None],
        folds: Folds | None,
    ) -> LinearFits | None:
        fitting: Fitting | None = None
        for chunk in chunks if self._demand.fits else ():
            if fitting is None:
                fitting = self._begun(chunk, n, labels, folds)
            fitting.update(chunk.all_layers, chunk.sample_ids, chunk.labels)
        return None if fitting is None else fitting.fits()

    def _begun(
        self,
        chunk: LayerActivations,
        n: int,
        labels: Sequence[NDArray[np.int64] | None],
        folds: Folds | None,
    ) -> Fitting:
        """Return an empty state for fitting samples of which this is the first chunk."""
        device, widths = chunk.sample_ids.device, _widths(chunk)
        there = [torch.from_numpy(own).to(device) for own in labels if own is not None]
        left_out = self._demand.left_out_of_fits(
            widths, n, chunk.num_classes, self._available(device), in_folds=folds is not None
        )
        classes = Classes(chunk.num_classes, *there) if chunk.labels is not None else None
        own_folds = None if folds is None else folds.to(device)
        return Fitting(self._demand.fits, n, classes, own_folds, device, left_out)

    def split(
        self,
        ids: NDArray[np.int64],
        labels: NDArray[np.int64] | None,
        read: Callable[[int], Iterable[LayerActivations]],
        fits: LinearFits | None = None,
        *,
        errors: bool = False,
    ) -> tuple[Row, ...]:
        """Measure a split.

        Args:
            ids: the sample ids of the whole split.
            labels: their labels, or none.
            read: given 1 or 2, yields the split's chunks for that pass; given 0, for a reading
                before these, which no plugin sees.
            fits: to other samples; without them the split's own are fitted to in five folds.
            errors: give each value a standard error; there is none below 40 samples.
        """
        failures_before = self.dispatcher.failure_counts()
        folds = Folds(torch.from_numpy(ids), None if labels is None else torch.from_numpy(labels))
        if fits is None:
            fits = self._fitted(read(0), len(ids), [labels], folds)
        groups = Groups(folds.sample_ids) if errors and len(ids) >= FEWEST else None
        split = _Split(self._demand, self._available, folds, fits, groups)
        for pass_index in range(1, self._passes + 1):
            for chunk in read(pass_index):
                if pass_index == 1:
                    split.update(chunk)
                self.dispatcher.emit("cmp_layer_activations", split.measured(chunk))
        if split.last is None:
            return ()
        statistics = SplitStatistics(split.accumulator)
        answers = self.dispatcher.emit("cmp_split_finished", split.finished(statistics))
        return self._rows(answers, split.extremes, split.last.layers, failures_before, fits)

    def _rows(
        self,
        answers: Mapping[str, list[MetricResult]],
        extremes: Mapping[str, _Extremes],
        layers: Sequence[Layer],
        failures_before: Counter[str],
        fits: LinearFits | None = None,
    ) -> tuple[Row, ...]:
        """Return the metrics' answers as rows, in the order of their selection.

        A metric that failed on the way, or is switched off, has an error for every layer instead.
        """
        failed_now = self.dispatcher.failure_counts() - failures_before
        # The newest failure last, so that it is the one that is told.
        errors = {failure.plugin: failure.error for failure in self.dispatcher.failures}
        results: list[MetricResult] = []
        for listener in self.listeners:
            if listener.name in failed_now or self.dispatcher.is_disabled(listener):
                reason = f"error: {errors[listener.name]}"
                label = listener.metric.label
                results += [MetricResult(x.name, label, 0, reason=reason) for x in layers]
            else:
                results += answers[listener.name]
        _refuse_duplicates([result for result in results if not result.by_half_fits])
        rows = _on_host(results, extremes)
        return rows if fits is None else tuple(_with_fits(results, rows, fits))


class _Split:
    """What is gathered from a split's chunks for all metrics together."""

    def __init__(
        self,
        demand: Demand,
        available: Callable[[torch.device], int],
        folds: Folds,
        fits: LinearFits | None,
        groups: Groups | None,
    ) -> None:
        self._demand, self._available = demand, available
        self._folds, self._fits, self._groups = folds, fits, groups
        self._chosen: Tensor | None = None
        if demand.subset:
            ids = folds.sample_ids.cpu()
            self._chosen = ids[choose(ids.numpy(), SUBSET_SIZE)] if len(ids) > SUBSET_SIZE else ids
        self._parts: list[LayerActivations] = []
        self.extremes: dict[str, _Extremes] = {}
        self.last: LayerActivations | None = None

    def update(self, chunk: LayerActivations) -> None:
        if self.last is None:
            self._prepare(chunk)
        self.last = chunk
        for layer in chunk.all_layers:
            own, known = _Extremes.of(layer), self.extremes.get(layer.name)
            self.extremes[layer.name] = own if known is None else own.merge(known)
        if self._chosen is not None:
            where = torch.isin(chunk.sample_ids, self._chosen).nonzero().squeeze(1)
            self._parts.append(self._without_left_out(chunk).select(where, "subset"))
        self.accumulator.update(chunk.all_layers, chunk.sample_ids, chunk.labels)

    def _prepare(self, chunk: LayerActivations) -> None:
        """Choose scales, and which layers fit into the memory, by the first chunk."""
        device, n = chunk.sample_ids.device, len(self._folds.sample_ids)
        self._chosen = None if self._chosen is None else self._chosen.to(device)
        self._folds = self._folds.to(device)
        self._groups = None if self._groups is None else self._groups.to(device)
        known = {} if self._fits is None else self._fits.scales
        self._scales = {
            x.name: known[x.name] if x.name in known else binary_scale(x.activations)
            for x in chunk.all_layers
        }
        size = _widths(chunk), n, chunk.num_classes, self._available(device)
        self._left_out = self._demand.left_out(*size)
        # Sums of each group take twenty times as much: where they do not fit, errors are left out.
        has_room = self._groups and self._demand.left_out(*size, by_group=True) == self._left_out
        self.accumulator = SplitAccumulator(
            self._demand.sums,
            self._folds,
            chunk.num_classes,
            self._left_out,
            self._groups if has_room else None,
        )

    def measured(self, chunk: LayerActivations) -> LayerActivations:
        """Return a chunk as metrics see it."""
        return attrs.evolve(
            chunk,
            scales=self._scales,
            folds=self._folds,
            groups=self._groups,
            fits=self._fits,
        )

    def _without_left_out(self, chunk: LayerActivations) -> LayerActivations:
        """Return the chunk without the activations of layers that do not fit."""
        if not self._left_out:
            return chunk

        def emptied(layer: Layer) -> Layer:
            is_left_out = layer.name in self._left_out
            kept = layer.activations[:, :0] if is_left_out else layer.activations
            return attrs.evolve(layer, activations=kept)

        return attrs.evolve(
            chunk,
            layers=tuple(map(emptied, chunk.layers)),
            reference=None if chunk.reference is None else emptied(chunk.reference),
            left_out=self._left_out,
        )

    def finished(self, statistics: SplitStatistics) -> SplitFinished:
        chunk = self.last
        assert chunk is not None  # a split without chunks has nothing to finish
        return SplitFinished(
            source=chunk.source,
            phase=chunk.phase,
            epoch=chunk.epoch,
            step=chunk.step,
            n=len(self._folds.sample_ids),
            layers=tuple(_without_samples(layer) for layer in chunk.layers),
            reference=None if chunk.reference is None else _without_samples(chunk.reference),
            num_classes=chunk.num_classes,
            statistics=statistics,
            subset=self._subset(),
            fits=self._fits,
            groups=self._groups,
        )

    def _subset(self) -> LayerActivations | None:
        if not self._parts:
            return None
        joined = _join(self._parts)
        return attrs.evolve(joined, folds=self._folds, groups=self._groups, fits=self._fits)


def _widths(chunk: LayerActivations) -> dict[str, int]:
    return {layer.name: layer.activations.shape[1] for layer in chunk.all_layers}


def _without_samples(layer: Layer) -> Layer:
    return attrs.evolve(layer, activations=layer.activations[:0], scores=None, anchors=None)


def _join(parts: Sequence[LayerActivations]) -> LayerActivations:
    """Return all samples of the parts as one event, in the order of their ids."""
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


def _refuse_duplicates(results: Sequence[MetricResult]) -> None:
    """Raise where one value would stand in another's place, as labels and sub-values can meet."""
    places = [(r.layer, r.metric, r.pair and r.other) for r in results]
    if len(set(places)) < len(places):
        (layer, metric, _), _ = Counter(places).most_common(1)[0]
        raise UsageError(f"two metrics yield '{metric}' at {layer}: give one of them another label")


def _with_fits(
    results: Sequence[MetricResult], rows: Sequence[Row], fits: LinearFits
) -> Iterator[Row]:
    """Yield the rows, each with what its fits rest on in place of a row for half of them."""
    halves = {
        (row.layer, row.metric): row.value
        for result, row in zip(results, rows, strict=True)
        if result.by_half_fits
    }
    for result, row in zip(results, rows, strict=True):
        key = row.layer, row.metric
        if result.by_half_fits:
            continue
        is_fitted = key in halves and row.value is not None and not row.pair
        fit = FitInfo(fits.n, fits.source, halves[key]) if is_fitted else None
        yield attrs.evolve(row, fit=fit)


# From the device to the host


_MaxAbs = Mapping[str, tuple[float, ...]]
"""By layer, the sizes of its extremes on the host."""


@attrs.frozen(eq=False)
class _Extremes:
    """Smallest and largest activation of a layer, then those of its scores, 0-d each."""

    values: tuple[Tensor, ...]

    @classmethod
    def of(cls, layer: Layer) -> _Extremes:
        values: list[Tensor] = []
        for tensor in (layer.activations, layer.scores):
            if tensor is None:
                continue
            numbers = wide(tensor)
            zero = numbers.new_zeros(())
            values += torch.aminmax(numbers) if numbers.numel() else (zero, zero)
        return cls(tuple(values))

    def merge(self, other: _Extremes) -> _Extremes:
        """Return the extremes of both sets of samples."""
        ways = (torch.minimum, torch.maximum) * 2
        return _Extremes(
            tuple(way(a, b) for way, a, b in zip(ways, self.values, other.values, strict=False))
        )


def _on_host(results: Sequence[MetricResult], extremes: Mapping[str, _Extremes]) -> tuple[Row, ...]:
    """Bring all values to the host, and give a reason for each that is missing or not finite.

    Args:
        results: what the metrics answered.
        extremes: of every layer.
    """
    # A value of a symmetric pair stands at two places.
    distinct = {id(r.value): r.value for r in results if r.value is not None}
    influences = {id(r.influence): r.influence for r in results if r.influence is not None}
    flat = [value for layer in extremes.values() for value in layer.values]
    errors_of = [standard_error(influence) for influence in influences.values()]
    numbers = host_values([*flat, *errors_of, *_as_tensors(list(distinct.values()))])
    errors = dict(zip(influences, numbers[len(flat) :], strict=False))
    values = dict(zip(distinct, numbers[len(flat) + len(errors) :], strict=True))
    rest = iter(numbers)
    max_abs = {
        name: tuple(map(abs, islice(rest, len(layer.values)))) for name, layer in extremes.items()
    }
    return tuple(_with_error(_row(r, values, max_abs), r.influence, errors) for r in results)


def _with_error(row: Row, influence: Tensor | None, errors: Mapping[int, Value]) -> Row:
    """Return a row with the standard error that influences (u,) give, if it is finite."""
    error = errors.get(id(influence))
    if row.value is None or influence is None or not isinstance(error, float):
        return row
    if not math.isfinite(error):
        return row
    return attrs.evolve(row, error=error, influence=influence.double().cpu().numpy())


def _as_tensors(values: Sequence[DeviceValue]) -> list[Tensor]:
    """Return the values as tensors, means as total and count, stacked where they are alike."""
    alike: dict[Any, list[SampleValues]] = {}
    for value in values:
        if isinstance(value, SampleValues):
            kind = value.values.shape, value.values.dtype, value.values.device
            alike.setdefault(kind, []).append(value)
    totals: dict[int, Tensor] = {}
    for group in alike.values():
        stacked = total_and_count(torch.stack([value.values for value in group]))
        totals |= {id(value): total for value, total in zip(group, stacked, strict=True)}
    return [
        value.total_and_count
        if isinstance(value, SampleMean)
        else totals[id(value)]
        if isinstance(value, SampleValues)
        else value
        for value in values
    ]


def host_values(tensors: Sequence[Tensor]) -> list[Any]:
    """Return 0-d tensors and vectors as numbers and tuples of numbers, one transfer per device."""
    values: list[Any] = [None] * len(tensors)
    for device in {tensor.device for tensor in tensors}:
        groups: dict[tuple[torch.dtype, int], list[int]] = {}
        for i, tensor in enumerate(tensors):
            if tensor.device == device:
                groups.setdefault((tensor.dtype, tensor.ndim), []).append(i)
        parts = [
            (torch.cat if ndim else torch.stack)([tensors[i] for i in group]).to(precise(device))
            for (_, ndim), group in groups.items()
        ]
        flat: Iterator[float] = iter(torch.cat(parts).tolist())
        for i in chain.from_iterable(groups.values()):
            shape = tensors[i].shape
            values[i] = tuple(islice(flat, shape[0])) if shape else next(flat)
    return values


def _row(result: MetricResult, values: Mapping[int, Any], max_abs: _MaxAbs) -> Row:
    n, reason, value = result.n, result.reason, None
    if result.value is not None:
        value = values[id(result.value)]
        if not isinstance(result.value, Tensor):
            total, count = value
            n = int(count)
            value = total / n if n else math.nan
        reason = _reason(result, value, max_abs)
        value = None if reason else value
    return Row(result.layer, result.metric, value, n, reason, result.other, result.pair)


def _reason(result: MetricResult, value: Value, max_abs: _MaxAbs) -> str | None:
    """Return why a value is missing, or none where it is sound."""
    if result.n == 0:
        return "there are no samples"
    layers = [x for x in (result.layer, result.other or result.layer) if x in max_abs]
    for layer in layers:
        if not all(map(math.isfinite, max_abs[layer])):
            return f"activations or scores of {layer} hold NaN or infinity"
    if all(map(math.isfinite, value)) if isinstance(value, tuple) else math.isfinite(value):
        return None
    for layer in layers:
        if not any(max_abs[layer][:2]):
            return f"{layer} is dead: all its activations are 0"
    return result.undefined
