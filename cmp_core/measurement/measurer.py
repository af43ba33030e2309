"""Measuring a batch, or a split chunk by chunk: emit the events, and gather the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import attrs
import numpy as np
import pluggy
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmp_core.distributed.processes import ALONE, Processes
from cmp_core.errors import PluginError, UsageError, one_line
from cmp_core.events.activations import LayerActivations, SplitFinished, joined
from cmp_core.events.payloads import Run
from cmp_core.events.results import MetricResult
from cmp_core.events.rows import INPUT, FitInfo, Row
from cmp_core.layers.arrays import binary_scale
from cmp_core.layers.layer import Layer
from cmp_core.layers.memory import memory_of
from cmp_core.layers.sampling import choose
from cmp_core.measurement.host import Extremes, on_host
from cmp_core.measurement.jackknife import FEWEST
from cmp_core.measurement.listener import MetricListener
from cmp_core.measurement.memory import STATISTICS_SHARE, SUBSET_SIZE, Demand
from cmp_core.measurement.metric import Metric
from cmp_core.measurement.reference import MeasuredReference
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
        processes: that measure together, each its own samples.
        sharing: how many others use the machine's memory as much.

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
        processes: Processes = ALONE,
        sharing: int = 1,
    ) -> None:
        self._processes = processes
        self.dispatcher = Dispatcher(manager, run, policy)
        self.listeners = [MetricListener(metric) for metric in metrics]
        for listener in self.listeners:
            manager.register(listener, listener.name)
        definitions = [listener.metric.definition for listener in self.listeners]
        self._passes = max((d.pass_indices[-1] for d in definitions), default=1)
        self._share = STATISTICS_SHARE / (sharing * processes.on_this_machine)
        self._demand = Demand(
            sums=frozenset[str]().union(*(d.sums for d in definitions)),
            fits=frozenset[str]().union(*(d.fits for d in definitions)),
            subset=any(d.split == "subset" or d.scope == "pair" for d in definitions),
        )

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return the states of the metrics that run on from batch to batch, by label."""
        states = {
            listener.metric.label: self._isolated(listener, "state_dict", listener.checked_state)
            for listener in self.listeners
            if not self.dispatcher.is_disabled(listener)
        }
        return {label: state for label, state in states.items() if state}

    def load_state_dict(self, states: dict[str, dict[str, Any]]) -> None:
        """Take over what `state_dict` returned."""
        for listener in self.listeners:
            own = states.get(listener.metric.label, {})
            self._isolated(listener, "load_state_dict", partial(listener.load_state_dict, own))

    def _isolated(self, listener: MetricListener, what: str, call: Callable[[], Any]) -> Any:
        """Return what a metric's code answers outside an event; none where it has failed."""
        try:
            with self.dispatcher.fence.around(listener.name, what):
                return call()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever the code of a plugin raises
            self.dispatcher.fail(listener, what, error)
        return None

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
        """Measure a training batch by itself: the samples of all processes, in the first one."""
        rows = self._of_batch(event) if self._processes.is_first else ()
        return self._processes.gather(rows)[0]

    def _of_batch(self, event: LayerActivations) -> tuple[Row, ...]:
        failures_before = self.dispatcher.failure_counts()
        extremes = {layer.name: Extremes.of(layer) for layer in event.all_layers}
        answers = self.dispatcher.emit("cmp_layer_activations", event)
        return self._rows(answers, extremes, event.layers, failures_before)

    def fit(
        self,
        samples: FitSamples,
        *scored: NDArray[np.int64] | None,
        reference_is_known: bool = False,
    ) -> LinearFits | None:
        """Return linear fits to samples that are not scored, or none where no metric asks for them.

        Args:
            samples: what is fitted to.
            scored: labels (n,) of the splits that the fits will score.
            reference_is_known: nothing is fitted to the reference, see `MeasuredReference`.
        """

        def read() -> Iterator[LayerActivations]:
            for chunk in samples.read():
                self.dispatcher.emit_to_essential("cmp_layer_activations", chunk)
                yield attrs.evolve(chunk, reference_is_known=reference_is_known)

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
            layers = chunk.layers if chunk.reference_is_known else chunk.all_layers
            fitting.update(layers, chunk.sample_ids, chunk.labels)
        fitting = self._processes.reduce(fitting, _merged_fitting)
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
        reference: MeasuredReference | None = None,
    ) -> tuple[Row, ...]:
        """Measure a split.

        Args:
            ids: the sample ids of the whole split.
            labels: their labels, or none.
            read: given 1 or 2, yields the split's chunks for that pass; given 0, for a reading
                before these, which no plugin sees. Of several processes, each yields its own
                samples, and no sample is that of two.
            fits: to other samples; without them the split's own are fitted to in five folds.
            errors: give each value a standard error; there is none below 40 samples.
            reference: of a split that is measured again and again, what was said of its reference.
        """
        failures_before = self.dispatcher.failure_counts()
        folds = Folds(torch.from_numpy(ids), None if labels is None else torch.from_numpy(labels))
        if fits is None:
            fits = self._fitted(read(0), len(ids), [labels], folds)
        groups = Groups(folds.sample_ids) if errors and len(ids) >= FEWEST else None
        is_known = reference is not None and reference.is_known(errors=errors)
        split = _Split(self._demand, self._available, folds, fits, groups, is_known)
        chunks = iter(read(1))
        first = next(chunks, None)
        if not split.begin(first, self._processes):
            return ()
        for chunk in chain(() if first is None else (first,), chunks):
            split.update(chunk)
            self.dispatcher.emit("cmp_layer_activations", split.measured(chunk))
        if self._processes.size > 1:
            split.merge(self._processes)
            self._merge_states(groups, failures_before)
        for pass_index in range(2, self._passes + 1):
            for chunk in self._of_all(read(pass_index)):
                self.dispatcher.emit("cmp_layer_activations", split.measured(chunk))
        statistics = SplitStatistics(split.accumulator)
        answers = self.dispatcher.emit("cmp_split_finished", split.finished(statistics))
        if reference is not None and is_known:
            answers = reference.added_to(answers, errors=errors)
        elif reference is not None:
            names = {listener.name for listener in self.listeners}
            if not names & (self.dispatcher.failure_counts() - failures_before).keys():
                reference.keep(answers, names, INPUT, errors=errors)
        return self._rows(answers, split.extremes, split.head.layers, failures_before, fits)

    def _of_all(self, chunks: Iterable[LayerActivations]) -> Iterator[LayerActivations]:
        """Yield the chunks of all processes together, as scored states cannot be merged."""
        own = iter(chunks)
        while parts := [x for x in self._processes.gather(next(own, None)) if x is not None]:
            yield parts[0] if len(parts) == 1 else joined(parts)

    def _merge_states(self, groups: Groups | None, failures_before: Counter[str]) -> None:
        """Merge the states of all processes; a metric that failed in one has failed in all."""
        failed = self._failed_since(failures_before)
        states: dict[str, Any] = {}
        for listener in self.listeners:
            if listener.name not in failed:
                states[listener.name] = self._isolated(listener, "state_dict", listener.gathered)
        failed |= self._failed_since(failures_before)
        told = self._processes.gather((states, failed))
        for listener in self.listeners:
            name = listener.name
            errors = [own[name] for _, own in told if name in own]
            if errors and name not in failed:
                elsewhere = PluginError(f"in another process: {errors[0]}")
                self.dispatcher.fail(listener, "cmp_layer_activations", elsewhere)
            elif not errors:
                of_all = [own[name] for own, _ in told]
                self._isolated(listener, "merge", partial(listener.take_gathered, of_all, groups))

    def _failed_since(self, failures_before: Counter[str]) -> dict[str, str]:
        """Return the errors of the metrics that failed since then, or are switched off, by name."""
        failed_now = self.dispatcher.failure_counts() - failures_before
        # The newest failure last, so that it is the one that is told.
        errors = {failure.plugin: failure.error for failure in self.dispatcher.failures}
        return {
            listener.name: errors[listener.name]
            for listener in self.listeners
            if listener.name in failed_now or self.dispatcher.is_disabled(listener)
        }

    def _rows(
        self,
        answers: Mapping[str, list[MetricResult]],
        extremes: Mapping[str, Extremes],
        layers: Sequence[Layer],
        failures_before: Counter[str],
        fits: LinearFits | None = None,
    ) -> tuple[Row, ...]:
        """Return the metrics' answers as rows, in the order of their selection.

        A metric that failed on the way, or is switched off, has an error for every layer instead.
        """
        failed = self._failed_since(failures_before)
        results: list[MetricResult] = []
        taken: set[tuple[Any, ...]] = set()
        for listener in self.listeners:
            answered = [] if listener.name in failed else answers[listener.name]
            own = [r for r in answered if not r.by_half_fits]
            places = [(r.layer, r.metric, r.pair and r.other) for r in own]
            if clash := next((place for place in places if place in taken), None):
                failed[listener.name] = self._fail_for_a_name(listener, *clash)
            if listener.name in failed:
                reason = f"error: {failed[listener.name]}"
                label = listener.metric.label
                answered = [MetricResult(x.name, label, 0, reason=reason) for x in layers]
            else:
                taken.update(places)
            results += answered
        rows = on_host(results, extremes)
        return rows if fits is None else tuple(_with_fits(results, rows, fits))

    def _fail_for_a_name(self, listener: MetricListener, layer: str, metric: str, _: Any) -> str:
        """Fail a metric whose value would stand in another's place, and return the error."""
        error = UsageError(
            f"another metric yields '{metric}' at {layer} too: give one of them another label"
        )
        self.dispatcher.fail(listener, "naming its values", error)
        return one_line(error)


class _Split:
    """What is gathered from a split's chunks for all metrics together."""

    def __init__(
        self,
        demand: Demand,
        available: Callable[[torch.device], int],
        folds: Folds,
        fits: LinearFits | None,
        groups: Groups | None,
        reference_is_known: bool,
    ) -> None:
        self._demand, self._available = demand, available
        self._reference_is_known = reference_is_known
        self._folds, self._fits, self._groups = folds, fits, groups
        self._chosen: Tensor | None = None
        if demand.subset:
            ids = folds.sample_ids.cpu()
            self._chosen = ids[choose(ids.numpy(), SUBSET_SIZE)] if len(ids) > SUBSET_SIZE else ids
        self._parts: list[LayerActivations] = []
        self.extremes: dict[str, Extremes] = {}

    def begin(self, first: LayerActivations | None, processes: Processes) -> bool:
        """Choose scales, and which layers fit into the memory, by the first chunk of all processes.

        Returns:
            Whether there are any samples.
        """
        own = None if first is None else self._head_of(first)
        heads = [head for head in processes.gather(own) if head is not None]
        if heads:
            self._prepare(heads[0])
        return bool(heads)

    def _head_of(self, chunk: LayerActivations) -> LayerActivations:
        """Return a chunk without samples, and with the scale of each layer."""
        known = {} if self._fits is None else self._fits.scales
        scales = {
            x.name: known[x.name] if x.name in known else binary_scale(x.activations)
            for x in chunk.all_layers
        }
        empty = chunk.select(chunk.sample_ids.new_empty(0), "chunk")
        return attrs.evolve(empty, scales=scales)

    def merge(self, processes: Processes) -> None:
        """Merge what all processes have taken in."""
        merged = processes.reduce(self.accumulator, SplitAccumulator.merge)
        self.accumulator: SplitAccumulator = merged
        self.extremes = processes.reduce(self.extremes, _merged_extremes)
        self._parts = list(chain.from_iterable(processes.gather(self._parts)))

    def update(self, chunk: LayerActivations) -> None:
        for layer in chunk.all_layers:
            own, known = Extremes.of(layer), self.extremes.get(layer.name)
            self.extremes[layer.name] = own if known is None else own.merge(known)
        if self._reference_is_known:
            chunk = attrs.evolve(chunk, reference=None)
        if self._chosen is not None:
            where = torch.isin(chunk.sample_ids, self._chosen).nonzero().squeeze(1)
            self._parts.append(self._without_left_out(chunk).select(where, "subset"))
        self.accumulator.update(chunk.all_layers, chunk.sample_ids, chunk.labels)

    def _prepare(self, head: LayerActivations) -> None:
        self.head = head
        device, n = head.sample_ids.device, len(self._folds.sample_ids)
        self._chosen = None if self._chosen is None else self._chosen.to(device)
        self._folds = self._folds.to(device)
        self._groups = None if self._groups is None else self._groups.to(device)
        size = _widths(head), n, head.num_classes, self._available(device)
        self._left_out = self._demand.left_out(*size)
        # Sums of each group take twenty times as much: where they do not fit, errors are left out.
        has_room = self._groups and self._demand.left_out(*size, by_group=True) == self._left_out
        self.accumulator = SplitAccumulator(
            self._demand.sums,
            self._folds,
            head.num_classes,
            self._left_out,
            self._groups if has_room else None,
        )

    def measured(self, chunk: LayerActivations) -> LayerActivations:
        """Return a chunk as metrics see it."""
        return attrs.evolve(
            chunk,
            scales=self.head.scales,
            folds=self._folds,
            groups=self._groups,
            fits=self._fits,
            reference_is_known=self._reference_is_known,
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
        head = self.head
        reference = None if self._reference_is_known else head.reference
        return SplitFinished(
            source=head.source,
            phase=head.phase,
            epoch=head.epoch,
            step=head.step,
            n=len(self._folds.sample_ids),
            layers=tuple(_without_samples(layer) for layer in head.layers),
            reference=None if reference is None else _without_samples(reference),
            num_classes=head.num_classes,
            statistics=statistics,
            subset=self._subset(),
            fits=self._fits,
            groups=self._groups,
            reference_is_known=self._reference_is_known,
        )

    def _subset(self) -> LayerActivations | None:
        if not self._parts:
            return None
        whole = joined(self._parts)
        return attrs.evolve(whole, folds=self._folds, groups=self._groups, fits=self._fits)


def _widths(chunk: LayerActivations) -> dict[str, int]:
    return {layer.name: layer.activations.shape[1] for layer in chunk.all_layers}


def _merged_fitting(a: Fitting | None, b: Fitting | None) -> Fitting | None:
    return a.merge(b) if a is not None and b is not None else a or b


def _merged_extremes(a: dict[str, Extremes], b: dict[str, Extremes]) -> dict[str, Extremes]:
    return a | {name: own.merge(a[name]) if name in a else own for name, own in b.items()}


def _without_samples(layer: Layer) -> Layer:
    return attrs.evolve(layer, activations=layer.activations[:0], scores=None, anchors=None)


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
