"""The hooks: what plugins may register, and the events that they may listen to.

An implementation may take any subset of a hook's arguments. `register(factory, name=…)` files a
factory under a name; a metric's own name is the one that `@metric` gives it. A module without the
hook for metrics, or for plots, registers what it defines under `@metric`, or `@plot`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from cmp_core.events import activations, payloads
    from cmp_core.events.results import MetricResult

PROJECT = "cmp"
PLUGIN_API = 2
"""Version of everything in this module and of the names that `cmp_core` exports."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Register = Callable[..., None]


# Registration


@hookspec
def cmp_register_metrics(register: Register) -> None:
    """Register metrics: functions or classes under the `@metric` decorator."""


@hookspec
def cmp_register_plots(register: Register) -> None:
    """Register plots: functions `(view) -> Figure` under the `@plot` decorator."""


@hookspec
def cmp_register_datasets(register: Register) -> None:
    """Register datasets: functions `(config) -> RawData`, or any torch `Dataset`."""


@hookspec
def cmp_register_models(register: Register) -> None:
    """Register models: functions `(config, input_size, num_classes) -> LayeredModel`."""


@hookspec
def cmp_register_learning_rules(register: Register) -> None:
    """Register learning rules: functions `(model, config, total_steps) -> LearningRule`."""


@hookspec
def cmp_register_commands(cli: click.Group) -> None:
    """Add commands to `cmp` with `@cli.command()`; of installed plugins only."""


# Events, in the order in which a run emits them


@hookspec
def cmp_run_started(event: payloads.RunStarted, run: payloads.Run) -> None:
    """Training is about to begin or to be resumed."""


@hookspec
def cmp_epoch_started(event: payloads.EpochStarted, run: payloads.Run) -> None:
    """An epoch begins."""


@hookspec
def cmp_layer_activations(
    event: activations.LayerActivations, run: payloads.Run
) -> list[MetricResult] | None:
    """Activations are there: a training batch, or a chunk of a split.

    The listener of a metric answers with the values of a batch at once, and with those of a split
    at `cmp_split_finished`. What other plugins return is ignored.
    """


@hookspec
def cmp_step_finished(event: payloads.StepFinished, run: payloads.Run) -> None:
    """An optimizer step was made, and its batch measured if it was its turn."""


@hookspec
def cmp_split_finished(
    event: activations.SplitFinished, run: payloads.Run
) -> list[MetricResult] | None:
    """All chunks of a split have been seen; the listeners of metrics answer with its values."""


@hookspec
def cmp_snapshot_written(event: payloads.SnapshotWritten, run: payloads.Run) -> None:
    """A snapshot of the activations is complete and in its place."""


@hookspec
def cmp_epoch_finished(event: payloads.EpochFinished, run: payloads.Run) -> None:
    """Validation and the training subset were measured; epoch 0 is the untrained network."""


@hookspec
def cmp_run_failed(event: payloads.RunFailed, run: payloads.Run) -> None:
    """Training ended early, by an error or an interruption."""


@hookspec
def cmp_run_finished(event: payloads.RunFinished, run: payloads.Run) -> None:
    """Training is done and the best weights were tested."""


REGISTRATIONS = {
    "cmp_register_metrics": "metric",
    "cmp_register_plots": "plot",
    "cmp_register_datasets": "dataset",
    "cmp_register_models": "model",
    "cmp_register_learning_rules": "learning rule",
}
"""Registration hooks and the kind of thing that each files by `register`."""

DECLARED = {"metric": "cmp_register_metrics", "plot": "cmp_register_plots"}
"""Kinds that a decorator of this name declares, and the hook that may file them instead."""

COMMANDS = "cmp_register_commands"
