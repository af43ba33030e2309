"""Composition: from a configuration to a run directory, and from a run directory to a test.

This is the one place where plugins, data, model, learning rule and listeners are put together.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from cmp_core.config.load import dump_config, read_yaml
from cmp_core.config.schema import Config
from cmp_core.console import out, warn
from cmp_core.data.load import FITTING
from cmp_core.distributed.processes import Processes
from cmp_core.errors import UsageError, text_of
from cmp_core.layers.sampling import choose
from cmp_core.listeners.checkpoints import CheckpointWriter, load_checkpoint
from cmp_core.listeners.log import LogWriter, cut_log
from cmp_core.listeners.screen import Screen
from cmp_core.listeners.snapshots import SnapshotListener
from cmp_core.listeners.status import StatusWriter
from cmp_core.listeners.test_results import TestResultsWriter
from cmp_core.measurement.measurer import Measurer
from cmp_core.plotting.plot import Plot
from cmp_core.plugins.dispatch import Dispatcher
from cmp_core.plugins.failures import Failure, write_plugin_errors
from cmp_core.plugins.loader import new_manager
from cmp_core.plugins.stored import keep_plugins, plugins_basis
from cmp_core.preparation import Parts, naming, prepare, prepare_again, resolved
from cmp_core.reasons import grouped
from cmp_core.runs.changes import heed_changes, tell_changes
from cmp_core.runs.directory import (
    BEST,
    CONFUSION,
    EVAL_PLUGIN_ERRORS,
    LAST,
    LOG,
    METRICS,
    PARAMS,
    PLUGIN_ERRORS,
    TEST_RESULTS,
    folder_of_run,
    make_run_directory,
    open_run,
    remove_leftovers,
    write_whole,
)
from cmp_core.runs.environment import (
    describe_environment,
    read_environment,
    write_environment,
)
from cmp_core.runs.json_file import read_optional
from cmp_core.runs.lock import TRAINING, locked
from cmp_core.runs.metric_info import dump_metric_info
from cmp_core.runs.origin import is_foreign
from cmp_core.runs.progress import Progress
from cmp_core.text import in_one_line, in_short
from cmp_core.training.device import choose_threads, threads
from cmp_core.training.evaluator import Evaluator
from cmp_core.training.trainer import Trainer


@attrs.frozen(eq=False)
class Outcome:
    """What a run or an evaluation came to: its files, read back, and the plugins that failed.

    Attributes:
        directory: where the files are.
        class_names: of the dataset.
        results: the content of `test_results.json`; empty where nothing was tested.
        confusion: counts (C, C) on the test split, or none.
        failures: what plugins raised; plugin_errors: where their tracebacks are.
        plots: those that the configuration selects.
    """

    directory: Path
    class_names: tuple[str, ...]
    results: dict[str, Any]
    confusion: NDArray[np.int64] | None
    failures: tuple[Failure, ...]
    plugin_errors: Path
    plots: tuple[Plot, ...]


def run(
    config: Config,
    plugins_dir: Path | None = None,
    console: Console | None = None,
    *,
    tests: bool = True,
) -> Outcome:
    """Train, measure and test as the configuration says, in a new run directory.

    The plots of the configuration are checked, and handed back for `plotting.render.draw`.

    Args:
        config: what to do.
        plugins_dir: as `--plugins-dir`.
        console: where to print.
        tests: whether to test the best weights after training.

    Raises:
        CmpError: something that was asked for cannot be done, or training failed.
        KeyboardInterrupt: Ctrl-C came; `resume` goes on from the last checkpoint.
    """
    with Processes.of_torchrun() as processes, threads(choose_threads(config)):
        parts = prepare(config, plugins_dir, processes)
        directory = processes.on_first(lambda: _new_run(parts))
        with _locked(directory, processes):
            return _train(parts, directory, console or out(), None, tests)


def resume(
    path: str | Path,
    settings: Iterable[str] = (),
    console: Console | None = None,
    *,
    tests: bool = True,
    allow_changes: bool = False,
    plugins_from_run: bool = False,
) -> Outcome:
    """Go on with an interrupted run from its last checkpoint, or from the start if it has none.

    It computes with as many threads as before.

    Args:
        path: the run directory.
        settings: `key=value` texts for what `CHANGEABLE` names.
        console: where to print.
        tests: whether to test the best weights after training.
        allow_changes: go on although plugins, versions or the data are not those that the run was
            begun with; `environment.json` then tells which.
        plugins_from_run: execute the copies of plugin files that lie in the run directory, and not
            the originals.

    Raises:
        CmpError: there is no such run, its checkpoint cannot be read, another program trains or
            tests it, or something has changed on which its numbers rest.
    """
    directory = open_run(path)
    _check_is_ours(directory, LAST)
    with Processes.of_torchrun() as processes, _locked(directory, processes):
        processes.on_first(lambda: remove_leftovers(directory))
        last = directory / LAST
        checkpoint = load_checkpoint(last, torch.device("cpu")) if last.exists() else None
        with threads(_threads_of(directory)):
            parts = prepare_again(directory, settings, processes, plugins_from_run=plugins_from_run)
            if checkpoint is None:
                processes.on_first(lambda: _describe(parts, directory))
            else:
                processes.on_first(lambda: _go_on(parts, directory, checkpoint, allow_changes))
            return _train(parts, directory, console or out(), checkpoint, tests)


def evaluate(
    path: str | Path,
    checkpoint: str = "best",
    settings: Iterable[str] = (),
    *,
    plugins_from_run: bool = False,
) -> Outcome:
    """Test a checkpoint of a run: `best` rewrites the run's test files, `last` has its own folder.

    Args:
        path: the run directory.
        checkpoint: `best` or `last`.
        settings: `key=value` texts for what `CHANGEABLE` names.
        plugins_from_run: as `resume`.

    Raises:
        CmpError: there is no such run or checkpoint, or another program trains or tests it.
    """
    directory = open_run(path)
    _check_is_ours(directory, BEST if checkpoint == "best" else LAST)
    with (
        Processes.of_torchrun() as processes,
        _locked(directory, processes),
        threads(_threads_of(directory)),
    ):
        parts = prepare_again(directory, settings, processes, plugins_from_run=plugins_from_run)
        return _evaluate(parts, directory, checkpoint)


def _evaluate(parts: Parts, directory: Path, checkpoint: str) -> Outcome:
    saved = load_checkpoint(directory / (BEST if checkpoint == "best" else LAST), parts.device)
    with _must_fit(directory):
        parts.model.load_state_dict(saved["model"])
        counters = saved.get("progress", saved)
        progress = Progress(epoch=counters["epoch"], step=counters["step"])
    folder = directory
    if checkpoint != "best":
        folder = folder_of_run(directory, f"eval_{checkpoint}")
        folder.mkdir(exist_ok=True)
    parts.processes.on_first(lambda: tell_changes(directory, _environment(parts, directory)))
    writer = TestResultsWriter(folder, checkpoint, parts.processes)
    measurer = _measurer(parts, directory)
    dispatcher = measurer.dispatcher
    dispatcher.add_essential(writer)
    with naming(parts.foreign):
        finished = _evaluator(parts, measurer).test(progress.epoch, progress.step)
    # The run itself was finished before: only the files of the test are written again.
    writer.cmp_run_finished(finished, dispatcher.run)
    if parts.processes.is_first:
        write_plugin_errors(folder / EVAL_PLUGIN_ERRORS, dispatcher.failures)
    return _outcome(folder, parts, dispatcher, folder / EVAL_PLUGIN_ERRORS)


# The pieces


def _threads_of(directory: Path) -> object:
    """Return with how many threads a run computes, which earlier versions told elsewhere."""
    told = read_environment(directory, problems=[]).get("threads")
    return read_yaml(directory / PARAMS).get("threads") if told is None else told


def _new_run(parts: Parts) -> Path:
    """Make a run directory with what is known before training."""
    params = dump_config(resolved(parts))
    directory = make_run_directory(parts.config)
    try:
        write_whole(directory / PARAMS, params)
        _describe(parts, directory)
    except OSError as error:
        shutil.rmtree(directory)
        raise UsageError(f"out: cannot write to '{directory.parent}': {error.strerror}") from error
    return directory


def _describe(parts: Parts, directory: Path) -> None:
    """Write what the metrics mean and what the run rests on."""
    _describe_metrics(parts, directory)
    keep_plugins(parts.plugins, directory)
    write_environment(directory, _environment(parts, directory))


def _describe_metrics(parts: Parts, directory: Path) -> None:
    info = (metric.info(parts.config.margins.get(metric.label)) for metric in parts.metrics)
    write_whole(directory / METRICS, dump_metric_info(info))


def _environment(parts: Parts, directory: Path) -> dict[str, Any]:
    return describe_environment(
        parts.describe(directory),
        parts.device,
        processes=parts.processes.size,
        params=hashlib.sha256((directory / PARAMS).read_bytes()).hexdigest(),
        **plugins_basis(parts.plugins),
        data=parts.data.fingerprint(),
    )


def _go_on(
    parts: Parts, directory: Path, checkpoint: Mapping[str, Any], allow_changes: bool
) -> None:
    """Write what a killed program has not, and heed what has changed since."""
    if not (directory / METRICS).exists():
        _describe_metrics(parts, directory)
    with _must_fit(directory):
        step = int(checkpoint["progress"]["step"])
    heed_changes(directory, _environment(parts, directory), step, allowed=allow_changes)
    keep_plugins(parts.plugins, directory)  # those that may differ from here on


def _measurer(parts: Parts, directory: Path) -> Measurer:
    return Measurer(
        parts.metrics,
        parts.describe(directory),
        # What is no metric and listens, to write or to send, does so once.
        parts.plugins.manager if parts.processes.is_first else new_manager(),
        parts.config.on_plugin_error,
        parts.processes,
    )


def _train(
    parts: Parts,
    directory: Path,
    console: Console,
    checkpoint: dict[str, Any] | None,
    tests: bool,
) -> Outcome:
    measurer = _measurer(parts, directory)
    dispatcher = measurer.dispatcher
    evaluator = _evaluator(parts, measurer)
    _warn_of_left_out_layers(parts, measurer, evaluator.widths)
    processes = parts.processes
    trainer = Trainer(
        parts.model,
        parts.rule,
        parts.data,
        dispatcher,
        measurer,
        evaluator,
        parts.device,
        processes,
    )
    if checkpoint is not None:
        with _must_fit(directory):
            has_best = checkpoint["progress"]["best_epoch"] > 0
            best = load_checkpoint(directory / BEST, parts.device) if has_best else None
            trainer.load_state_dict(checkpoint, best)
    # These two look for links and folders in their way, before the log is cut.
    snapshots = _snapshots(parts, directory, dispatcher, console)
    test_results = TestResultsWriter(directory, processes=processes)
    with ExitStack() as files:
        if processes.is_first:
            cut_log(directory, trainer.progress)
            log = files.enter_context(LogWriter(directory))
            dispatcher.add_essential(log)
            dispatcher.add_essential(CheckpointWriter(directory, log.sync))
            dispatcher.add_essential(Screen(console))
        dispatcher.add_essential(test_results)
        if snapshots is not None:
            dispatcher.add_essential(snapshots)
        if processes.is_first:
            dispatcher.add_essential(StatusWriter(directory, dispatcher))
        with naming(parts.foreign):
            trainer.fit(tests=tests)
    return _outcome(directory, parts, dispatcher, directory / PLUGIN_ERRORS)


def _warn_of_left_out_layers(parts: Parts, measurer: Measurer, widths: Mapping[str, int]) -> None:
    """Say before training which layers are too wide for statistics over a split, and why."""
    data = parts.data
    sizes = (len(data.val.ids), len(data.measured), len(data.test.ids))
    reasons: dict[str, str] = {}
    for n in sorted(set(sizes), reverse=True):
        found = measurer.left_out(widths, n, len(data.class_names), parts.device)
        reasons = found | reasons
    records = [(reason, layer) for layer, reason in reasons.items()]
    for reason, (layers,) in grouped(records, lambda _: "each"):
        warn(reason if len(layers) == 1 else f"{in_short(layers)}: {reason}")


def _snapshots(
    parts: Parts, directory: Path, dispatcher: Dispatcher, console: Console
) -> SnapshotListener | None:
    options, data = parts.config.snapshots, parts.data
    if options is None:
        return None
    ids = {"val": data.val.ids, "train": data.train.ids[data.measured], "test": data.test.ids}
    fitting = data.fitting
    if options.phase == "test":  # which is scored by fits to all training samples
        fitting = choose(data.train.ids, FITTING, parts.config.seed)
    return SnapshotListener(
        options,
        resolved(parts),
        ids[options.phase],
        data.train.ids[fitting],
        parts.layers,
        data.input_size,
        len(data.class_names),
        directory,
        dispatcher,
        console,
        parts.processes,
    )


def _check_is_ours(directory: Path, name: str) -> None:
    """Raise where another program has trained a run, before anything is written into it.

    Args:
        directory: of the run.
        name: of the checkpoint that is asked for.

    Raises:
        UsageError: it has.
    """
    if not is_foreign(directory, read_environment(directory, problems=[])):
        return
    path = directory / name
    saved = load_checkpoint(path, torch.device("cpu")) if path.exists() else {}
    is_begun = path.exists() or (directory / LOG).exists()
    if is_begun and not {"progress", "epoch"} & saved.keys():
        raise UsageError(
            f"'{directory}' was trained by another program: cmp can neither test its weights nor "
            f"go on with them. Train anew with cmp run -c '{directory / PARAMS}'"
        )


@contextmanager
def _locked(directory: Path, processes: Processes) -> Iterator[None]:
    """Keep other programs from training or testing a run within a `with` block."""
    with ExitStack() as held:
        processes.on_first(lambda: held.enter_context(locked(directory, TRAINING, seconds=1)))
        yield


@contextmanager
def _must_fit(directory: Path) -> Iterator[None]:
    """Turn torch's error about other names or shapes into one that says what they differ from."""
    try:
        yield
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        why = in_one_line(" ".join(text_of(error).split()), 500)  # torch's has a line for each
        raise UsageError(f"'{directory}': the checkpoint does not fit {PARAMS}: {why}") from error


def _evaluator(parts: Parts, measurer: Measurer) -> Evaluator:
    return Evaluator(
        parts.model,
        parts.rule,
        parts.data,
        measurer,
        parts.layers,
        parts.untrained,
        parts.config,
        parts.processes,
    )


def _outcome(folder: Path, parts: Parts, dispatcher: Dispatcher, plugin_errors: Path) -> Outcome:
    parts.processes.gather(None)  # the first one has written its files
    problems: list[str] = []
    results = read_optional(folder / TEST_RESULTS, problems)
    for problem in problems:  # of an earlier test: what was written just now is whole
        warn(problem)
    return Outcome(
        directory=folder,
        class_names=parts.data.class_names,
        results=results,
        confusion=np.load(folder / CONFUSION) if results else None,
        failures=dispatcher.failures,
        plugin_errors=plugin_errors,
        plots=tuple(parts.plots),
    )
