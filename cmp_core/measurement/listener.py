"""How a selected metric is measured: it listens to activations and answers with results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, product, zip_longest
from operator import attrgetter
from typing import Any

import attrs
import torch
from torch import Tensor

from cmp_core.errors import UndefinedError, message_of
from cmp_core.events.activations import LayerActivations, LayerView, SplitFinished
from cmp_core.events.hookspecs import hookimpl
from cmp_core.events.results import MetricResult, SampleMean, SampleValues
from cmp_core.layers.arrays import precise
from cmp_core.layers.layer import Layer
from cmp_core.measurement.answer import MOST_NUMBERS, by_name, check_state, of_samples, on_device
from cmp_core.measurement.jackknife import influences, of_mean
from cmp_core.measurement.metric import Metric
from cmp_core.plugins.fence import is_built_in
from cmp_core.statistics.folds import Groups
from cmp_core.statistics.interface import LayerStatistics

_Place = tuple[str, str | None, bool]
"""Where a value belongs: the layer, the other one or none, and whether it is one of all pairs."""

_SLOW = "it is slow, and measured over whole splits only"
_EMPTY = "there are no samples"


class MetricListener:
    """The plugin that measures one selected metric."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.name = f"metric:{metric.label}"
        definition = metric.definition
        self._split, self._pass_indices = definition.split, definition.pass_indices
        self._is_pair, self._neighbour = definition.scope == "pair", definition.neighbour
        self._is_rescaled = "scale" in definition.invariances
        self.code = definition.implementation
        self._is_built_in = is_built_in(self)
        self._implementation = partial(definition.implementation, **metric.options)
        self._influence = definition.influence and partial(definition.influence, **metric.options)
        self._needs = [attrgetter(path) for path in _resolved(definition.needs)]
        self._is_fitted = bool(definition.fits)
        self._gathered: dict[str, _State] = {}
        self._by_half_fits: dict[str, _State] = {}
        self._by_group: list[dict[str, _State]] = []
        self._running: dict[str, _State] = {}

    @hookimpl
    def cmp_layer_activations(self, event: LayerActivations) -> list[MetricResult] | None:
        """Measure a batch at once; take in a chunk."""
        if self._split == "running":
            return self._of_batch(self._follow(event)) if event.part == "batch" else None
        if event.part == "batch":
            if self.metric.definition.slow:
                return self._missing_everywhere(event, _SLOW)
            return self._of_batch(self._at_once(event))
        if self._split in ("mean", "state") and event.pass_index in self._pass_indices:
            self._gather(self._gathered, event, event.pass_index)
            if self._is_fitted and event.by_half_fits is not None:
                self._gather(self._by_half_fits, event.by_half_fits, event.pass_index)
            if self._split == "state" and self._pass_indices == (1,):
                self._gather_by_group(event)
        return None

    @hookimpl
    def cmp_split_finished(self, event: SplitFinished) -> list[MetricResult]:
        """Return the values of the split."""
        subset = event.subset
        results: list[MetricResult] = []
        if self._split == "running":
            reason = "it follows the training batches of a live run; a split has no value"
            return self._missing_everywhere(event, reason)
        halves: list[MetricResult] = []
        if self._split in ("mean", "state"):
            finished, self._gathered = self._gathered, {}
            by_group, self._by_group = self._by_group, []
            results += self._computed(finished, event, by_group)
            finished, self._by_half_fits = self._by_half_fits, {}
            halves += self._computed(finished, event)
        elif self._split == "moments":
            results += self._at_once(event)
            self._add_influences(results, event, map(self._at_once, event.without_groups))
        elif subset is not None:
            # A function that writes into the samples must not spoil what it is called with again.
            again = subset.copy() if subset.groups and not self._influence else subset
            results += self._at_once(subset)
            if self._influence:
                self._add_own_influences(results, subset)
            else:
                self._add_influences(results, event, self._without_groups(again))
            if self._is_fitted and subset.by_half_fits is not None:
                halves += self._at_once(subset.by_half_fits)
        results += [attrs.evolve(half, by_half_fits=True) for half in halves]
        if self._is_pair and subset is not None:
            results += self._all_pairs(subset)
        return self._owned(results)

    def state_dict(self) -> dict[str, Any]:
        """Return what outlives a batch: the state of a running metric at every layer."""
        return {layer: state.inner.state_dict() for layer, state in self._running.items()}

    def checked_state(self) -> dict[str, Any]:
        """Return `state_dict`, if a checkpoint can hold it.

        Raises:
            TypeError: it holds something else than numbers, texts, tensors, and dicts and lists of
                these.
        """
        state = self.state_dict()
        check_state(state)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        for layer, own in state.items():
            self._running[layer] = self._new_state()
            self._running[layer].inner.load_state_dict(own)

    # Several processes

    def gathered(self) -> list[dict[str, Any]]:
        """Return the states so far, by layer: of all samples, by half the fits, of each group."""
        return [
            {layer: state.state_dict() for layer, state in states.items()}
            for states in (self._gathered, self._by_half_fits, *self._by_group)
        ]

    def take_gathered(self, of_all: Sequence[list[dict[str, Any]]], groups: Groups | None) -> None:
        """Take over, merged, what `gathered` has returned in all processes, in order of rank.

        Args:
            of_all: by process.
            groups: of the split, or none.
        """
        merged: list[dict[str, _State]] = []
        for of_layers in zip_longest(*of_all, fillvalue=dict[str, Any]()):
            states: dict[str, _State] = {}
            for layer, content in chain.from_iterable(own.items() for own in of_layers):
                state = self._new_state(groups)
                state.load_state_dict(content)
                states[layer] = states[layer].merge(state) if layer in states else state
            merged.append(states)
        self._gathered, self._by_half_fits, *self._by_group = merged

    # At once: a batch, a subset, or a finished split by its moments

    def _at_once(self, event: LayerActivations | SplitFinished) -> list[MetricResult]:
        """Measure every layer."""
        results: list[MetricResult] = []
        for view in self._views(event):
            results += self._measured(view, [self._place(view)])
        return results

    def _all_pairs(self, subset: LayerActivations) -> list[MetricResult]:
        """Measure the matrix of all pairs of layers; of a symmetric metric, each pair once."""
        is_symmetric = "symmetric" in self.metric.definition.invariances
        views = [self._view(subset, layer) for layer in subset.layers]
        results: list[MetricResult] = []
        for first, second in product(views, views):
            if is_symmetric and first.depth > second.depth:
                continue
            places: list[_Place] = [(first.name, second.name, True)]
            if is_symmetric and first.depth < second.depth:
                places.append((second.name, first.name, True))
            results += self._measured(second, places, first)
        return results

    def _measured(
        self, view: LayerView, places: Sequence[_Place], first: LayerView | None = None
    ) -> list[MetricResult]:
        n = view.n
        try:
            views = self._arguments(view, first)
            if not n:
                return self._missing(places, n, _EMPTY)
            values = self._values(views, n)
        except UndefinedError as error:
            return self._missing(places, n, message_of(error))
        return self._results(places, n, values)

    def _arguments(self, view: LayerView, first: LayerView | None = None) -> tuple[LayerView, ...]:
        """Return what the metric is called with at a layer.

        Raises:
            UndefinedError: something that the metric needs is not there.
        """
        views = (first or view.previous, view) if self._is_pair else (view,)
        for need in self._needs:
            for each in views:
                need(each)
        return views

    def _values(self, views: tuple[LayerView, ...], n: int) -> Mapping[str, Any]:
        """Return what the function or the class answers, by name; the headline's is empty."""
        if self._split in ("state", "running"):
            state = self._new_state()
            for pass_index in self._pass_indices:
                state.update(views, n, is_first=pass_index == self._pass_indices[0])
            return state.compute()
        values = by_name(self._implementation(*views))
        if self._split != "mean":
            return values
        return {name: SampleValues(of_samples(own, n)) for name, own in values.items()}

    # Chunk after chunk: classes, and functions of single samples, with a state for each layer

    def _new_state(self, groups: Groups | None = None) -> _State:
        if self._split == "mean":
            return _State(_Means(self._implementation, groups))
        return _State(self._implementation())

    def _gather(self, states: dict[str, _State], event: LayerActivations, pass_index: int) -> None:
        for view in self._views(event):
            state = states.get(view.name)
            if state is None:
                state = states[view.name] = self._new_state(event.groups)
            n = view.n
            if not n:  # many functions raise on no samples
                continue
            is_first = pass_index == self._pass_indices[0]
            try:
                views = self._arguments(view)
            except UndefinedError as error:
                state.fail(error, n, is_first=is_first)
            else:
                state.update(views, n, is_first=is_first)

    def _computed(
        self,
        states: dict[str, _State],
        event: LayerActivations | SplitFinished,
        by_group: Sequence[dict[str, _State]] = (),
    ) -> list[MetricResult]:
        """Return what the states of all layers give.

        Args:
            states: by layer.
            event: the batch or the split.
            by_group: the states of each group of samples by itself, for standard errors.
        """
        results: list[MetricResult] = []
        for view in self._views(event):
            state = states.get(view.name)
            if state is None:  # the metric has raised at a layer before it
                continue
            places = [self._place(view)]
            try:
                own = self._results(places, state.n, state.compute())
            except UndefinedError as error:
                results += self._missing(places, state.n, message_of(error))
                continue
            if isinstance(state.inner, _Means):
                self._add_sample_influences(own, state.inner)
            elif by_group and isinstance(event, SplitFinished):
                of_layer = [group.get(view.name) for group in by_group]
                rest = (self._results(places, 0, x) for x in _left_out(of_layer))
                self._add_influences(own, event, rest)
            results += own
        return results

    def _add_sample_influences(self, results: Sequence[MetricResult], means: _Means) -> None:
        influences_of = {self._named(name): values for name, values in means.values.items()}
        for result in results:
            if result.metric in influences_of:
                result.influence = of_mean(influences_of[result.metric])

    def _follow(self, event: LayerActivations) -> list[MetricResult]:
        """Update a running metric by a training batch, and read it."""
        if event.source != "live":
            reason = "it follows the training batches of a live run; this is a replay"
            return self._missing_everywhere(event, reason)
        for state in self._running.values():
            state.begin_batch()
        self._gather(self._running, event, 1)
        return self._computed(self._running, event)

    # Standard errors

    def _gather_by_group(self, event: LayerActivations) -> None:
        """Take in the samples of each group by itself."""
        for i, part in enumerate(event.by_group):
            if len(self._by_group) <= i:
                self._by_group.append({})
            if part is not None:
                self._gather(self._by_group[i], part, event.pass_index)

    def _without_groups(self, subset: LayerActivations) -> Iterator[list[MetricResult]]:
        """Yield the results of a subset without each group."""
        if subset.groups is not None:
            group_of = subset.groups.of(subset.sample_ids)
            for i in range(subset.groups.count):
                where = (group_of != i).nonzero()[:, 0]
                yield self._at_once(subset.select(where, "subset"))

    def _add_own_influences(
        self, results: Sequence[MetricResult], subset: LayerActivations
    ) -> None:
        """Add to results what the metric itself says about the influence of each sample."""
        if self._influence is None or subset.groups is None:
            return
        known = {result.layer for result in results if result.value is not None}
        by_place: dict[tuple[str, str], Tensor] = {}
        for view in self._views(subset):
            if view.name in known:
                values = by_name(self._influence(*self._arguments(view)))
                by_place |= {
                    (view.name, self._named(name)): of_samples(x, view.n)
                    for name, x in values.items()
                }
        for result in results:
            result.influence = by_place.get((result.layer, result.metric))

    @staticmethod
    def _add_influences(
        results: Sequence[MetricResult],
        event: SplitFinished,
        replicates: Iterable[Sequence[MetricResult]],
    ) -> None:
        """Add to results what leaving out each group makes of them; vectors have no errors."""
        numbers = [r for r in results if isinstance(r.value, Tensor) and not r.value.ndim]
        if not numbers:  # the replicates are made while they are read, and may be dear
            return
        known: dict[tuple[str, str], list[Any]] = {}
        for replicate in replicates:
            for result in replicate:
                known.setdefault((result.layer, result.metric), []).append(result.value)
        if not known or event.groups is None:
            return
        shares = event.groups.shares(event.groups.sample_ids)
        for result in numbers:
            others = known.get((result.layer, result.metric), [])
            if len(others) == len(shares):
                named = [{"": value} for value in others]
                result.influence = influences({"": result.value}, named, shares).get("")

    # Results

    def _views(self, event: LayerActivations | SplitFinished) -> Iterator[LayerView]:
        is_without = self._is_pair or event.reference_is_known
        for layer in event.layers if is_without else event.all_layers:
            yield self._view(event, layer)

    def _view(self, event: LayerActivations | SplitFinished, layer: Layer) -> LayerView:
        return LayerView(event, layer, is_rescaled=self._is_rescaled)

    def _place(self, view: LayerView) -> _Place:
        other = None if self._neighbour is None else view.name_of(self._neighbour)
        return view.name, other, False

    def _results(
        self, places: Sequence[_Place], n: int, values: Mapping[str, Any]
    ) -> list[MetricResult]:
        undefined, numbers = self.metric.definition.undefined, 0
        results: list[MetricResult] = []
        for name, value in values.items():
            named = self._named(name)
            if isinstance(value, UndefinedError):
                results += self._missing(places, n, message_of(value), named)
                continue
            own = on_device(value)
            numbers += own.numel() if isinstance(own, Tensor) else 1
            if numbers > MOST_NUMBERS:
                raise ValueError(f"expected at most {MOST_NUMBERS:,} numbers at a layer, got more")
            for layer, other, pair in places:
                results.append(MetricResult(layer, named, n, other, pair, own, undefined=undefined))
        return results

    def _named(self, name: str) -> str:
        """Return under which name a value is logged, given its own; the headline's is empty."""
        return f"{self.metric.label}_{name}" if name else self.metric.label

    def _of_batch(self, results: list[MetricResult]) -> list[MetricResult]:
        """Return results, which are read before a plugin that may change them is called again."""
        return results if self._is_built_in else self._owned(results)

    @staticmethod
    def _owned(results: list[MetricResult]) -> list[MetricResult]:
        """Copy what may be a view of the event, so that no plugin can change it any more."""
        alike: dict[Any, dict[int, list[MetricResult]]] = {}
        for result in results:
            value = result.value
            tensor = value.values if isinstance(value, SampleValues) else value
            if isinstance(tensor, Tensor):
                kind = type(value), tensor.shape, tensor.dtype, tensor.device
                alike.setdefault(kind, {}).setdefault(id(value), []).append(result)
        for (kind, *_), places in alike.items():
            is_samples = kind is SampleValues
            values: list[Any] = [shared[0].value for shared in places.values()]
            copies = torch.stack([value.values for value in values] if is_samples else values)
            for shared, copy in zip(places.values(), copies.unbind(), strict=True):
                for result in shared:
                    result.value = SampleValues(copy) if is_samples else copy
        return results

    def _missing(
        self, places: Sequence[_Place], n: int, reason: str, name: str | None = None
    ) -> list[MetricResult]:
        named = name or self.metric.label
        return [
            MetricResult(layer, named, n, other, pair, reason=reason)
            for layer, other, pair in places
        ]

    def _missing_everywhere(
        self, event: LayerActivations | SplitFinished, reason: str
    ) -> list[MetricResult]:
        return self._missing([(layer.name, None, False) for layer in event.layers], event.n, reason)


class _State:
    """The state of a metric at a layer, or the reason why there is none."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.n = inner, 0
        self.reason: str | None = None
        self._is_fitted = False

    def update(self, views: tuple[LayerView, ...], n: int, *, is_first: bool) -> None:
        """Take in n samples; in a second pass they are scored."""
        self.n += n if is_first else 0
        if self.reason is not None:
            return
        try:
            if is_first:
                self.inner.update(*views)
                return
            if not self._is_fitted:
                self.inner.fit()
                self._is_fitted = True
            self.inner.score(*views)
        except UndefinedError as error:
            self.reason = message_of(error)

    def fail(self, error: UndefinedError, n: int, *, is_first: bool) -> None:
        """Note why n samples cannot be taken in."""
        self.n += n if is_first else 0
        self.reason = self.reason or message_of(error)

    def compute(self) -> Mapping[str, Any]:
        """Return the values by name.

        Raises:
            UndefinedError: there are none.
        """
        if self.reason is not None or not self.n:
            raise UndefinedError(self.reason or _EMPTY)
        return by_name(self.inner.compute())

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain values and tensors."""
        return {"n": self.n, "reason": self.reason, "inner": self.inner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.n, self.reason = state["n"], state["reason"]
        self.inner.load_state_dict(state["inner"])

    def merge(self, other: _State) -> _State:
        """Return the state of both sets of samples."""
        merged = _State(self.inner)
        merged.n, merged.reason = self.n + other.n, self.reason or other.reason
        if merged.reason is None:
            merged.inner = self.inner.merge(other.inner)
        return merged

    def begin_batch(self) -> None:
        """Count samples from 0, and give an undefined layer another chance."""
        self.n, self.reason = 0, None


class _Means:
    """The state of a function that returns one value per sample, NaN where there is none."""

    def __init__(self, function: Any, groups: Groups | None) -> None:
        self._function, self._groups = function, groups
        self._totals: dict[str, Tensor] = {}
        self.values: dict[str, Tensor] = {}
        """Of all samples, (n,), where errors are wanted."""

    def update(self, *views: LayerView) -> None:
        for name, values in by_name(self._function(*views)).items():
            checked = of_samples(values, views[0].n)
            own = total_and_count(checked)
            self._totals[name] = self._totals[name] + own if name in self._totals else own
            if self._groups is not None:
                known = self.values.get(name)
                if known is None:
                    n = len(self._groups.sample_ids)
                    known = self.values[name] = checked.new_full((n,), torch.nan)
                known[self._groups.places(views[0].sample_ids)] = checked

    def state_dict(self) -> dict[str, Any]:
        return {"totals": self._totals, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._totals, self.values = state["totals"], state["values"]

    def merge(self, other: _Means) -> _Means:
        """Return the state of both sets of samples, of which each has NaN where it has none."""
        merged = _Means(self._function, self._groups)
        for mine, theirs, of_both, way in (
            (self._totals, other._totals, merged._totals, torch.add),
            (self.values, other.values, merged.values, _filled),
        ):
            of_both |= mine | theirs
            of_both |= {name: way(mine[name], theirs[name]) for name in mine.keys() & theirs.keys()}
        return merged

    def compute(self) -> dict[str, SampleMean]:
        if not self._totals:  # the function has raised each time
            raise UndefinedError(_EMPTY)
        return {name: SampleMean(total) for name, total in self._totals.items()}


def _filled(values: Tensor, others: Tensor) -> Tensor:
    """Return values with others in the places of NaN."""
    return torch.where(values.isnan(), others, values)


def _left_out(states: Sequence[_State | None]) -> Iterator[Mapping[str, Any]]:
    """Yield the values of all states but each one, merged; nothing where one has none."""
    known = [state.inner for state in states if state is not None and state.reason is None]
    if len(known) < len(states):
        return
    before, after = list(known[:1]), list(known[-1:])
    for state in known[1:-1]:
        before.append(before[-1].merge(state))
    for state in known[-2:0:-1]:
        after.append(state.merge(after[-1]))
    after.reverse()
    merged = [after[0], *(a.merge(b) for a, b in zip(before, after[1:], strict=False)), before[-1]]
    for state in merged:
        try:
            yield by_name(state.compute())
        except UndefinedError:
            return


def total_and_count(values: Tensor) -> Tensor:
    """Return the sum over samples of values (…, n) and how many there are, NaN left out, (…, 2)."""
    # Sums over a split of any length keep float64's digits where the device has them.
    total = values.nansum(dim=-1, dtype=precise(values.device))
    count = values.isnan().logical_not().sum(dim=-1)
    return torch.stack([total, count.to(total.dtype)], dim=-1)


def _resolved(needs: Sequence[str]) -> Iterator[str]:
    """Yield the paths that can be missing at a layer: methods of the statistics never are."""
    for need in needs:
        *path, name = need.split(".")
        if path and path[-1] == "statistics" and callable(vars(LayerStatistics).get(name)):
            path.pop()
            if path:
                yield ".".join(path)
        else:
            yield need
