"""Observing a model in a loop of one's own: what `cmp run` writes, from any torch model."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmp_core.config.load import dump_yaml
from cmp_core.config.schema import Config, Selection, Snapshots
from cmp_core.console import out as console, say, warn
from cmp_core.data.load import FITTING
from cmp_core.errors import UsageError
from cmp_core.events.activations import LayerActivations, Phase
from cmp_core.events.payloads import (
    EpochFinished,
    Run,
    RunFailed,
    RunFinished,
    RunStarted,
    StepFinished,
)
from cmp_core.events.rows import Row
from cmp_core.layers.arrays import as_labels
from cmp_core.layers.layer import Layer
from cmp_core.layers.sampling import choose
from cmp_core.listeners.log import LogWriter
from cmp_core.listeners.snapshots import SnapshotListener
from cmp_core.listeners.status import StatusWriter
from cmp_core.listeners.test_results import TestResultsWriter
from cmp_core.measurement.measurer import FitSamples, Measurer
from cmp_core.measurement.selection import as_metrics
from cmp_core.observation.batches import Batch, Reader, Unpack
from cmp_core.observation.capture import Output, device_of
from cmp_core.observation.modules import Modules, unwrapped
from cmp_core.observation.reduction import Reduction
from cmp_core.observation.subject import (
    AUTO,
    Anchors,
    Subject,
    generators_kept,
    without_means,
)
from cmp_core.plugins.loader import load_plugins
from cmp_core.runs.directory import (
    ENVIRONMENT,
    METRICS,
    OBSERVED,
    PARAMS,
    open_new_run,
    write_whole,
)
from cmp_core.runs.environment import describe_environment
from cmp_core.runs.metric_info import dump_metric_info
from cmp_core.statistics.fits import LinearFits


class Observer:
    """Measures modules of a model as layers, and writes a run directory if it has one.

    See `observe` for the arguments. Hooks are on the model only for steps that are measured.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Modules,
        metrics: str | Sequence[Any],
        *,
        every: int,
        out: str | Path | None,
        reduce: Reduction | Mapping[str, Reduction],
        output: str | None,
        fit: Iterable[Any] | None,
        anchors: Anchors,
        num_classes: int | None,
        class_names: Sequence[str] | None,
        config: Mapping[str, Any] | None,
        plugins: Sequence[str],
        unpack: Unpack | None,
        snapshots: bool,
        on_plugin_error: str,
    ) -> None:
        if every < 1:
            raise UsageError(f"every: expected a number of steps from 1 on, got {every}")
        names = None if class_names is None else tuple(map(str, class_names))
        if names is not None:
            if num_classes not in (None, len(names)):
                raise UsageError(f"num_classes is {num_classes}, and there are {len(names)} names")
            num_classes = len(names)
        self._model = model
        self._every = every
        self._told = dict(config or {})
        self._class_names = names
        self._unpack = unpack
        self._fit = None if fit is None else Reader(fit, unpack)
        self._readers: dict[int, tuple[Iterable[Any], Reader]] = {}
        self._plugins = load_plugins(plugins)
        self._snapshots = Snapshots(phase="test") if snapshots else None
        config_of_all = _config(model, self._told, plugins, on_plugin_error)
        self._metrics = as_metrics(metrics, self._plugins, config_of_all)
        # A snapshot is measured again with the metrics that have a name by which to find them.
        known = self._plugins.registry.names("metric")
        chosen_again = tuple(
            Selection(x.definition.name, x.label, x.options)
            for x in self._metrics
            if x.definition.name in known
        )
        self._config = attrs.evolve(config_of_all, metrics=chosen_again)
        self.subject = Subject(model, layers, reduce, output, anchors, num_classes)
        self.directory = None if out is None else open_new_run(out)
        self._measurer: Measurer | None = None
        self._log: LogWriter | None = None
        self._test: TestResultsWriter | None = None
        self._layers: tuple[Layer, ...] = ()
        self._untrained: tuple[Row, ...] = ()
        self._step = self._epoch = 0
        self._is_tested = self._is_closed = False
        self._arm()

    def __repr__(self) -> str:
        layers = ", ".join(self.subject.names or self.subject.capture.paths)
        where = "" if self.directory is None else f", {str(self.directory)!r}"
        return f"<Observer of {type(unwrapped(self._model)).__name__}: {layers}{where}>"

    # What a loop calls

    def step(
        self,
        labels: Any = None,
        *,
        loss: float | Tensor | None = None,
        ids: Any = None,
    ) -> tuple[Row, ...]:
        """Count a training step, and measure its batch if it is the turn; return the rows then.

        Call it after the forward pass of every step; what is measured is the model's last one.

        Args:
            labels: (n,) of the batch, or none for metrics that need none.
            loss: for the log.
            ids: (n,) of the samples; otherwise their position.

        Raises:
            UsageError: the model was not run, labels do not fit, or the observer is closed.
        """
        self._check_open()
        self._step += 1
        if not self.subject.capture.is_on:
            self._arm()
            return ()
        try:
            return self._measured(self.subject.capture.take(), labels, ids, loss)
        finally:
            self.subject.capture.off()
            self._arm()

    def evaluate(
        self, loader: Iterable[Any], phase: str = "val", *, epoch: int | None = None
    ) -> tuple[Row, ...]:
        """Measure a whole split in eval mode, and return its rows.

        Before the first step `val` is epoch 0, the untrained network, and `test` what the test is
        compared with ("learned"); after training `test` is the test, whose values answer the three
        questions.

        Args:
            loader: yields batches, see `unpacked`; it is read several times, in the same order
                unless batches have sample ids.
            phase: `val` or `test`.
            epoch: of `val`; otherwise they are counted.

        Raises:
            UsageError: the loader gives other samples at its second reading, or the phase is none.
            DataError: batches are of a form that is not known.
        """
        self._check_open()
        if phase not in ("val", "test"):
            raise UsageError(f"phase: expected val or test, got '{phase}'")
        if phase == "test":
            return self.test(loader) if self._step else self._before(loader)
        following = self._epoch + 1 if self._step else 0
        self._epoch = following if epoch is None else epoch
        measured = self._split(loader, "val", self._epoch)
        finished = EpochFinished(
            epoch=self._epoch,
            step=self._step,
            acc=measured.acc,
            val_loss=measured.loss,
            rows=measured.rows,
            train_rows=(),
            n=measured.n,
            train_n=0,
            is_best=False,
            state=dict,
        )
        self._started().dispatcher.emit("cmp_epoch_finished", finished)
        return measured.rows

    def test(self, loader: Iterable[Any], untrained: nn.Module | None = None) -> tuple[Row, ...]:
        """Measure a model whose training is over on a test split, whatever was observed before.

        Args:
            loader: as of `evaluate`.
            untrained: the same architecture before training, whose weights are measured as well,
                in place of what `evaluate` has measured before the first step.
        """
        self._check_open()
        if untrained is not None:
            with _weights_of(untrained, unwrapped(self._model)):
                self._before(loader)
        self._is_tested = True
        measured = self._split(loader, "test", max(1, self._epoch))
        if self._test is not None:
            tested = RunFinished(
                epoch=max(1, self._epoch),
                step=self._step,
                acc=measured.acc,
                test_loss=measured.loss,
                rows=measured.rows,
                untrained_rows=self._untrained,
                n=measured.n,
            )
            self._test.cmp_run_finished(tested, self._started().dispatcher.run)
        return measured.rows

    def _before(self, loader: Iterable[Any]) -> tuple[Row, ...]:
        """Measure the untrained network on the test split."""
        self._untrained = self._split(loader, "test", 0).rows
        return self._untrained

    def close(self) -> None:
        """Remove the hooks and finish the run's files."""
        self._end(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        self._end(error)

    # Measuring

    def _measured(
        self, outputs: Sequence[Output], labels: Any, ids: Any, loss: float | Tensor | None
    ) -> tuple[Row, ...]:
        first = outputs[0].values
        n = len(first.values) if first.samples is None else int(first.samples.max()) + 1
        known = None if labels is None else as_labels(labels)
        if known is not None and len(known) != n:
            raise UsageError(f"expected labels of {n} samples, got {len(known)}")
        own = torch.arange(n) if ids is None else torch.as_tensor(ids).reshape(-1)
        if not self.subject.is_begun:
            self._begin(outputs, known)
        batch = Batch((), {}, known, own)
        with torch.no_grad():
            event = self.subject.event(
                outputs, batch, "train", "batch", self._epoch + 1, self._step
            )
            rows = self._started().batch(event)
            if self.subject.means is not None and event.labels is not None:
                self.subject.means.follow(without_means(event.layers), event.labels)
        finished = StepFinished(
            epoch=self._epoch + 1,
            iter=self._step,
            step=self._step,
            loss=math.nan if loss is None else float(torch.as_tensor(loss).detach()),
            acc=_accuracy(event, self.subject.output),
            n=event.n,
            rows=rows,
        )
        self._started().dispatcher.emit("cmp_step_finished", finished)
        return rows

    def _split(self, loader: Iterable[Any], phase: Phase, epoch: int) -> _Measured:
        """Measure a split."""
        with self.subject.evaluating():
            measured = self._evaluated(self._reader(loader), phase, epoch)
        if not self.subject.capture.has_run:  # what the layers are is known now
            self.subject.capture.off()
            self._arm()
        return measured

    def _evaluated(self, reader: Reader, phase: Phase, epoch: int) -> _Measured:
        """Measure a split, within `evaluating`."""
        subject = self.subject
        if not subject.is_begun:
            _, outputs = subject.forward(next(reader.batches()))
            labels = reader.index.labels
            known = None if labels is None else torch.from_numpy(labels)
            self._begin(outputs, known, are_all=True)
        measurer = self._started()
        ids, labels = self._rows(reader)
        totals: list[Tensor] = []

        def read(pass_index: int) -> Iterator[LayerActivations]:
            for batch in reader.batches():
                here, outputs = subject.forward(batch)
                event = subject.event(outputs, here, phase, "chunk", epoch, self._step, pass_index)
                if pass_index == 1 and subject.output is not None and event.labels is not None:
                    totals.append(_loss_and_hits(event))
                yield event

        with self._stored(ids) if phase == "test" else nullcontext():
            fits = self._fits(measurer, reader, phase, epoch)
            rows = measurer.split(ids, labels, read, fits, errors=True)
        n = len(ids)
        loss, acc = math.nan, math.nan
        if totals:
            loss, acc = (torch.stack(totals).cpu().double().sum(0) / n).tolist()
        return _Measured(acc, loss, rows, n)

    def _fits(
        self, measurer: Measurer, scored: Reader, phase: Phase, epoch: int
    ) -> LinearFits | None:
        """Return fits to the samples of `fit`, and measure their class means."""
        reader, subject = self._fit, self.subject
        if reader is None:
            return None
        sizes = np.cumsum(reader.index.sizes)
        count = len(sizes) if phase == "test" else int(np.searchsorted(sizes, FITTING)) + 1
        count = min(count, len(sizes))

        def read() -> Iterator[LayerActivations]:
            batches = reader.batches(in_order=False)
            for _, batch in zip(range(count), batches, strict=False):
                here, outputs = subject.forward(batch)
                yield subject.event(outputs, here, phase, "fit", epoch, self._step)

        if subject.means is not None:
            subject.means.measure(
                (without_means(event.all_layers), event.labels)
                for event in read()
                if event.labels is not None
            )
        n = int(sizes[count - 1])
        return measurer.fit(FitSamples(n, reader.index.labels, read), scored.index.labels)

    @contextmanager
    def _stored(self, ids: NDArray[np.int64]) -> Iterator[None]:
        """Store a split that is measured meanwhile, if there is a run directory.

        Args:
            ids: of its samples.
        """
        if self.directory is None or self._snapshots is None:
            yield
            return
        fitting = np.zeros(0, np.int64) if self._fit is None else self._fit.index.ids
        dispatcher = self._started().dispatcher
        listener = SnapshotListener(
            self._snapshots,
            self._config,
            ids,
            fitting[choose(fitting, FITTING)],
            self._layers,
            0,
            self.subject.num_classes,
            self.directory,
            dispatcher,
            console(),
        )
        dispatcher.add_essential(listener)
        try:
            yield
        except BaseException:
            listener.cmp_run_failed()
            raise
        finally:
            dispatcher.remove_essential(listener)

    def _rows(self, reader: Reader) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Return ids and labels of the rows of a split; positions that are samples are rows."""
        index = reader.index
        if "samples" not in self.subject.capture.reductions.values():
            return index.ids, index.labels
        ids, labels = [], []
        for batch in reader.batches():
            here, outputs = self.subject.forward(batch)
            own, known = self.subject.rows(outputs, here)
            ids.append(own.cpu())
            labels += [] if known is None else [known.cpu()]
        return torch.cat(ids).numpy(), torch.cat(labels).numpy() if labels else None

    def _reader(self, loader: Iterable[Any]) -> Reader:
        """Return the reader of a loader, which knows its samples from an earlier evaluation."""
        if id(loader) not in self._readers:
            self._readers[id(loader)] = loader, Reader(loader, self._unpack)
        return self._readers[id(loader)][1]

    # Beginning and end

    def _arm(self) -> None:
        """Add the hooks if the next step is measured."""
        is_first = self._step == 0 and not self.subject.is_begun
        if (self._step + 1) % self._every == 0 or is_first:
            self.subject.capture.on()

    def _begin(
        self, outputs: Sequence[Output], labels: Tensor | None, *, are_all: bool = False
    ) -> None:
        subject = self.subject
        if self._fit is not None:
            with generators_kept():
                told = self._fit.index.labels
            if told is not None:
                of_fit = torch.from_numpy(told)
                labels = of_fit if labels is None else torch.cat([labels.cpu(), of_fit])
                are_all = True
        subject.begin(outputs, labels, are_all=are_all)
        names = self._class_names or tuple(map(str, range(subject.num_classes)))
        run = Run(self._config, names, subject.names, self.directory, subject.output)
        widths = {(one.path, one.call): one.values.values.shape[1] for one in outputs}
        self._layers = tuple(
            Layer(name, depth, key[0], torch.empty(0, widths[key]))
            for depth, (key, name) in enumerate(zip(subject.order, subject.names, strict=True))
        )
        manager = self._plugins.manager
        self._measurer = Measurer(self._metrics, run, manager, self._config.on_plugin_error)
        if self.directory is not None:
            self._open(run, self.directory)

    def _open(self, run: Run, directory: Path) -> None:
        """Write what is known of the run, and have its listeners listen."""
        subject = self.subject
        measurer = self._started()
        model = unwrapped(self._model)
        reductions = {
            path: reduction if isinstance(reduction, (str, int)) else _name_of(reduction)
            for path, reduction in subject.capture.reductions.items()
        }
        params = {
            "dataset": self._config.dataset,
            "model": self._config.model,
            "seed": None,
            "layers": len(subject.names) - (subject.output is not None),
            "metrics": [metric.label for metric in self._metrics],
            OBSERVED: reductions,
            **self._told,
        }
        write_whole(directory / PARAMS, dump_yaml(params))
        write_whole(directory / METRICS, dump_metric_info(x.info() for x in self._metrics))
        device = device_of(model)
        description = describe_environment(run, device) | {"seed": self._told.get("seed")}
        write_whole(directory / ENVIRONMENT, json.dumps(description, indent=2) + "\n")
        self._log = LogWriter(directory)
        self._test = TestResultsWriter(directory, "last")
        dispatcher = measurer.dispatcher
        for listener in (self._log, self._test, StatusWriter(directory, dispatcher)):
            dispatcher.add_essential(listener)
        told = ", ".join(
            f"{x.name} ({reductions[x.module]}, {x.activations.shape[1]} units)"
            for x in self._layers
        )
        output = subject.output or "none; name one that is scores of the classes with output="
        say(f"observing {type(model).__name__}: {told}; output: {output}")
        say(f"run directory {directory}")
        dispatcher.emit(
            "cmp_run_started",
            RunStarted(
                model=type(model).__name__,
                parameters=sum(parameter.numel() for parameter in model.parameters()),
                device=str(device),
                steps_per_epoch=0,
            ),
        )

    def _started(self) -> Measurer:
        assert self._measurer is not None  # the first forward pass has made it
        return self._measurer

    def _check_open(self) -> None:
        if self._is_closed:
            raise UsageError("the observer is closed; observe the model anew")

    def _end(self, error: BaseException | None) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self.subject.capture.off()
        if self._measurer is None:
            return
        dispatcher = self._measurer.dispatcher
        try:
            if error is not None:
                dispatcher.emit("cmp_run_failed", RunFailed(error, self._epoch, self._step))
            else:
                dispatcher.emit("cmp_run_finished", RunFinished(self._epoch, self._step))
        finally:
            if self._log is not None:
                self._log.close()
        if self._untrained and not self._is_tested and error is None and not self._step:
            warn(
                "the test was measured before training alone; of a finished model call test(loader)"
            )
        for failure in dispatcher.failures:
            warn(f"plugin {failure.plugin} raised in {failure.hook}: {failure.error}")


@attrs.frozen
class _Measured:
    """What a split gave."""

    acc: float
    loss: float
    rows: tuple[Row, ...]
    n: int


def observe(
    model: nn.Module,
    layers: Modules = "*",
    metrics: str | Sequence[Any] = "all",
    *,
    every: int = 50,
    out: str | Path | None = None,
    reduce: Reduction | Mapping[str, Reduction] = "mean",
    output: str | None = AUTO,
    fit: Iterable[Any] | None = None,
    anchors: Anchors = "class_mean",
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
    plugins: Sequence[str] = (),
    unpack: Unpack | None = None,
    snapshots: bool = True,
    on_plugin_error: str = "disable",
) -> Observer:
    """Return an observer of a model, for a `with` block or to be closed by `close()`.

    Args:
        model: any; it may be wrapped in `DataParallel` and the like, or compiled.
        layers: modules by path or pattern, or a function of path and module, see
            `chosen_modules`; by default the model's direct children. They are layers in the order
            in which they run.
        metrics: `all`, names, or functions and classes under `@metric`.
        every: steps from one measured batch to the next.
        out: the run directory to write, for `cmp report` and all other commands; none: nothing.
        reduce: from a module's output (n, …) to (n, N), see `reduced`; for all, or by pattern.
        output: path of the module whose output are the scores of the classes, none if there is
            none; `auto` takes one that the model returns, if it has a number for each class.
        fit: a loader of training samples, to which linear probes are fitted and from which class
            means are taken; without it probes are cross-validated on the evaluated samples.
        anchors: `class_mean` scores layers against the class means of `fit`, so that each has an
            accuracy; none: it does not.
        num_classes, class_names: where the output does not tell them.
        config: what distinguishes the run, such as `{"dataset": "cifar10", "seed": 0, "lr": 0.1}`;
            runs that differ in the seed alone are replicates.
        plugins: as `-p`.
        unpack: from a batch to one of the forms that `evaluate` knows.
        snapshots: store 2,048 samples of the test, with samples that probes are fitted to.
        on_plugin_error: `disable`, `warn` or `raise`.

    Raises:
        UsageError: a layer, metric or reduction is unknown, or `out` holds something.

    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> with observe(model, ["0", "2"], ["participation_ratio"], every=1) as watch:
    ...     _ = model(torch.randn(16, 4))
    ...     [row.layer for row in watch.step(labels=torch.arange(16) % 3)]
    ['0', '2']
    """
    return Observer(
        model,
        layers,
        metrics,
        every=every,
        out=out,
        reduce=reduce,
        output=output,
        fit=fit,
        anchors=anchors,
        num_classes=num_classes,
        class_names=class_names,
        config=config,
        plugins=plugins,
        unpack=unpack,
        snapshots=snapshots,
        on_plugin_error=on_plugin_error,
    )


@contextmanager
def _weights_of(other: nn.Module, model: nn.Module) -> Iterator[None]:
    """Give a model the weights of another one within a `with` block.

    Raises:
        UsageError: the other one has other names or shapes.
    """
    own = copy.deepcopy(model.state_dict())
    try:
        try:
            model.load_state_dict(unwrapped(other).state_dict())
        except RuntimeError as error:
            raise UsageError(f"untrained: expected the same architecture: {error}") from error
        yield
    finally:
        model.load_state_dict(own)


def _config(
    model: nn.Module, told: Mapping[str, Any], plugins: Sequence[str], on_plugin_error: str
) -> Config:
    """Return the configuration that listeners and plugins see."""
    seed = told.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise UsageError(f"config: expected a whole number as seed, got {seed!r}")
    return Config(
        dataset=str(told.get("dataset", "observed")),
        model=str(told.get("model", type(unwrapped(model)).__name__)),
        seed=seed or 0,
        plugins=tuple(plugins),
        on_plugin_error=on_plugin_error,
        snapshots=None,
    )


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", repr(function))


def _accuracy(event: LayerActivations, output: str | None) -> float:
    if output is None or event.labels is None:
        return math.nan
    return float(_loss_and_hits(event)[1]) / event.n


def _loss_and_hits(event: LayerActivations) -> Tensor:
    """Return the sum of the cross-entropies of the output, and how often it is right, (2,)."""
    scores, labels = event.layers[-1].scores, event.labels
    assert scores is not None  # the output's own
    assert labels is not None  # asked for where there are some
    exact = scores.float()
    loss = nn.functional.cross_entropy(exact, labels, reduction="sum")
    return torch.stack([loss, (exact.argmax(1) == labels).sum().to(loss.dtype)])
