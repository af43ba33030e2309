"""A metric in a file, and the metrics that are selected."""

from __future__ import annotations

from cmp_core.config.schema import Config
from cmp_core.measurement.selection import select_metrics
from cmp_core.plugins.loader import load_plugins

METRIC = """
from cmp_core import metric

@metric("{name}")
def it(view, *, power: int = 1):
    '''The mean activation.'''
    return view.activations.mean() ** power
"""


def names(config: Config, *specs: object) -> list[str]:
    """Return the labels of the metrics that a configuration and `-p` select."""
    plugins = load_plugins(map(str, specs))
    return [metric.label for metric in select_metrics(plugins, config)]
