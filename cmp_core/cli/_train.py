"""From the options of `cmp run` and `cmp train` to a trained network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cmp_core.config.load import load_config
from cmp_core.errors import UsageError

if TYPE_CHECKING:
    from cmp_core.workflow import Outcome


def train(
    source: str | None,
    settings: tuple[str, ...],
    asked: Mapping[str, object],
    plugins: tuple[str, ...],
    plugins_dir: Path | None,
    no_snapshots: bool,
    resumed: str | None,
    allow_changes: bool,
    plugins_from_run: bool,
    *,
    tests: bool = True,
) -> Outcome:
    """Train a new run, or go on with one; `asked` are values of keys, none where not given."""
    overrides = {key: value for key, value in asked.items() if value is not None}
    if no_snapshots:
        overrides["snapshots"] = None
    if resumed and (source or overrides or plugins or plugins_dir):
        raise UsageError(
            "--resume goes on with the run's own params.yaml: only --set, --allow-changes and "
            "--plugins-from-run may be given"
        )
    for option, given in (
        ("--allow-changes", allow_changes),
        ("--plugins-from-run", plugins_from_run),
    ):
        if given and not resumed:
            raise UsageError(f"{option} is for --resume")
    config = None if resumed else load_config(source, settings, plugins, **overrides)

    from cmp_core import workflow

    if config is None:
        return workflow.resume(
            str(resumed),
            settings,
            tests=tests,
            allow_changes=allow_changes,
            plugins_from_run=plugins_from_run,
        )
    return workflow.run(config, plugins_dir, tests=tests)
