"""From a configuration to everything that a run is put together of, before its first step."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch

from cmp_core.config.legacy import contradictions, dataset_name
from cmp_core.config.load import load_config, read_yaml
from cmp_core.config.schema import Config, Selection, keys_about
from cmp_core.console import say, warn
from cmp_core.data.load import Data, load_data
from cmp_core.distributed.processes import Processes
from cmp_core.errors import (
    CmpError,
    ConfigError,
    PluginError,
    UsageError,
    one_line,
    unknown,
)
from cmp_core.events.payloads import Run
from cmp_core.layers.layer import Layer
from cmp_core.listeners.snapshots import chosen_layers
from cmp_core.measurement.metric import Metric
from cmp_core.measurement.selection import select_metrics
from cmp_core.plotting.plot import Plot, select_plots
from cmp_core.plugins.fence import Fence, is_built_in
from cmp_core.plugins.loader import Plugins, load_plugins
from cmp_core.plugins.stored import missing_packages, stand_ins
from cmp_core.runs.directory import (
    OBSERVED,
    PARAMS,
)
from cmp_core.runs.metric_info import is_margin
from cmp_core.training.device import choose_device, choose_threads
from cmp_core.training.evaluator import probe
from cmp_core.training.learning_rule import LearningRule
from cmp_core.training.model import LayeredModel, check_size
from cmp_core.training.trainer import steps_per_epoch


@attrs.frozen(eq=False)
class Parts:
    """Everything that is built from a configuration before the first step."""

    config: Config
    plugins: Plugins
    metrics: list[Metric]
    plots: list[Plot]
    device: torch.device
    data: Data
    model: LayeredModel
    rule: LearningRule
    layers: tuple[Layer, ...]
    untrained: dict[str, Any]
    processes: Processes
    foreign: tuple[str, ...]
    """Dataset, model and learning rule, as far as they are not built in, each with its origin."""

    def describe(self, directory: Path) -> Run:
        """Return the run as listeners see it, in a directory."""
        names = tuple(layer.name for layer in self.layers)
        # Scores without anchors are a layer's own: it is the readout of those before it.
        output = names[-1] if self.layers[-1].anchors is None else None
        return Run(self.config, self.data.class_names, names, directory, output)


def prepare(config: Config, plugins_dir: Path | None, processes: Processes) -> Parts:
    """Return the parts of a new run.

    Args:
        config: what to do.
        plugins_dir: as `--plugins-dir`.
        processes: that train together.

    Raises:
        CmpError: something that was asked for cannot be done; all wrong names are told together.
    """
    plugins = _warned_of(load_plugins(config.plugins, plugins_dir))
    config = _with_known_dataset(config, plugins)
    return _prepare(config, plugins, _check_names(config, plugins), processes)


def _with_known_dataset(config: Config, plugins: Plugins) -> Config:
    """Return a configuration that calls its dataset as it is registered, if that is clear."""
    known = plugins.registry.names("dataset")
    return attrs.evolve(config, dataset=dataset_name(config.dataset, known))


def _warned_of(plugins: Plugins) -> Plugins:
    for broken in plugins.broken:
        warn(str(broken))
    return plugins


def _prepare(
    config: Config,
    plugins: Plugins,
    selected: tuple[list[Metric], list[Plot]],
    processes: Processes,
) -> Parts:
    metrics, plots = selected
    device = choose_device(config)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # where what other processes send is placed

    foreign: list[str] = []

    def make(kind: str, name: str, *arguments: Any) -> Any:
        entry = plugins.registry.get(kind, name)
        described = f"{kind} '{name}' of {entry.origin}"
        if not is_built_in(entry.factory):
            foreign.append(described)
        try:
            # What a model draws is drawn from the run's generators, which go on from there.
            with Fence().around(entry.plugin, kind, generators=False):
                return entry.factory(*arguments)
        except (CmpError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise PluginError(f"{described} raised {one_line(error)}") from error

    def read() -> Any:  # what the first process downloads for all
        return processes.first_then_others(lambda: make("dataset", config.dataset, config))

    data = load_data(config, read, device)
    config = _without_what_follows(config, data, tell=processes.is_first)
    check_size(config, data.input_size, device)
    torch.manual_seed(config.seed)
    model = make("model", config.model, config, data.input_size, len(data.class_names)).to(device)
    total_steps = config.epochs * steps_per_epoch(data, config)
    rule_name = config.learning_rule or model.learning_rule
    rule = make("learning rule", rule_name, model, config, total_steps)
    for warning in rule.warnings():
        warn(warning)
    with naming(foreign):
        layers = probe(model, rule, data)
    if config.snapshots is not None:
        chosen_layers(config.snapshots, layers)
    untrained = copy.deepcopy(model.state_dict())
    return Parts(
        config,
        plugins,
        metrics,
        plots,
        device,
        data,
        model,
        rule,
        layers,
        untrained,
        processes,
        tuple(foreign),
    )


def _without_what_follows(config: Config, data: Data, *, tell: bool) -> Config:
    """Return a configuration without what follows from its dataset, where the dataset agrees.

    Raises:
        ConfigError: it does not.
    """
    if problems := list(contradictions(config, len(data.class_names), data.input_size)):
        raise ConfigError(problems)
    keys = keys_about("dataset")
    stated = [key for key in keys if getattr(config, key) is not None]
    if stated and tell:
        say(f"{', '.join(stated)}: as dataset '{config.dataset}' has it, and not stored again")
    none: dict[str, Any] = dict.fromkeys(keys)
    return attrs.evolve(config, **none)


CHANGEABLE = keys_about("place")
"""Keys of an existing run that may be given anew."""


def prepare_again(
    directory: Path,
    settings: Iterable[str],
    processes: Processes,
    *,
    plugins_from_run: bool = False,
) -> Parts:
    """Return the parts of an existing run: its own metrics, none that were installed since.

    Args:
        directory: of the run.
        settings: `key=value` texts for what `CHANGEABLE` names.
        processes: that go on together.
        plugins_from_run: whether the copies of plugin files in the run directory are executed, and
            not the originals.

    Raises:
        CmpError: as `prepare`, or another key is to be changed, or the run was observed, or a copy
            is not what the run has kept. Where a plugin is gone, the message says how to have it.
    """
    for setting in settings:
        key = setting.partition("=")[0].strip()
        if key not in CHANGEABLE:
            allowed = ", ".join(sorted(CHANGEABLE))
            raise UsageError(f"--set {key}: of an existing run only {allowed} may be changed")
    if OBSERVED in read_yaml(directory / PARAMS):
        raise UsageError(f"'{directory}' was observed: its model is not cmp's to train or to test")
    config = load_config(directory / PARAMS, settings)
    copies = stand_ins(directory, config.plugins, asked=plugins_from_run)
    try:
        plugins = attrs.evolve(_warned_of(load_plugins(config.plugins, copies=copies)), named=())
        config = _with_known_dataset(config, plugins)
        selected = _check_names(config, plugins)
    except UsageError as error:
        if missing := missing_packages(directory):
            raise UsageError(f"{error}\n{missing}") from error
        raise
    return _prepare(config, plugins, selected, processes)


@contextmanager
def naming(foreign: Sequence[str]) -> Iterator[None]:
    """Name what is not built in, where it may have raised an error that has no sentence.

    Raises:
        PluginError: there is such an error; of those that are not errors, as `SystemExit`, too.
    """
    try:
        yield
    except (CmpError, OSError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if not foreign:
            raise
        raise PluginError(f"{' or '.join(foreign)} raised {one_line(error)}") from error


def resolved(parts: Parts) -> Config:
    """Return the configuration that gives the same run from any folder."""
    config = parts.config
    return attrs.evolve(
        config,
        data_dir=str(Path(config.data_dir).absolute()),
        out=str(Path(config.out).absolute()),
        threads=choose_threads(config),
        plugins=parts.plugins.specs,
        metrics=tuple(Selection(m.definition.name, m.label, m.options) for m in parts.metrics),
        plots=tuple(Selection(p.definition.name, p.label, p.options) for p in parts.plots),
    )


def _check_names(config: Config, plugins: Plugins) -> tuple[list[Metric], list[Plot]]:
    """Return the selected metrics and plots; raise one error for all names that nothing has."""
    wanted = {"dataset": config.dataset, "model": config.model}
    if config.learning_rule is not None:
        wanted["learning rule"] = config.learning_rule
    problems: list[str] = []
    metrics: list[Metric] = []
    plots: list[Plot] = []
    for kind, name in wanted.items():
        try:
            plugins.registry.get(kind, name)
        except UsageError as error:
            problems.append(f"{kind.replace(' ', '_')}: {error}")
    try:
        metrics = select_metrics(plugins, config)
    except ConfigError as error:
        problems += error.problems
    try:
        plots = select_plots(plugins, config.plots)
    except ConfigError as error:
        problems += error.problems
    problems += _wrong_margins(config, metrics)
    if problems:
        raise ConfigError(problems)
    return metrics, plots


def _wrong_margins(config: Config, metrics: Sequence[Metric]) -> Iterator[str]:
    """Yield which of the stated margins are of no evidence, or none."""
    evidence = {x.label: x.definition for x in metrics if x.definition.evidence is not None}
    for label, margin in config.margins.items():
        if label not in evidence:
            yield f"margins: {unknown('metric that counts as evidence', label, list(evidence))}"
        elif not is_margin(margin, evidence[label].evidence, evidence[label].unit):
            yield f"margins.{label}: expected a number above 0, of shares below 1, got {margin}"
