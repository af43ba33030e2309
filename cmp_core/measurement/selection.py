"""Which metrics a configuration selects, and what the installed ones say of themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from cmp_core.config.schema import Config
from cmp_core.errors import ConfigError, UsageError
from cmp_core.measurement.metric import Metric, definition_of
from cmp_core.plugins.loader import Plugins, load_plugins
from cmp_core.plugins.selection import select
from cmp_core.runs.record import RunRecord


def select_metrics(plugins: Plugins, config: Config) -> list[Metric]:
    """Return the metrics that the configuration and `-p` select, with their options.

    Raises:
        ConfigError: unknown metrics, options, or option values, all of them together.
    """
    metrics: list[Metric] = select(plugins, "metric", config.metrics)
    if config.enable_slow_metrics:
        return metrics
    named = () if config.metrics == "all" else {s.label for s in config.metrics}
    problems = [
        f"metrics: {metric.label} is slow, and enable_slow_metrics is false"
        for metric in metrics
        if metric.definition.slow and metric.label in named
    ]
    if problems:
        raise ConfigError(problems)
    return [metric for metric in metrics if not metric.definition.slow]


def as_metrics(metrics: Any, plugins: Plugins, config: Config) -> list[Metric]:
    """Return metrics as functions of arrays and models take them.

    Args:
        metrics: `all` that the configuration selects; names, in one text with commas or several;
            functions or classes under `@metric`; or metrics with options.
        plugins: where names are looked up.
        config: selects what `all` is.

    Raises:
        UsageError: there is no metric of a name, what is given is none, or two have one label.
    """
    if isinstance(metrics, str):
        if metrics == "all":
            return select_metrics(plugins, config)
        metrics = metrics.split(",")
    elif not isinstance(metrics, Iterable):
        metrics = [metrics]
    selected = [_as_metric(metric, plugins) for metric in metrics]
    if not selected:
        raise UsageError("expected at least one metric, got none")
    labels = [metric.label for metric in selected]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(
                f"two metrics are called '{label}': give one another label, such as "
                f"definition_of(my_metric)('{label}_2')"
            )
    return selected


def _as_metric(given: Any, plugins: Plugins) -> Metric:
    if isinstance(given, Metric):
        return given
    name = getattr(given, "__name__", None)
    if isinstance(given, str):
        given = plugins.registry.get("metric", given.strip()).factory
    elif name in plugins.registry.names("metric") and not hasattr(given, "metric_definition"):
        raise UsageError(f"'{name}' is a function of arrays, not the metric: write '{name}'")
    return definition_of(given)()


def with_installed_metric_info(run: RunRecord) -> RunRecord:
    """Return a run that has no `metrics.json` with what the installed metrics say of themselves.

    Older versions and other programs leave such run directories.
    """
    if not all(map(run.is_recomputed, run.metric_info)):
        return run
    registry = load_plugins(built_ins=("cmp_metrics",)).registry
    definitions = (
        definition_of(registry.get("metric", name).factory)
        for name in registry.names("metric")
        if name in run.metrics
    )
    info = {definition.name: definition().info() for definition in definitions}
    return attrs.evolve(run, metric_info={**info, **run.metric_info})
