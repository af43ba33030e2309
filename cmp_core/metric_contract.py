"""What a metric is: its declaration, what it sees of a layer, and how it says "undefined".

A metric is written in one of two spellings under `@metric(...)`:

- a function of a `LayerView` (of two views for scope `pair`), whose options are keyword-only;
- a class that keeps a state, whose options are the keyword arguments of `__init__`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, Literal, Protocol, Self, TypeVar, get_args

import attrs
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError, unknown
from cmp_core.events import INPUT, Layer, LayerActivations
from cmp_core.statistics import LayerStatistics

Implementation = TypeVar("Implementation", bound=Callable[..., Any])
Scope = Literal["layer", "consecutive", "pair"]
Question = Literal["predictive", "compressing", "different"]
MetricValue = float | Tensor | Mapping[str, float | Tensor]
"""A number, a 0-d tensor, a vector (p,), or a mapping of sub-value names to such."""

_DEFINITION = "metric_definition"


class LayerView:
    """What a metric sees of one layer; what the layer does not have raises `UndefinedError`."""

    def __init__(self, event: LayerActivations, layer: Layer) -> None:
        self._event = event
        self._layer = layer

    @property
    def name(self) -> str:
        """Name of the layer, such as `layer_0`."""
        return self._layer.name

    @property
    def depth(self) -> int:
        """Position of the layer, from 0; -1 for the input."""
        return self._layer.depth

    @property
    def activations(self) -> Tensor:
        """Activations (n, N)."""
        return self._layer.activations

    @property
    def scores(self) -> Tensor:
        """Scores (n, C), with softmax(scores) = q."""
        return self._required(self._layer.scores, "scores")

    @property
    def anchors(self) -> Tensor:
        """Class anchors (C, N)."""
        return self._required(self._layer.anchors, "anchors")

    @property
    def inputs(self) -> Tensor:
        """The network's inputs (n, d)."""
        return self._required(self._event.inputs, "inputs")

    @property
    def labels(self) -> Tensor:
        """Class labels (n,), int64."""
        return self._required(self._event.labels, "labels")

    @property
    def sample_ids(self) -> Tensor:
        """Sample ids (n,), int64."""
        return self._event.sample_ids

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self._event.num_classes

    @property
    def statistics(self) -> LayerStatistics:
        """Statistics that all metrics share."""
        return self._event.statistics[self.name]

    @property
    def previous(self) -> LayerView:
        """The layer before."""
        return self._neighbour(-1, "first")

    @property
    def next(self) -> LayerView:
        """The layer after."""
        return self._neighbour(+1, "last")

    def _neighbour(self, offset: int, end: str) -> LayerView:
        if self.name == INPUT:
            raise UndefinedError("the input is a reference and has no neighbours")
        position = self.depth + offset  # depths are positions: `probe` has checked the model
        if not 0 <= position < len(self._event.layers):
            raise UndefinedError(f"{self.name} is the {end} layer")
        return LayerView(self._event, self._event.layers[position])

    def _required(self, tensor: Tensor | None, what: str) -> Tensor:
        if tensor is None:
            raise UndefinedError(f"{self.name} has no {what}")
        return tensor


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
        scope: `layer`; `consecutive` for a layer and a neighbour; `pair` for all pairs.
        unit: such as `nats` or `fraction`; empty for a pure number.
        question: the research question that it helps to answer, or none.
        bounds: smallest and largest possible value.
        invariances: maps that leave the value as it is, of `orthogonal`, `scale`,
            `permute_units`, `permute_samples`, `symmetric`.
        passes: 2 for a class that fits in a first pass over a split and scores in a second.
        needs: what a view must have, as paths: `scores`, `anchors`, `next.scores`, …
        slow: dropped by `enable_slow_metrics: false`.
        per_sample: the function returns one value per sample (n,), and the value is their mean,
            exact over any split; NaN marks a sample that has none. Without it, a function sees
            its samples at once: the batch, or the fixed subset of a split.
    """

    name: str
    implementation: Callable[..., Any]
    summary: str = ""
    scope: Scope = "layer"
    unit: str = ""
    question: Question | None = None
    bounds: tuple[float, float] = (float("-inf"), float("inf"))
    invariances: frozenset[str] = frozenset({"permute_samples"})
    passes: Literal[1, 2] = 1
    needs: tuple[str, ...] = ()
    slow: bool = False
    per_sample: bool = False

    @property
    def is_stateful(self) -> bool:
        """Whether the metric is a class that keeps a state."""
        return inspect.isclass(self.implementation)

    @property
    def sees_all_at_once(self) -> bool:
        """Whether a split is measured on its fixed subset."""
        return not (self.is_stateful or self.per_sample)

    @property
    def neighbour(self) -> Literal["previous", "next"] | None:
        """Which neighbour the metric reads, by its needs."""
        heads = {need.partition(".")[0] for need in self.needs}
        return "next" if "next" in heads else "previous" if "previous" in heads else None

    def __call__(self, label: str | None = None, **options: Any) -> Metric:
        """Return the metric with these options, under its own name or another label."""
        return Metric(self, label or self.name, options)

    def __attrs_post_init__(self) -> None:
        for problem in _mistakes(self):
            raise UsageError(f"@metric('{self.name}'): {problem}")


_INVARIANCES = ("orthogonal", "permute_samples", "permute_units", "scale", "symmetric")
_STATE_METHODS = ("update", "merge", "compute", "state_dict", "load_state_dict")


def _mistakes(definition: MetricDefinition) -> Iterator[str]:
    """Yield what is wrong with a declaration, before it is measured for the first time."""
    for what, value, known in (
        ("scope", definition.scope, get_args(Scope)),
        ("question", definition.question or "none", (*get_args(Question), "none")),
    ):
        if value not in known:
            yield unknown(what, value, known)
    if not definition.bounds[0] < definition.bounds[1]:
        yield f"bounds: expected (smallest, largest), got {definition.bounds}"
    if definition.passes not in (1, 2):
        yield f"passes: expected 1 or 2, got {definition.passes}"
    if definition.scope == "consecutive" and definition.neighbour is None:
        yield "scope consecutive: needs must name a neighbour, such as previous or next.scores"
    if "symmetric" in definition.invariances and definition.scope != "pair":
        yield "invariance symmetric is for metrics of scope pair"
    if definition.is_stateful:
        wanted = (*_STATE_METHODS, *(("fit", "score") if definition.passes == 2 else ()))
        missing = [name for name in wanted if not hasattr(definition.implementation, name)]
        if missing:
            yield f"the class lacks the methods {', '.join(missing)}"
        if definition.per_sample:
            yield "per_sample is for functions; a class keeps a state of its own"
    elif definition.passes == 2:
        yield "passes=2 needs a class with the methods update, fit, score and compute"
    for name in sorted(definition.invariances.difference(_INVARIANCES)):
        yield unknown("invariance", name, _INVARIANCES)
    for need in definition.needs:
        *neighbours, what = need.split(".")
        for name in neighbours:
            if name not in ("previous", "next"):
                yield unknown("need", need, ("previous", "next"))
        if not isinstance(getattr(LayerView, what, None), property):
            properties = [name for name, _ in inspect.getmembers(LayerView, _is_property)]
            yield unknown("need", need, properties)


def _is_property(member: object) -> bool:
    return isinstance(member, property)


def _check_options(metric: Metric, _: Any, options: Mapping[str, Any]) -> None:
    """Raise where an option is unknown, missing, or refused by the class."""
    definition = metric.definition
    keyword, either = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    kinds = (keyword, either) if definition.is_stateful else (keyword,)
    parameters = inspect.signature(definition.implementation).parameters.values()
    known = {p.name: p for p in parameters if p.kind in kinds}
    for option in options:
        if option not in known:
            raise UsageError(f"metric '{metric.label}': {unknown('option', option, known)}")
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            raise UsageError(f"metric '{metric.label}': option '{name}' has no default; give it")
    if definition.is_stateful:
        try:
            definition.implementation(**options)
        except (TypeError, ValueError) as error:
            raise UsageError(f"metric '{metric.label}': {error}") from error


@attrs.frozen
class Metric:
    """A metric with its options and the label under which its values are logged.

    Raises:
        UsageError: the metric has no such option.
    """

    definition: MetricDefinition
    label: str
    options: Mapping[str, Any] = attrs.field(factory=dict, validator=_check_options)

    def call(self, *views: LayerView) -> Any:
        """Return the function's value on the views."""
        return self.definition.implementation(*views, **self.options)

    def new_state(self) -> MetricState:
        """Return an empty state of a stateful metric."""
        state: MetricState = self.definition.implementation(**self.options)
        return state

    def check_needs(self, view: LayerView) -> None:
        """Raise `UndefinedError` where the layer lacks what the metric needs."""
        for need in self.definition.needs:
            attrgetter(need)(view)


def metric(
    name: str,
    *,
    scope: Scope = "layer",
    unit: str = "",
    question: Question | None = None,
    bounds: tuple[float, float] = (float("-inf"), float("inf")),
    invariances: frozenset[str] | set[str] = frozenset({"permute_samples"}),
    passes: Literal[1, 2] = 1,
    needs: tuple[str, ...] = (),
    slow: bool = False,
    per_sample: bool = False,
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

    def declare(implementation: Implementation) -> Implementation:
        definition = MetricDefinition(
            name=name,
            implementation=implementation,
            summary=(inspect.getdoc(implementation) or "").partition("\n")[0],
            scope=scope,
            unit=unit,
            question=question,
            bounds=bounds,
            invariances=frozenset(invariances),
            passes=passes,
            needs=needs,
            slow=slow,
            per_sample=per_sample,
        )
        setattr(implementation, _DEFINITION, definition)
        return implementation

    return declare


def definition_of(implementation: object) -> MetricDefinition:
    """Return what `@metric` has declared of a function or class.

    Raises:
        UsageError: it is not under the decorator.
    """
    definition = getattr(implementation, _DEFINITION, None)
    if not isinstance(definition, MetricDefinition):
        name = getattr(implementation, "__name__", repr(implementation))
        raise UsageError(f"'{name}' is not declared to be a metric: put @metric(...) above it")
    return definition
