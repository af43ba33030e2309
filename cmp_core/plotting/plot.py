"""What a plot is: its declaration, what it may be asked for, and what it is given to draw."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2s
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

from cmp_core.analysis.comparison import Comparison, comparisons_of
from cmp_core.analysis.crossed import Estimate
from cmp_core.analysis.questions import Answer, answer
from cmp_core.analysis.values import estimate_at
from cmp_core.config.schema import Selection
from cmp_core.console import warn
from cmp_core.errors import ConfigError, UndefinedError, UsageError, unknown
from cmp_core.plugins.loader import Plugins, load_plugins
from cmp_core.plugins.selection import select
from cmp_core.runs.log import PHASES
from cmp_core.runs.metric_info import Question
from cmp_core.runs.record import RunRecord
from cmp_core.runs.replicates import ReplicateGroup, RunSet
from cmp_core.text import in_one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Implementation = TypeVar("Implementation", bound=Callable[..., Any])

CHOICES = ("metric", "pairs", "layer", "phase", "normalized")
"""What a file name may have in braces: the plot is drawn once for each.

`metric` stands for a value at layers, `pairs` for a metric's matrices over all pairs of layers.
"""


@attrs.frozen(eq=False)
class PlotView:
    """What a plot is given: runs, and what is to be drawn of them.

    Attributes:
        run_set: the runs; `runs` and `groups` are its own.
        metric, layer, phase: what the file name has in braces, otherwise empty; `metric` of
            `{pairs}` as well, and `phase` is one of `PHASES`.
        normalized: whether shares are asked for instead of counts.
        question: for plots that answer the research questions: the only one to be drawn, or none.
    """

    run_set: RunSet
    metric: str = ""
    layer: str = ""
    phase: str = "val"
    normalized: bool = False
    question: Question | None = None

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """The runs, at least one."""
        return self.run_set.runs

    @property
    def groups(self) -> tuple[ReplicateGroup, ...]:
        """The runs by experiment: those that differ by seed alone stand together."""
        return self.run_set.groups

    @property
    def run(self) -> RunRecord:
        """The only run.

        Raises:
            UndefinedError: there are several.
        """
        if len(self.runs) > 1:
            raise UndefinedError("it shows one run, and there are several")
        return self.runs[0]

    def answer(self, group: ReplicateGroup, question: Question) -> Answer:
        """Return the statistical answer of a group of runs to a research question."""
        return answer(group.runs, question)

    def estimate(
        self,
        group: ReplicateGroup,
        metric: str,
        layer: str,
        weights: Literal["tested", "untrained"] = "tested",
    ) -> Estimate | None:
        """Return a group's value in `phase` with its standard error, none where it has none."""
        return estimate_at(group.runs, metric, self.phase, layer, weights)

    def comparisons(self) -> tuple[Comparison, ...]:
        """Return how each group of runs but the first differs from it, layer by layer."""
        return comparisons_of(self.run_set)


@attrs.frozen
class PlotDefinition:
    """A plot as declared with `@plot`; calling it with options gives the plot to draw.

    Raises:
        UsageError: the declaration contradicts itself.

    Attributes:
        name: the type under which it is asked for.
        implementation: the function of a `PlotView` that returns a matplotlib figure, and raises
            `UndefinedError` with the reason where there is nothing to draw.
        file: name of the file without its suffix. It is drawn once for each of what stands in
            braces: `{metric}` or `{pairs}`, `{layer}`, `{phase}`, `{normalized}`.
        pairs: the metric of pairs whose files have no name of a metric: `{pairs}` is empty for it,
            and `_NAME` for every other.
        runs: `several` where it compares runs.
        answers: whether the report shows it: for each research question by itself, or where it
            compares runs, for how experiments differ.
        standard: whether `cmp run` draws it without being asked to.
        in_report: whether the report shows it, of what came out.
        summary: first line of its docstring.
    """

    name: str
    implementation: Callable[[PlotView], Figure]
    file: str
    runs: Literal["any", "several"] = "any"
    answers: bool = False
    pairs: str = ""
    standard: bool = False
    in_report: bool = False
    summary: str = ""

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """What it can be asked for, of `CHOICES`."""
        return tuple(field for _, field, _, _ in Formatter().parse(self.file) if field)

    @property
    def is_of_questions(self) -> bool:
        """Whether it answers the research questions."""
        return self.answers and self.runs == "any"

    def __call__(self, label: str | None = None, **options: Any) -> Plot:
        """Return the plot with these options."""
        return Plot(self, label or self.name, options)

    def __attrs_post_init__(self) -> None:
        if not self.file:
            raise UsageError(f"@plot('{self.name}'): file: expected a name, without suffix")
        for _, choice, form, conversion in Formatter().parse(self.file):
            if choice is not None and (choice not in CHOICES or form or conversion):
                raise UsageError(
                    f"@plot('{self.name}'): file: {unknown('choice', choice, CHOICES)}"
                )
        if {"metric", "pairs"} <= set(self.choices):
            raise UsageError(f"@plot('{self.name}'): file: expected {{metric}} or {{pairs}}")
        if self.pairs and "pairs" not in self.choices:
            raise UsageError(f"@plot('{self.name}'): pairs: expected {{pairs}} in its file name")


def _check_options(plot: Plot, _: Any, options: Mapping[str, Any]) -> None:
    """Raise where an option is not one of the plot's choices, or has a wrong value."""
    known = [_OPTIONS[choice] for choice in plot.definition.choices]
    for option, value in options.items():
        if option not in known:
            takes = f"{plot.label} takes no options" if not known else ""
            problem = takes or unknown("option", option, known)
            raise UsageError(f"plot '{plot.label}': {problem}")
        if option == "normalize":
            if not isinstance(value, bool):
                raise UsageError(f"plot '{plot.label}': normalize: expected true or false")
        elif not value or not all(isinstance(name, str) for name in _as_list(value)):
            raise UsageError(f"plot '{plot.label}': {option}: expected a name or a list of names")
        elif option == "phase" and (wrong := set(_as_list(value)).difference(PHASES)):
            raise UsageError(f"plot '{plot.label}': {unknown('phase', min(wrong), PHASES)}")


_LONGEST = 200
"""Bytes of a file's name; most file systems allow 255, of which some are for a temporary name."""

_OPTIONS = {
    "metric": "metric",
    "pairs": "metric",
    "layer": "layer",
    "phase": "phase",
    "normalized": "normalize",
}
"""The option that makes each choice."""


@attrs.frozen
class Plot:
    """A plot with its options: `metric`, `layer`, `phase` (a name or a list), and `normalize`.

    Raises:
        UsageError: the plot has no such option, or its value is wrong.
    """

    definition: PlotDefinition
    label: str
    options: Mapping[str, Any] = attrs.field(factory=dict, validator=_check_options)

    def views(self, runs: RunSet) -> Iterator[PlotView]:
        """Yield what is to be drawn of some runs.

        Without options: every headline metric, or every metric of pairs, the output layer, the
        validation split, and both counts and shares.

        Raises:
            UsageError: a metric or layer is asked for that no run has.
            UndefinedError: it compares runs, and there is one.
        """
        if self.definition.runs == "several" and len(runs.runs) < 2:
            raise UndefinedError("it compares runs, and there is one")
        choices = self.definition.choices
        for metric in self._metrics(runs):
            for layer in self._layers(runs) if "layer" in choices else ("",):
                for phase in self._asked("phase") or ("val",):
                    for normalized in self._normalized() if "normalized" in choices else (False,):
                        yield PlotView(runs, metric, layer, phase, normalized)

    def with_what_it_takes(self, options: Mapping[str, Any]) -> Plot:
        """Return the plot with those of some options that it has.

        The metrics are those of values at layers: matrices are drawn of all metrics that have any.
        """
        mine = {_OPTIONS[choice] for choice in self.definition.choices if choice != "pairs"}
        taken = {name: value for name, value in options.items() if name in mine}
        return attrs.evolve(self, options={**self.options, **taken})

    def file_name(self, view: PlotView) -> str:
        """Return the name of a view's file, without its suffix.

        Where characters had to be replaced, or it is long, it ends with a hash: `a/b` is not `a_b`.
        """
        name = self.definition.file.format(
            metric=view.metric,
            pairs="" if view.metric == self.definition.pairs else f"_{view.metric}",
            layer=view.layer,
            phase=view.phase,
            normalized="_normalized" if view.normalized else "",
        )
        safe = "".join("_" if c in "/\\:" or not c.isprintable() else c for c in name)
        whole = safe.encode()
        if safe == name and len(whole) <= _LONGEST:
            return name
        ending = blake2s(name.encode(errors="backslashreplace"), digest_size=4).hexdigest()
        return f"{whole[:_LONGEST].decode(errors='ignore')}_{ending}"

    def _asked(self, option: str) -> tuple[str, ...]:
        return tuple(_as_list(self.options.get(option, ())))

    def _metrics(self, runs: RunSet) -> tuple[str, ...]:
        choices, asked = self.definition.choices, self._asked("metric")
        if "metric" not in choices and "pairs" not in choices:
            return ("",)
        kind, known = "metric", runs.metrics
        if "pairs" in choices:
            kind, known = "metric of pairs of layers", runs.pair_metrics
        for name in asked:
            if name not in known:
                raise UsageError(f"{unknown(kind, name, known)}")
        if "pairs" in choices:
            return asked or runs.pair_headlines or (self.definition.pairs,)
        return asked or runs.headlines

    def _layers(self, runs: RunSet) -> tuple[str, ...]:
        asked = self._asked("layer")
        for name in asked:
            if name not in runs.layers:
                raise UsageError(f"{unknown('layer', name, runs.layers)}")
        return asked or tuple(dict.fromkeys(run.layers[-1] for run in runs.runs if run.layers))

    def _normalized(self) -> tuple[bool, ...]:
        return (self.options["normalize"],) if "normalize" in self.options else (False, True)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def select_plots(plugins: Plugins, asked: str | tuple[Selection, ...] = "all") -> list[Plot]:
    """Return the plots that are asked for, and those that `-p` selects, with their options.

    Raises:
        ConfigError: unknown plots, options, or option values, all of them together.
    """
    plots: list[Plot] = select(plugins, "plot", asked)
    by_file: dict[str, Plot] = {}
    for plot in plots:
        other = by_file.setdefault(plot.definition.file, plot)
        if other.definition is not plot.definition:
            names = f"'{other.label}' and '{plot.label}'"
            raise ConfigError([f"plots: {names} write files of one name, {plot.definition.file}"])
    return plots


def load_plots(plugins: Sequence[str] = (), plugins_dir: Path | None = None) -> list[Plot]:
    """Return all plots, and warn of installed plugins that are broken."""
    loaded = load_plugins(plugins, plugins_dir, built_ins=("cmp_plots",))
    for broken in loaded.broken:
        warn(str(broken))
    return select_plots(loaded)


def plot(
    name: str,
    *,
    file: str,
    runs: Literal["any", "several"] = "any",
    answers: bool = False,
    pairs: str = "",
    standard: bool = False,
    in_report: bool = False,
) -> Callable[[Implementation], Implementation]:
    """Declare a function of a `PlotView` to be a plot; see `PlotDefinition` for the traits.

    The function stays what it is and gains an attribute `plot_definition`.

    >>> @plot("losses", file="losses_{phase}")
    ... def losses(view):
    ...     '''Loss over steps.'''
    >>> losses.plot_definition.choices, losses.plot_definition.summary
    (('phase',), 'Loss over steps.')
    """

    def declare(implementation: Implementation) -> Implementation:
        summary = in_one_line(inspect.getdoc(implementation) or "")
        definition = PlotDefinition(
            name, implementation, file, runs, answers, pairs, standard, in_report, summary
        )
        implementation.plot_definition = definition  # type: ignore[attr-defined]
        return implementation

    return declare
