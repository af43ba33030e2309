"""The run directory of a model under observation: what `cmp run` writes, from any torch model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cmp_core.config.load import dump_yaml
from cmp_core.config.schema import Snapshots
from cmp_core.console import out as console, say
from cmp_core.data.load import FITTING
from cmp_core.distributed.processes import Processes
from cmp_core.events.payloads import Run, RunFinished, RunStarted
from cmp_core.layers.layer import Layer
from cmp_core.layers.sampling import choose
from cmp_core.listeners.log import LogWriter
from cmp_core.listeners.snapshots import SnapshotListener
from cmp_core.listeners.status import StatusWriter
from cmp_core.listeners.test_results import TestResultsWriter
from cmp_core.measurement.metric import Metric
from cmp_core.observation.capture import device_of
from cmp_core.observation.reduction import Reduction
from cmp_core.plugins.dispatch import Dispatcher
from cmp_core.plugins.loader import Plugins
from cmp_core.plugins.stored import keep_plugins, plugins_basis
from cmp_core.runs.directory import METRICS, OBSERVED, PARAMS, write_whole
from cmp_core.runs.environment import describe_environment, write_environment
from cmp_core.runs.metric_info import dump_metric_info


class RunWriter:
    """Writes what is known of a run when it starts, and adds the listeners that write the rest.

    Of several processes the first writes; the others tell it of their samples.

    Args:
        run: as listeners see it, with its directory.
        layers: without samples.
        reductions: by path of the module.
        stores: whether tests leave snapshots.
        plugins: that are loaded.
        dispatcher: emits the events.
        processes: that share the run.
    """

    def __init__(
        self,
        run: Run,
        layers: tuple[Layer, ...],
        reductions: Mapping[str, Reduction],
        *,
        stores: bool,
        plugins: Plugins,
        dispatcher: Dispatcher,
        processes: Processes,
    ) -> None:
        assert run.directory is not None  # otherwise nothing is written
        self._run, self._layers, self._stores, self._plugins = run, layers, stores, plugins
        self._reductions = {path: name_of(reduction) for path, reduction in reductions.items()}
        self._directory, self._dispatcher, self._processes = run.directory, dispatcher, processes
        self._log: LogWriter | None = None
        self._test = TestResultsWriter(run.directory, "last", processes)
        dispatcher.add_essential(self._test)

    def start(self, model: nn.Module, told: Mapping[str, Any], metrics: Sequence[Metric]) -> None:
        """Write the files of the beginning.

        Args:
            model: that is observed.
            told: what distinguishes the run.
            metrics: that are measured.
        """
        if not self._processes.is_first:
            return
        run, directory, config = self._run, self._directory, self._run.config
        params = {
            "dataset": config.dataset,
            "model": config.model,
            "seed": None,
            "layers": len(run.layer_names) - (run.output is not None),
            "metrics": [metric.label for metric in metrics],
            OBSERVED: self._reductions,
            **told,
        }
        device = device_of(model)
        basis = plugins_basis(self._plugins)
        description = describe_environment(run, device, **basis) | {"seed": told.get("seed")}
        write_whole(directory / PARAMS, dump_yaml(params))
        write_whole(directory / METRICS, dump_metric_info(metric.info() for metric in metrics))
        keep_plugins(self._plugins, directory)
        write_environment(directory, description)
        self._log = LogWriter(directory)
        self._dispatcher.add_essential(self._log)
        self._dispatcher.add_essential(StatusWriter(directory, self._dispatcher))
        say(f"run directory {directory}")
        started = RunStarted(
            model=type(model).__name__,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            device=str(device),
            steps_per_epoch=0,
        )
        self._dispatcher.emit("cmp_run_started", started)

    @contextmanager
    def storing(self, ids: NDArray[np.int64], fitting: NDArray[np.int64]) -> Iterator[None]:
        """Store a split that is measured within a `with` block.

        Args:
            ids: of its samples.
            fitting: of the samples that linear fits are made to.
        """
        if not self._stores:
            yield
            return
        listener = SnapshotListener(
            Snapshots(phase="test"),
            self._run.config,
            ids,
            fitting[choose(fitting, FITTING)],
            self._layers,
            0,
            self._run.num_classes,
            self._directory,
            self._dispatcher,
            console(),
            self._processes,
        )
        self._dispatcher.add_essential(listener)
        try:
            yield
        except BaseException:
            listener.cmp_run_failed()
            raise
        finally:
            self._dispatcher.remove_essential(listener)

    def tested(self, finished: RunFinished) -> None:
        """Write the files of a test."""
        self._test.cmp_run_finished(finished, self._run)

    def close(self) -> None:
        """Write what waits."""
        if self._log is not None:
            self._log.close()


def name_of(reduction: Reduction) -> str | int:
    """Return a reduction as it is stored and told."""
    if isinstance(reduction, (str, int)):
        return reduction
    return str(getattr(reduction, "__name__", repr(reduction)))
