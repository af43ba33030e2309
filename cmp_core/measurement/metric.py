"""What a metric is: its declaration, and what it must offer.

A metric is written in one of two spellings under `@metric(...)`:

- a function of a `LayerView` (of two views for scope `pair`), whose options are keyword-only;
- a class that keeps a state, whose options are the keyword arguments of `__init__`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, Literal, Protocol, Self, TypeVar, get_args

import attrs
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError, unknown
from cmp_core.events.activations import LayerView
from cmp_core.measurement.options import check_options
from cmp_core.plugins import registry
from cmp_core.runs.metric_info import Evidence, MetricInfo, Question, is_fraction, is_margin
from cmp_core.statistics.interface import FITS, SUMS, LayerStatistics
from cmp_core.text import in_one_line

Implementation = TypeVar("Implementation", bound=Callable[..., Any])
Scope = Literal["layer", "consecutive", "pair"]
Split = Literal["mean", "moments", "subset", "state", "running"]

SPLITS: Mapping[Split, str] = {
    "mean": "the mean of one value per sample, over all samples",
    "moments": "one call with the statistics of all samples",
    "subset": "one call with a fixed subset of at most 2,048 samples",
    "state": "a state that is updated by all samples, chunk by chunk",
    "running": "no value; a state that is updated by the training batches of a live run",
}
"""How a metric may read a split."""

MetricValue = float | Tensor | Mapping[str, float | Tensor | UndefinedError]
"""A number, a 0-d tensor, a vector (p,), or a mapping of sub-value names to such.

A sub-value may also be an `UndefinedError`, whose message is the reason why it alone is missing.
"""


class MetricState(Protocol):
    """A metric over the samples seen so far; a new instance is the empty state.

    A metric that takes two passes over the samples declares `passes=2` and has two more methods:
    `fit()`, called between the passes, and `score(view)`, called like `update` in the second.
    """

    def update(self, *views: LayerView) -> None:
        """Take in a chunk of samples."""
        ...

    def merge(self, other: Self) -> Self:
        """Return the state of both sets of samples; change neither side."""
        ...

    def compute(self) -> MetricValue:
        """Return the value; raise `UndefinedError` where there is none."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain values and tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        ...


@attrs.frozen
class MetricDefinition:
    """A metric as declared with `@metric`; calling it with options gives the metric to measure.

    Raises:
        UsageError: the declaration contradicts itself.

    Attributes:
        name: the name under which it is selected and logged.
        implementation: the function or class.
        split: how a split is read, a key of `SPLITS`; a batch is read at once in every case.
            `mean`: the function returns one value per sample (n,), NaN for a sample that has none.
            `moments`: it is called once, sees no samples, and reads the statistics that its needs
            name. `subset`: it is called once, on a subset that is chosen by a hash of the sample
            ids. `state`: for classes, see `MetricState`. `running`: for classes with one state for
            the whole run, saved in checkpoints.
        summary: first line of its docstring.
        scope: `layer`; `consecutive` for a layer and a neighbour that it needs; `pair` for a
            function of two views, whose value at a layer is that with the previous one, and which
            over a split also gives the matrix of all pairs, on the split's fixed subset.
        unit: such as `nats` or `fraction`; empty for a pure number.
        question: the research question that it helps to answer, or none.
        evidence: how the headline value takes part in that question's verdict: `rises` or `falls`
            where such a trend over depth says yes, `similarity` where it is 1 for two layers that
            are the same; none: it is shown beside the verdict.
        margin: for evidence: the smallest effect that matters, where it is not the usual one: of
            `rises` in the metric's unit (.01), of `falls` as a share of the first layer's value
            (.05), of `similarity` of 1 - value (.05).
        bounds: smallest and largest possible value.
        invariances: maps that leave the value as it is, of `orthogonal`, `scale`,
            `permute_units`, `permute_samples`, `symmetric`, and `affine`, an invertible map and an
            offset, of values over a split alone; every layer may be mapped its own way.
        passes: 2 for a class that takes two passes over the same samples of a split.
        needs: what a view must have, as paths: `scores`, `anchors`, `next.scores`,
            `statistics.eigenvalues`, …; where it lacks one, the value is missing with the reason.
        slow: measured over splits only, not on training batches, and dropped altogether by
            `enable_slow_metrics: false`.
        undefined: what it means when the value is not a finite number.
        influence: for split `subset`: called like the function, returns how much each sample moves
            the value, (n,), or a mapping of sub-value names to such: the derivative of the value by
            the weight of the sample, times n. Otherwise the function is called again without each
            of 20 groups of samples.
    """

    name: str
    implementation: Callable[..., Any]
    split: Split
    summary: str = ""
    scope: Scope = "layer"
    unit: str = ""
    question: Question | None = None
    evidence: Evidence | None = None
    margin: float | None = None
    bounds: tuple[float, float] = (float("-inf"), float("inf"))
    invariances: frozenset[str] = frozenset({"permute_samples"})
    passes: Literal[1, 2] = 1
    needs: tuple[str, ...] = ()
    slow: bool = False
    undefined: str = "the value is not a finite number"
    influence: Callable[..., Tensor | Mapping[str, Tensor]] | None = None

    @cached_property
    def sums(self) -> frozenset[str]:
        """What is summed over a split for the metric, see `rests_on`."""
        if self.split in ("subset", "running"):
            return frozenset()
        return frozenset().union(*(SUMS.get(name, ()) for name in self.statistics))

    @cached_property
    def fits(self) -> frozenset[str]:
        """What is fitted for the metric to score a split by, see `fitted_to`."""
        return frozenset().union(*(FITS.get(name, ()) for name in self.statistics))

    @cached_property
    def statistics(self) -> tuple[str, ...]:
        """The statistics that the needs name."""
        paths = (need.split(".") for need in self.needs)
        return tuple(path[-1] for path in paths if "statistics" in path[:-1])

    @cached_property
    def pass_indices(self) -> tuple[int, ...]:
        """The passes over a split in which the metric takes samples in, of 1 and 2."""
        return (1, 2) if self.passes == 2 else (1,)

    @cached_property
    def neighbour(self) -> Literal["previous", "next"] | None:
        """Which neighbour the metric reads, by its scope or its needs."""
        if self.scope == "pair":
            return "previous"
        heads = {need.partition(".")[0] for need in self.needs}
        return "next" if "next" in heads else "previous" if "previous" in heads else None

    @cached_property
    def is_comparable(self) -> bool:
        """Whether values of different models are on one scale.

        Fractions are; so is what no scale of the activations changes, and is not read off a layer's
        own scores or anchors.
        """
        of_anchors = any(need.split(".")[-1] in ("scores", "anchors") for need in self.needs)
        return is_fraction(self.unit) or ("scale" in self.invariances and not of_anchors)

    def __call__(self, label: str | None = None, **options: Any) -> Metric:
        """Return the metric with these options, under its own name or another label."""
        return Metric(self, label or self.name, options)

    def __attrs_post_init__(self) -> None:
        for problem in _mistakes(self):
            raise UsageError(f"@metric('{self.name}'): {problem}")


_INVARIANCES = ("affine", "orthogonal", "permute_samples", "permute_units", "scale", "symmetric")
_STATE_METHODS = ("update", "merge", "compute", "state_dict", "load_state_dict")
_OF_SAMPLES = ("activations", "scores", "anchors", "inputs", "labels", "sample_ids")


def _mistakes(definition: MetricDefinition) -> Iterator[str]:
    """Yield what is wrong with a declaration, before it is measured for the first time."""
    if _is(str, definition.needs):
        yield f"needs: expected a tuple of paths, such as ('{definition.needs}',)"
    if not (_is(tuple, definition.bounds) or _is(list, definition.bounds)):
        yield f"bounds: expected (smallest, largest), got {definition.bounds!r}"
    for what, value, known in (
        ("split", definition.split, get_args(Split)),
        ("scope", definition.scope, get_args(Scope)),
        ("question", definition.question or "none", (*get_args(Question), "none")),
        ("evidence", definition.evidence or "none", (*get_args(Evidence), "none")),
    ):
        if value not in known:
            yield unknown(what, str(value), known)
    if not definition.bounds[0] < definition.bounds[1]:
        yield f"bounds: expected (smallest, largest), got {definition.bounds}"
    if definition.evidence is not None and definition.question is None:
        yield "evidence needs a question"
    if definition.evidence == "similarity" and definition.neighbour is None:
        yield "evidence similarity: needs must name the neighbour, such as previous or next.scores"
    if definition.margin is not None:
        if definition.evidence is None:
            yield "margin needs evidence"
        elif not is_margin(definition.margin, definition.evidence, definition.unit):
            yield f"margin: expected a number above 0, of shares below 1, got {definition.margin!r}"
    if definition.passes not in (1, 2):
        yield f"passes: expected 1 or 2, got {definition.passes}"
    if definition.scope == "consecutive" and definition.neighbour is None:
        yield "scope consecutive: needs must name a neighbour, such as previous or next.scores"
    for name in sorted(definition.invariances.difference(_INVARIANCES)):
        yield unknown("invariance", name, _INVARIANCES)
    if "symmetric" in definition.invariances and definition.scope != "pair":
        yield "invariance symmetric is for metrics of scope pair"
    if definition.influence is not None and definition.split != "subset":
        yield "influence is for functions under split='subset'"
    if definition.scope == "pair" and definition.split not in ("moments", "subset"):
        yield "scope pair is for functions of two views under split='moments' or 'subset'"
    yield from _mistakes_in_spelling(definition)
    for need in definition.needs:
        yield from _mistakes_in_path(need)
    yield from _mistakes_in_split(definition)


def _mistakes_in_spelling(definition: MetricDefinition) -> Iterator[str]:
    """Yield where a function is declared as what a class is, or a class lacks methods."""
    is_class = inspect.isclass(definition.implementation)
    if is_class != (definition.split in ("state", "running")):
        kind, fitting = (
            ("class", "'state' or 'running'")
            if is_class
            else ("function", "'mean', 'moments' or 'subset'")
        )
        yield f"split='{definition.split}' does not fit a {kind}: declare {fitting}"
    if definition.passes == 2 and definition.split != "state":
        yield "passes=2 needs a class with the methods update, fit, score and compute"
    if is_class:
        wanted = [*_STATE_METHODS, *(("fit", "score") if definition.passes == 2 else ())]
        if definition.split == "running":
            wanted.remove("merge")
        missing = [name for name in wanted if not hasattr(definition.implementation, name)]
        if missing:
            yield f"the class lacks the methods {', '.join(missing)}"


def _mistakes_in_split(definition: MetricDefinition) -> Iterator[str]:
    """Yield where what the metric needs is not there in the way in which it reads a split."""
    split, named = definition.split, definition.statistics
    moments = [name for name in named if name in SUMS]
    of_fits = [name for name in named if name in FITS]
    of_all = [name for name in named if callable(vars(LayerStatistics).get(name))]
    if split == "running" and (of_fits or definition.slow):
        yield "split='running' excludes slow, and statistics that are held out"
    if split in ("mean", "state"):
        for name in (name for name in of_all if name not in (*of_fits, "folds")):
            yield (
                f"statistics.{name} is about all samples together, which split='{split}' does not "
                f"see: declare split='{'moments' if name in moments else 'subset'}'"
            )
    if split == "moments":
        if not moments:
            yield (
                "split='moments' reads statistics of all samples: needs must name them, such as "
                "needs=('statistics.variance',)"
            )
        of_samples = [need for need in definition.needs if need.split(".")[-1] in _OF_SAMPLES]
        of_samples += [f"statistics.{name}" for name in named if name not in moments]
        for need in of_samples:
            yield f"split='moments' sees no samples, but {need} is about them: declare 'subset'"


def _is(kind: type, value: object) -> bool:
    """Return whether a value is of a kind; plugins may be written without a type checker."""
    return isinstance(value, kind)


def _mistakes_in_path(need: str) -> Iterator[str]:
    *path, what = need.split(".")
    owner: type = LayerView
    if path and path[-1] == "statistics":
        path.pop()
        owner = LayerStatistics
    for name in path:
        if name not in ("previous", "next"):
            yield unknown("need", need, ("previous", "next", "statistics"))
    known = [name for name in dir(owner) if not name.startswith("_")]
    if what not in known:
        yield unknown("need", what, known)


def _check_options(metric: Metric, _: Any, options: Mapping[str, Any]) -> None:
    check_options(metric.definition.implementation, options, f"metric '{metric.label}'")


@attrs.frozen
class Metric:
    """A metric with its options and the label under which its values are logged.

    Raises:
        UsageError: the metric has no such option.
    """

    definition: MetricDefinition
    label: str
    options: Mapping[str, Any] = attrs.field(factory=dict, validator=_check_options)

    def info(self, margin: float | None = None) -> MetricInfo:
        """Return what a run directory says about the metric, and the margin that it states."""
        definition = self.definition
        return MetricInfo(
            label=self.label,
            metric=definition.name,
            summary=definition.summary,
            unit=definition.unit,
            question=definition.question,
            evidence=definition.evidence,
            margin=definition.margin if margin is None else margin,
            bounds=definition.bounds,
            neighbour=definition.neighbour,
            comparable=definition.is_comparable,
            options=self.options,
        )


def metric(
    name: str,
    *,
    split: Split | None = None,
    scope: Scope = "layer",
    unit: str = "",
    question: Question | None = None,
    evidence: Evidence | None = None,
    margin: float | None = None,
    bounds: tuple[float, float] = (float("-inf"), float("inf")),
    invariances: frozenset[str] | set[str] = frozenset({"permute_samples"}),
    passes: Literal[1, 2] = 1,
    needs: tuple[str, ...] = (),
    slow: bool = False,
    undefined: str = "the value is not a finite number",
    influence: Callable[..., Tensor | Mapping[str, Tensor]] | None = None,
) -> Callable[[Implementation], Implementation]:
    """Declare a function or class to be a metric; see `MetricDefinition` for the traits.

    Without `split` a function reads a split's fixed subset, and a class all of its samples
    (`state`); a function whose needs name a statistic of a split must say which way it means. The
    function or class stays what it is and gains an attribute `metric_definition`.

    >>> @metric("mean_activation", unit="activation", split="mean")
    ... def mean_activation(view):
    ...     '''Mean activation of a layer.'''
    ...     return view.activations.mean(dim=1)
    >>> definition_of(mean_activation).summary
    'Mean activation of a layer.'
    """

    if _is(str, invariances):
        raise UsageError(f"@metric('{name}'): invariances: expected a set, got '{invariances}'")

    def declare(implementation: Implementation) -> Implementation:
        definition = MetricDefinition(
            name=name,
            implementation=implementation,
            split=split or _default_split(name, implementation, needs),
            summary=in_one_line(inspect.getdoc(implementation) or ""),
            scope=scope,
            unit=unit,
            question=question,
            evidence=evidence,
            margin=margin,
            bounds=bounds,
            invariances=frozenset(invariances),
            passes=passes,
            needs=needs,
            slow=slow,
            undefined=undefined,
            influence=influence,
        )
        implementation.metric_definition = definition  # type: ignore[attr-defined]
        return implementation

    return declare


def _default_split(name: str, implementation: object, needs: tuple[str, ...]) -> Split:
    """Return how a metric reads a split that does not say so.

    Raises:
        UsageError: it can be read in several ways, which give different values.
    """
    if inspect.isclass(implementation):
        return "state"
    for need in () if _is(str, needs) else needs:
        owner, _, statistic = need.rpartition(".")
        if owner.endswith("statistics") and statistic in {**SUMS, **FITS}:
            ways = "'mean'" if statistic in FITS else "'moments' (exact) or 'subset'"
            raise UsageError(f"@metric('{name}'): needs name {need}: declare split={ways}")
    return "subset"


def definition_of(implementation: object) -> MetricDefinition:
    """Return what `@metric` has declared of a function or class.

    Raises:
        UsageError: it is not under the decorator.
    """
    definition: MetricDefinition = registry.definition_of(implementation, "metric")
    return definition
