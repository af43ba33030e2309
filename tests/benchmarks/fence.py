"""What it costs on a measured batch that plugins change nothing.

    python -m tests.benchmarks.fence

All built-in metrics on a batch, with a metric that does nothing and is not built in, to the same
without its fence and without comparing values.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from unittest.mock import patch

import attrs
import numpy as np

from cmp_core import hookimpl
from cmp_core.config.load import load_config
from cmp_core.events.activations import LayerActivations
from cmp_core.plugins import dispatch
from tests.benchmarks.metrics import random_images, trainer
from tests.benchmarks.ratio import Work, compare, report


class Listener:
    """Hears of activations and does nothing."""

    @hookimpl
    def cmp_layer_activations(self, event: LayerActivations) -> None:
        """Do nothing."""


def main() -> None:
    """Print a ratio for two widths."""
    images = random_images(10_000)
    base = attrs.evolve(load_config("greedy_mnist"), lr=1e-6, warmup_ratio=0, val_size=1000)
    for width in (256, 1024):
        config = attrs.evolve(base, N=width)
        with tempfile.TemporaryDirectory() as folder:
            subject = trainer(config, images, Path(folder), measures=True)
            batch = next(subject._data.train.batches(np.arange(128), 128))
            layers, _ = subject._rule.step(batch.inputs, batch.labels)
            measure: Work = partial(subject._measure_batch, layers, batch)
            subject._dispatcher._manager.register(Listener())

            def unfenced(measure: Work = measure) -> object:
                with patch.object(dispatch, "is_built_in", lambda plugin: True):
                    return measure()

            result = compare(measure, unfenced, rounds=301)
            report(f"N={width}: one plugin of others, fenced to not", result, "at most 1.02")


if __name__ == "__main__":
    main()
