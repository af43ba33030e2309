"""What a metric is: its declaration, its options, and what it must offer.

A metric is written in one of two spellings under `@metric(...)`:

- a function of a `LayerView` (of two views for scope `pair`), whose options are keyword-only;
- a class that keeps a state, whose options are the keyword arguments of `__init__`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from itertools import takewhile
from operator import attrgetter
from typing import (
    Annotated,
    Any,
    Literal,
    Protocol,
    Self,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError, unknown
from cmp_core.events.view import LayerView
from cmp_core.plugins import registry
from cmp_core.runs.metric_info import Evidence, MetricInfo, Question
from cmp_core.statistics.interface import LayerStatistics
from cmp_core.statistics.split_sums import SUMS

Implementation = TypeVar("Implementation", bound=Callable[..., Any])
Scope = Literal["layer", "consecutive", "pair"]
MetricValue = float | Tensor | Mapping[str, float | Tensor | UndefinedError]
"""A number, a 0-d tensor, a vector (p,), or a mapping of sub-value names to such.

A sub-value may also be an `UndefinedError`, whose message is the reason why it alone is missing.
"""

Positive = Annotated[float, "above 0"]
"""The type of an option that must be a number above 0; checked when the metric is selected."""

PositiveInt = Annotated[int, "above 0"]
"""The type of an option that must be a whole number above 0."""


class MetricState(Protocol):
    """A metric over the samples seen so far; a new instance is the empty state.

    A metric that fits first and then scores declares `passes=2` and has two more methods:
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
        summary: first line of its docstring.
        scope: `layer`; `consecutive` for a layer and a neighbour that it needs; `pair` for a
            function of two views, whose value at a layer is that with the previous one, and which
            over a split also gives the matrix of all pairs, on the split's fixed subset.
        unit: such as `nats` or `fraction`; empty for a pure number.
        question: the research question that it helps to answer, or none.
        evidence: how the headline value takes part in that question's verdict: `rises` or `falls`
            where such a trend over depth says yes, `similarity` where it is 1 for two layers that
            are the same; none: it is shown beside the verdict.
        bounds: smallest and largest possible value.
        invariances: maps that leave the value as it is, of `orthogonal`, `scale`,
            `permute_units`, `permute_samples`, `symmetric`; every layer may be mapped its own way.
        passes: 2 for a class that fits in a first pass over a split and scores in a second.
        needs: what a view must have, as paths: `scores`, `anchors`, `next.scores`,
            `statistics.eigenvalues`, … A function that needs a statistic of second moments (the
            keys of `split_sums.SUMS`) gets it over the whole split.
        slow: measured over splits only, not on training batches, and dropped altogether by
            `enable_slow_metrics: false`.
        per_sample: the function returns one value per sample (n,), and the value is their mean,
            exact over any split; NaN marks a sample that has none. A function without it that
            needs no statistic of the whole split sees its samples at once: the batch, or the
            fixed subset of a split.
        vectorized: it is given several layers at once, see `StackedView`: what belongs to a layer
            has a first dimension of layers, be there one or many, and so must the value: (L,),
            (L, p), and (L, n) with `per_sample`.
        running: the class keeps one state for the whole run, updated by the measured training
            batches in their order: it is live only, and a split has no value.
        undefined: what it means when the value is not a finite number.
    """

    name: str
    implementation: Callable[..., Any]
    summary: str = ""
    scope: Scope = "layer"
    unit: str = ""
    question: Question | None = None
    evidence: Evidence | None = None
    bounds: tuple[float, float] = (float("-inf"), float("inf"))
    invariances: frozenset[str] = frozenset({"permute_samples"})
    passes: Literal[1, 2] = 1
    needs: tuple[str, ...] = ()
    slow: bool = False
    per_sample: bool = False
    vectorized: bool = False
    running: bool = False
    undefined: str = "the value is not a finite number"

    @cached_property
    def is_stateful(self) -> bool:
        """Whether the metric is a class that keeps a state."""
        return inspect.isclass(self.implementation)

    @cached_property
    def sums(self) -> frozenset[str]:
        """What is to be summed over a split for the metric, see `SUMS`."""
        if self.running:
            return frozenset()
        return frozenset().union(*(SUMS[name] for name in self._statistics if name in SUMS))

    @cached_property
    def whole_split_needs(self) -> tuple[str, ...]:
        """The statistics among the needs that are about all samples of a batch or split."""
        return tuple(name for name in self._statistics if name in SUMS and name != _PER_SAMPLE)

    @cached_property
    def _statistics(self) -> tuple[str, ...]:
        paths = (need.split(".") for need in self.needs)
        return tuple(path[-1] for path in paths if "statistics" in path[:-1])

    @cached_property
    def coverage(self) -> Literal["gathered", "sums", "subset", "running"]:
        """How a split is covered: chunk by chunk, by its sums, by its subset, or not at all."""
        if self.running:
            return "running"
        if self.is_stateful or self.per_sample:
            return "gathered"
        return "sums" if self.whole_split_needs else "subset"

    @cached_property
    def readings(self) -> tuple[int, ...]:
        """The readings of a split in which the metric takes samples in; it scores in a second."""
        if _PER_SAMPLE in self._statistics:
            return (2,)
        return (1, 2) if self.passes == 2 else (1,)

    @cached_property
    def neighbours(self) -> tuple[Callable[[LayerView], LayerView], ...]:
        """What the needs reach from a view, such as its `next`, or `next.next`."""
        paths = {
            ".".join(takewhile(("previous", "next").__contains__, need.split(".")))
            for need in self.needs
        }
        return tuple(attrgetter(path) for path in sorted(paths - {""}))

    @cached_property
    def neighbour(self) -> Literal["previous", "next"] | None:
        """Which neighbour the metric reads, by its scope or its needs."""
        if self.scope == "pair":
            return "previous"
        heads = {need.partition(".")[0] for need in self.needs}
        return "next" if "next" in heads else "previous" if "previous" in heads else None

    def __call__(self, label: str | None = None, **options: Any) -> Metric:
        """Return the metric with these options, under its own name or another label."""
        return Metric(self, label or self.name, options)

    def __attrs_post_init__(self) -> None:
        for problem in _mistakes(self):
            raise UsageError(f"@metric('{self.name}'): {problem}")


_PER_SAMPLE = "held_out_scores"
"""The statistic of single samples that rests on sums over the split, so it comes second."""

_INVARIANCES = ("orthogonal", "permute_samples", "permute_units", "scale", "symmetric")
_STATE_METHODS = ("update", "merge", "compute", "state_dict", "load_state_dict")


def _mistakes(definition: MetricDefinition) -> Iterator[str]:
    """Yield what is wrong with a declaration, before it is measured for the first time."""
    if _is(str, definition.needs):
        yield f"needs: expected a tuple of paths, such as ('{definition.needs}',)"
    if not (_is(tuple, definition.bounds) or _is(list, definition.bounds)):
        yield f"bounds: expected (smallest, largest), got {definition.bounds!r}"
    for what, value, known in (
        ("scope", definition.scope, get_args(Scope)),
        ("question", definition.question or "none", (*get_args(Question), "none")),
        ("evidence", definition.evidence or "none", (*get_args(Evidence), "none")),
    ):
        if value not in known:
            yield unknown(what, value, known)
    if not definition.bounds[0] < definition.bounds[1]:
        yield f"bounds: expected (smallest, largest), got {definition.bounds}"
    if definition.evidence is not None and definition.question is None:
        yield "evidence needs a question"
    if definition.passes not in (1, 2):
        yield f"passes: expected 1 or 2, got {definition.passes}"
    if definition.scope == "consecutive" and definition.neighbour is None:
        yield "scope consecutive: needs must name a neighbour, such as previous or next.scores"
    if "symmetric" in definition.invariances and definition.scope != "pair":
        yield "invariance symmetric is for metrics of scope pair"
    if definition.is_stateful:
        wanted = (*_STATE_METHODS, *(("fit", "score") if definition.passes == 2 else ()))
        if definition.running:
            wanted = tuple(name for name in wanted if name != "merge")
        missing = [name for name in wanted if not hasattr(definition.implementation, name)]
        if missing:
            yield f"the class lacks the methods {', '.join(missing)}"
        if definition.per_sample:
            yield "per_sample is for functions; a class keeps a state of its own"
    elif definition.passes == 2:
        yield "passes=2 needs a class with the methods update, fit, score and compute"
    for name in sorted(definition.invariances.difference(_INVARIANCES)):
        yield unknown("invariance", name, _INVARIANCES)
    if definition.running:
        if not definition.is_stateful:
            yield "running needs a class that keeps a state"
        if definition.readings != (1,) or definition.slow or definition.vectorized:
            yield "running excludes passes=2, slow, vectorized, and statistics.held_out_scores"
    if definition.passes == 2 and definition.readings == (2,):
        yield "held_out_scores are read in the second reading: they exclude passes=2"
    if definition.scope == "pair" and (definition.is_stateful or definition.per_sample):
        yield "scope pair is for functions of two views that return one value"
    if (definition.is_stateful or definition.per_sample) and not definition.running:
        for name in definition.whole_split_needs:
            yield f"statistics.{name} is about all samples: it needs a function without per_sample"
    elif definition.readings == (2,):
        yield "held_out_scores are about single samples: declare per_sample, or write a class"
    for need in definition.needs:
        yield from _mistakes_in_need(need)


def _is(kind: type, value: object) -> bool:
    """Return whether a value is of a kind; plugins may be written without a type checker."""
    return isinstance(value, kind)


def _mistakes_in_need(need: str) -> Iterator[str]:
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
    """Raise where an option is unknown, missing, of another type, or refused by the class."""
    definition = metric.definition
    keyword, either = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    kinds = (keyword, either) if definition.is_stateful else (keyword,)
    parameters = inspect.signature(definition.implementation).parameters.values()
    known = {p.name: p for p in parameters if p.kind in kinds}
    hints = _hints(definition)
    for option, value in options.items():
        if option not in known:
            raise UsageError(f"metric '{metric.label}': {unknown('option', option, known)}")
        if problem := _mistake_in_value(hints.get(option), value):
            raise UsageError(f"metric '{metric.label}': option '{option}': {problem}")
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            raise UsageError(f"metric '{metric.label}': option '{name}' has no default; give it")
    if definition.is_stateful:
        try:
            definition.implementation(**options)
        except (TypeError, ValueError) as error:
            raise UsageError(f"metric '{metric.label}': {error}") from error


def _hints(definition: MetricDefinition) -> dict[str, Any]:
    """Return the options' types by name, as far as they can be told."""
    implementation = definition.implementation
    function = implementation.__init__ if definition.is_stateful else implementation
    try:
        return get_type_hints(function, include_extras=True)
    except NameError:  # imported for type checkers only
        return {}


def _mistake_in_value(hint: Any, value: Any) -> str | None:
    """Return what is wrong with an option's value, for the types that are plain enough to check."""
    got = f"got {type(value).__name__} {value!r}"
    if get_origin(hint) is Literal and value not in get_args(hint):
        return f"expected one of {', '.join(map(str, get_args(hint)))}, {got}"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is Positive and not (is_number and 0 < value < float("inf")):
        return f"expected a number above 0, {got}"
    if hint is PositiveInt and not (is_number and isinstance(value, int) and value > 0):
        return f"expected a whole number above 0, {got}"
    if hint is float and not is_number:
        return f"expected a number, {got}"
    if hint is int and not (is_number and isinstance(value, int)):
        return f"expected a whole number, {got}"
    if hint in (bool, str) and not isinstance(value, hint):
        return f"expected {'true or false' if hint is bool else 'a text'}, {got}"
    return None


@attrs.frozen
class Metric:
    """A metric with its options and the label under which its values are logged.

    Raises:
        UsageError: the metric has no such option.
    """

    definition: MetricDefinition
    label: str
    options: Mapping[str, Any] = attrs.field(factory=dict, validator=_check_options)
    _needs: tuple[Callable[[LayerView], object], ...] = attrs.field(
        init=False,
        eq=False,
        repr=False,
        default=attrs.Factory(
            lambda self: tuple(attrgetter(need) for need in self.definition.needs), takes_self=True
        ),
    )

    def info(self) -> MetricInfo:
        """Return what a run directory says about the metric."""
        definition = self.definition
        return MetricInfo(
            label=self.label,
            metric=definition.name,
            summary=definition.summary,
            unit=definition.unit,
            question=definition.question,
            evidence=definition.evidence,
            bounds=definition.bounds,
            neighbour=definition.neighbour,
            options=self.options,
        )

    def call(self, *views: LayerView) -> Any:
        """Return the function's value on the views."""
        return self.definition.implementation(*views, **self.options)

    def new_state(self) -> MetricState:
        """Return an empty state of a stateful metric."""
        state: MetricState = self.definition.implementation(**self.options)
        return state

    def views_of(self, view: LayerView) -> tuple[LayerView, ...]:
        """Return what the metric takes at a layer: the view, for pairs the previous one first."""
        return (view.previous, view) if self.definition.scope == "pair" else (view,)

    def check_needs(self, view: LayerView) -> None:
        """Raise `UndefinedError` where the layer lacks what the metric needs."""
        for get in self._needs:
            get(view)


def metric(
    name: str,
    *,
    scope: Scope = "layer",
    unit: str = "",
    question: Question | None = None,
    evidence: Evidence | None = None,
    bounds: tuple[float, float] = (float("-inf"), float("inf")),
    invariances: frozenset[str] | set[str] = frozenset({"permute_samples"}),
    passes: Literal[1, 2] = 1,
    needs: tuple[str, ...] = (),
    slow: bool = False,
    per_sample: bool = False,
    vectorized: bool = False,
    running: bool = False,
    undefined: str = "the value is not a finite number",
) -> Callable[[Implementation], Implementation]:
    """Declare a function or class to be a metric; see `MetricDefinition` for the traits.

    The function or class stays what it is and gains an attribute `metric_definition`.

    >>> @metric("mean_activation", unit="activation", per_sample=True)
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
            summary=(inspect.getdoc(implementation) or "").partition("\n")[0],
            scope=scope,
            unit=unit,
            question=question,
            evidence=evidence,
            bounds=bounds,
            invariances=frozenset(invariances),
            passes=passes,
            needs=needs,
            slow=slow,
            per_sample=per_sample,
            vectorized=vectorized,
            running=running,
            undefined=undefined,
        )
        implementation.metric_definition = definition  # type: ignore[attr-defined]
        return implementation

    return declare


def definition_of(implementation: object) -> MetricDefinition:
    """Return what `@metric` has declared of a function or class.

    Raises:
        UsageError: it is not under the decorator.
    """
    definition: MetricDefinition = registry.definition_of(implementation, "metric")
    return definition
