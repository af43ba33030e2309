"""From the options of `cmp run` and `cmp train` to a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from cmp_core.cli._imports import import_for_training, importing
from cmp_core.cli._options import selection
from cmp_core.config.load import load_config
from cmp_core.config.schema import Config

if TYPE_CHECKING:
    from cmp_core.workflow import Outcome


@attrs.frozen
class Asked:
    """What the options of `training_options` have been given, by their names.

    Raises:
        click.UsageError: they contradict each other.
    """

    source: str | None
    settings: tuple[str, ...]
    metrics: str | None
    plugins: tuple[str, ...]
    plugins_dir: Path | None
    no_snapshots: bool
    resumed: str | None
    allow_changes: bool
    plugins_from_run: bool

    def __attrs_post_init__(self) -> None:
        new = (self.source, self.metrics, self.plugins, self.plugins_dir, self.no_snapshots)
        if self.resumed and any(new):
            raise click.UsageError(f"--resume goes on with the run's own params.yaml: {ALLOWED}")
        for option, given in (
            ("--allow-changes", self.allow_changes),
            ("--plugins-from-run", self.plugins_from_run),
        ):
            if given and not self.resumed:
                raise click.UsageError(f"{option} is for --resume")

    def sets(self, key: str) -> bool:
        """Return whether a key of the configuration is given by `--set`."""
        return any(setting.partition("=")[0].strip() == key for setting in self.settings)

    def config(self, **keys: Any) -> Config:
        """Return the configuration of a new run; of `keys` those that are none are left out."""
        given = {"metrics": selection(self.metrics, "--metrics"), **keys}
        overrides = {key: value for key, value in given.items() if value is not None}
        if self.no_snapshots:
            overrides["snapshots"] = None
        return load_config(self.source, self.settings, self.plugins, **overrides)


ALLOWED = "only --set, --allow-changes and --plugins-from-run may be given"


def train(asked: Asked, config: Config | None, *, tests: bool = True) -> Outcome:
    """Train a new run of a configuration, or go on with the one that is to be resumed."""
    with importing():
        from cmp_core import workflow

        import_for_training(tests=tests)
    if config is None:
        return workflow.resume(
            str(asked.resumed),
            asked.settings,
            tests=tests,
            allow_changes=asked.allow_changes,
            plugins_from_run=asked.plugins_from_run,
        )
    return workflow.run(config, asked.plugins_dir, tests=tests)
