"""Observing a model in a loop of one's own: what `cmp run` writes, from any torch model."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from operator import mul
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import torch
from torch import Tensor, nn

from cmp_core.config.schema import Config, Selection
from cmp_core.console import say, warn
from cmp_core.distributed.processes import Processes
from cmp_core.errors import UsageError, unknown
from cmp_core.events.activations import LayerActivations, Phase, joined
from cmp_core.events.payloads import EpochFinished, Run, RunFailed, RunFinished, StepFinished
from cmp_core.events.rows import Row
from cmp_core.layers.layer import Layer
from cmp_core.measurement.measurer import Measurer
from cmp_core.measurement.selection import as_metrics
from cmp_core.observation.batches import Batch, Reader, Unpack, classes_of
from cmp_core.observation.capture import Output
from cmp_core.observation.evaluator import Evaluator, loss_and_hits
from cmp_core.observation.modules import Modules, unwrapped
from cmp_core.observation.reduction import Reduction
from cmp_core.observation.run_writer import RunWriter, name_of
from cmp_core.observation.subject import AUTO, Anchors, Subject, generators_kept
from cmp_core.plugins.loader import load_plugins, new_manager
from cmp_core.runs.directory import open_new_run
from cmp_core.text import counted
from cmp_core.training.class_means import without_means
from cmp_core.training.evaluator import Result

READERS = 4
"""Of so many loaders the samples are remembered; others are read anew for labels and ids."""


class Observer:
    """Measures modules of a model as layers, in a `with` block or until `close()`.

    Hooks are on the model only for steps that are measured. Where `torch.distributed` is in use,
    every process observes, each its own samples; the first writes the run directory.

    Args:
        model: any; it may be wrapped in `DistributedDataParallel` and the like, or compiled.
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
        num_classes: C, where the output does not tell it.
        class_names: where the output does not tell them.
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
    observing Sequential: 0 (mean, 8 units), 2 (mean, 3 units); output: 2
    ['0', '2']
    """

    def __init__(
        self,
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
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise UsageError(f"every: expected a number of steps from 1 on, got {every!r}")
        if anchors not in (None, "class_mean"):
            raise UsageError(unknown("anchors", str(anchors), ("class_mean", "None")))
        names = None if class_names is None else tuple(map(str, class_names))
        if names is not None:
            if num_classes not in (None, len(names)):
                raise UsageError(f"num_classes is {num_classes}, and there are {len(names)} names")
            num_classes = len(names)
        self._model, self._every, self._class_names = model, every, names
        self._told = dict(config or {})
        self._plugins = load_plugins(plugins)
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
        self._processes = Processes.started()
        self._unpack, self._stores = unpack, snapshots
        self._fit = None if fit is None else Reader(fit, unpack, self._processes)
        self._readers: dict[int, tuple[Iterable[Any], Reader]] = {}
        self.subject = Subject(model, layers, reduce, output, anchors, num_classes, self._processes)
        self.directory = (
            None if out is None else self._processes.on_first(lambda: open_new_run(out))
        )
        self._measurer: Measurer | None = None
        self._writer: RunWriter | None = None
        self._untrained: tuple[Row, ...] = ()
        self._step = self._epoch = 0
        self._is_tested = self._is_closed = False
        self._arm()

    def __repr__(self) -> str:
        layers = ", ".join(self.subject.names or self.subject.capture.paths)
        where = "" if self.directory is None else f", {str(self.directory)!r}"
        return f"<Observer of {type(unwrapped(self._model)).__name__}: {layers}{where}>"

    # What a loop calls

    @property
    def is_due(self) -> bool:
        """Whether the next step is measured."""
        return self.subject.capture.is_on

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
            labels: (n,) of the batch; otherwise those that the model was given as its argument
                `labels`, as Hugging Face's are, if these are (n,) whole numbers. Metrics that need
                labels have no value without.
            loss: for the log.
            ids: (n,) of the samples; otherwise their position.

        Raises:
            UsageError: the model was not run, labels do not fit, or the observer is closed.
        """
        self._check_open()
        self._step += 1
        if not self.is_due:
            self._arm()
            return ()
        known = self.subject.capture.labels if labels is None else labels
        try:
            return self._measured(self.subject.capture.take(), known, ids, loss)
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
        if self._writer is not None:
            tested = RunFinished(
                epoch=max(1, self._epoch),
                step=self._step,
                acc=measured.acc,
                test_loss=measured.loss,
                rows=measured.rows,
                untrained_rows=self._untrained,
                n=measured.n,
            )
            self._writer.tested(tested)
        return measured.rows

    def _before(self, loader: Iterable[Any]) -> tuple[Row, ...]:
        """Measure the untrained network on the test split."""
        self._untrained = self._split(loader, "test", 0).rows
        return self._untrained

    def close(self, error: BaseException | None = None) -> None:
        """Remove the hooks and finish the run's files.

        Args:
            error: what has ended the training, which the run's status tells: it failed, or was
                interrupted.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self.subject.capture.off()
        if self._measurer is None:
            if self.directory is not None and self._processes.is_first:
                with suppress(OSError):  # it holds what somebody else has put there
                    self.directory.rmdir()  # the model never ran
            return
        dispatcher = self._measurer.dispatcher
        try:
            if error is not None:
                dispatcher.emit("cmp_run_failed", RunFailed(error, self._epoch, self._step))
            else:
                epoch = max(1, self._epoch) if self._is_tested else self._epoch
                dispatcher.emit("cmp_run_finished", RunFinished(epoch, self._step))
        finally:
            if self._writer is not None:
                self._writer.close()
        if not self._processes.is_first:
            return
        if self._untrained and not self._is_tested and error is None and not self._step:
            warn(
                "the test was measured before training alone; of a finished model call test(loader)"
            )
        for failure in dispatcher.failures:
            warn(f"plugin {failure.plugin} raised in {failure.hook}: {failure.error}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        self.close(error)

    # Measuring

    def _measured(
        self, outputs: Sequence[Output], labels: Any, ids: Any, loss: float | Tensor | None
    ) -> tuple[Row, ...]:
        first = outputs[0].values
        n = len(first.values) if first.samples is None else int(first.samples.max()) + 1
        known = None if labels is None else classes_of(labels)
        if known is not None and len(known) != n:
            raise UsageError(f"expected labels of {counted(n, 'sample')}, got {len(known)}")
        mean_loss = math.nan if loss is None else float(torch.as_tensor(loss).detach())
        top = -1 if known is None or not len(known) else int(known.max())
        sizes, losses, tops = zip(*self._processes.gather((n, mean_loss, top)), strict=True)
        if ids is None:  # positions in the batch of all processes
            sample_ids = torch.arange(n) + sum(sizes[: self._processes.rank])
        else:
            sample_ids = torch.as_tensor(ids).reshape(-1)
        if not self.subject.is_begun:
            self._begin(outputs, known)
        self.subject.see(max(tops))
        batch = Batch((), {}, known, sample_ids)
        measurer = self._started()
        with torch.no_grad():
            event = self._of_all(
                self.subject.event(outputs, batch, "train", "batch", self._epoch + 1, self._step)
            )
            rows = measurer.batch(event)
            if self.subject.means is not None and event.labels is not None:
                self.subject.means.follow(without_means(event.layers), event.labels)
        finished = StepFinished(
            epoch=self._epoch + 1,
            iter=self._step,
            step=self._step,
            loss=sum(map(mul, sizes, losses)) / sum(sizes),
            acc=_accuracy(event, self.subject.output),
            n=event.n,
            rows=rows,
        )
        measurer.dispatcher.emit("cmp_step_finished", finished)
        return rows

    def _of_all(self, event: LayerActivations) -> LayerActivations:
        """Return the samples of all processes, each once."""
        if self._processes.size == 1:
            return event
        whole = joined(self._processes.gather(event))  # in the order of their ids
        is_new = torch.ones_like(whole.sample_ids, dtype=torch.bool)
        is_new[1:] = whole.sample_ids[1:] != whole.sample_ids[:-1]
        return whole.select(is_new.nonzero()[:, 0], "batch")

    def _split(self, loader: Iterable[Any], phase: Phase, epoch: int) -> Result:
        """Measure a split."""
        with self.subject.evaluating():
            reader = self._reader(loader)
            if not self.subject.is_begun:
                _, outputs = self.subject.forward(next(reader.batches()))
                labels = reader.index.labels
                self._begin(outputs, None if labels is None else torch.from_numpy(labels))
            evaluator = Evaluator(
                self.subject, self._started(), self._fit, self._writer, self._processes
            )
            measured = evaluator.measure(reader, phase, epoch, self._step)
        if not self.subject.capture.has_run:  # what the layers are is known now
            self.subject.capture.off()
            self._arm()
        return measured

    def _reader(self, loader: Iterable[Any]) -> Reader:
        """Return the reader of a loader, which knows its samples from an earlier evaluation."""
        known = self._readers.pop(id(loader), None)
        reader = Reader(loader, self._unpack, self._processes) if known is None else known[1]
        self._readers[id(loader)] = loader, reader  # the newest last
        while len(self._readers) > READERS:
            del self._readers[next(iter(self._readers))]
        return reader

    # Beginning and end

    def _arm(self) -> None:
        """Add the hooks if the next step is measured."""
        is_first = self._step == 0 and not self.subject.is_begun
        if (self._step + 1) % self._every == 0 or is_first:
            self.subject.capture.on()

    def _begin(self, outputs: Sequence[Output], labels: Tensor | None) -> None:
        """Learn what the layers are, and make what measures and writes.

        Args:
            outputs: of a first forward pass.
            labels: some of the labels.
        """
        subject = self.subject
        told = [own for own in self._processes.gather(labels) if own is not None]
        if self._fit is not None:
            with generators_kept():
                of_fit = self._fit.index.labels
            if of_fit is not None:
                told.append(torch.from_numpy(of_fit))
        known = torch.cat([own.cpu() for own in told]) if told else None
        subject.begin(outputs, known)
        names = self._class_names or tuple(map(str, range(subject.num_classes)))
        run = Run(self._config, names, subject.names, self.directory, subject.output)
        # What is no metric and listens, to write or to send, does so once.
        manager = self._plugins.manager if self._processes.is_first else new_manager()
        self._measurer = Measurer(
            self._metrics, run, manager, self._config.on_plugin_error, self._processes
        )
        if self.directory is not None:
            widths = {(one.path, one.call): one.values.values.shape[1] for one in outputs}
            layers = tuple(
                Layer(name, depth, key[0], torch.empty(0, widths[key]))
                for depth, (key, name) in enumerate(zip(subject.order, subject.names, strict=True))
            )
            self._writer = RunWriter(
                run,
                layers,
                subject.capture.reductions,
                stores=self._stores,
                plugins=self._plugins,
                dispatcher=self._measurer.dispatcher,
                processes=self._processes,
            )
            self._writer.start(unwrapped(self._model), self._told, self._metrics)
        if self._processes.is_first:
            self._say_what_is_observed(outputs)

    def _say_what_is_observed(self, outputs: Sequence[Output]) -> None:
        subject = self.subject
        sizes = {(one.path, one.call): one.values.values.shape[1] for one in outputs}
        widths = {key: counted(size, "unit") for key, size in sizes.items()}
        layers = ", ".join(
            f"{name} ({name_of(subject.capture.reductions[key[0]])}, {widths[key]})"
            for key, name in zip(subject.order, subject.names, strict=True)
        )
        output = subject.output or "none; name one that is scores of the classes with output="
        say(f"observing {type(unwrapped(self._model)).__name__}: {layers}; output: {output}")
        for doubt in subject.doubts:
            warn(doubt)

    def _started(self) -> Measurer:
        assert self._measurer is not None  # the first forward pass has made it
        return self._measurer

    def _check_open(self) -> None:
        if self._is_closed:
            raise UsageError("the observer is closed; observe the model anew")


observe = Observer


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


def _accuracy(event: LayerActivations, output: str | None) -> float:
    if output is None or event.labels is None:
        return math.nan
    return float(loss_and_hits(event)[1]) / event.n
