"""Which metrics a configuration selects, and what the installed ones say of themselves."""

from __future__ import annotations

import attrs

from cmp_core.config.schema import Config
from cmp_core.errors import ConfigError
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


def with_installed_metric_info(run: RunRecord) -> RunRecord:
    """Return a run that has no `metrics.json` with what the installed metrics say of themselves.

    Older versions and other programs leave such run directories.
    """
    if run.metric_info:
        return run
    registry = load_plugins(built_ins=("cmp_metrics",)).registry
    definitions = (
        definition_of(registry.get("metric", name).factory)
        for name in registry.names("metric")
        if name in run.metrics
    )
    info = {definition.name: definition().info() for definition in definitions}
    return attrs.evolve(run, metric_info=info)
