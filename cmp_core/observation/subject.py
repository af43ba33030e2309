"""A model under observation: its modules' outputs as the layers of activation events."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from cmp_core.distributed.processes import ALONE, Processes
from cmp_core.errors import UsageError, unknown
from cmp_core.events.activations import LayerActivations, Part, Phase
from cmp_core.events.rows import INPUT
from cmp_core.layers.arrays import as_labels, wide
from cmp_core.layers.layer import Layer
from cmp_core.observation.batches import Batch
from cmp_core.observation.capture import Capture, Output, device_of
from cmp_core.observation.modules import Modules, unwrapped
from cmp_core.observation.reduction import Reduction
from cmp_core.text import counted
from cmp_core.training.class_means import ClassMeans

POSITIONS = 2**20
"""Ids of positions that are samples are sample id · 2^20 + position."""

INPUT_UNITS = 4096
"""Inputs of so many numbers a sample are measured like a layer; larger ones are not."""

Anchors = Literal["class_mean"] | None
AUTO = "auto"


class Subject:
    """A model whose modules are layers.

    Args:
        model: any; it is left as it was.
        layers, reduce: see `Capture`.
        output: path of the module whose output is the model's scores of classes, none where there
            is none; `auto` takes the first that the model returns, if it has a number of either
            sign for each class, and at most twice as many as there are labels of.
        anchors: `class_mean` scores the other layers against the class means of fitting samples.
        num_classes: C, where it is known.
        processes: that share the class means.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Modules,
        reduce: Reduction | Mapping[str, Reduction],
        output: str | None,
        anchors: Anchors,
        num_classes: int | None,
        processes: Processes = ALONE,
    ) -> None:
        self._processes = processes
        self.capture = Capture(model, layers, reduce)
        self._model = unwrapped(model)
        if output not in (None, AUTO) and output not in self.capture.paths:
            raise UsageError(f"output: {unknown('layer', str(output), self.capture.paths)}")
        self._asked_output = output
        self._anchors = anchors
        self._known_classes = num_classes
        self._has_all_classes = False
        self.doubts: tuple[str, ...] = ()
        self._order: tuple[tuple[str, int], ...] = ()
        self._names: dict[tuple[str, int], str] = {}
        self.output: str | None = None
        self.num_classes = 0
        self.means: ClassMeans | None = None

    @property
    def is_begun(self) -> bool:
        """Whether the layers are known, which the first forward pass tells."""
        return bool(self._order)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the layers in the order of execution, the output last."""
        return tuple(self._names[key] for key in self._order)

    @property
    def order(self) -> tuple[tuple[str, int], ...]:
        """Path and call of each layer, in that order."""
        return self._order

    def begin(self, outputs: Sequence[Output], labels: Tensor | None) -> None:
        """Learn from a first forward pass what the layers are.

        Args:
            outputs: of the pass.
            labels: some of the labels.
        """
        calls = [(output.path, output.call) for output in outputs]
        paths = [path for path, _ in calls]
        self._names = {
            (path, call): path if paths.count(path) == 1 else f"{path}:{call}"
            for path, call in calls
        }
        seen = 0 if labels is None or not len(labels) else int(labels.max()) + 1
        classes = self._known_classes or seen
        output = self._output_of(outputs, classes)
        self._order = tuple(calls)
        # What the first process takes for it is the output in all.
        key = self._processes.gather(None if output is None else (output.path, output.call))[0]
        if key is not None:
            width = next(x.values.values.shape[1] for x in outputs if (x.path, x.call) == key)
            self._order = (*(other for other in calls if other != key), key)
            self.output = self._names[key]
            self._has_all_classes = True
            classes = self._known_classes or width
        self._has_all_classes |= bool(self._known_classes)
        self._set_classes(classes)

    def _output_of(self, outputs: Sequence[Output], classes: int) -> Output | None:
        """Return the output that is scores of the classes, as it was told, or as it must be.

        Args:
            outputs: of a pass.
            classes: how many there are at least; 0 where nothing is known of them.
        """
        if self._asked_output != AUTO:
            return next((x for x in reversed(outputs) if x.path == self._asked_output), None)
        returned = [x for x in outputs if x.returned is not None and x.values.samples is None]
        # Scores have either sign; a batch, or a split, may lack the last classes.
        signed = [x for x in returned if bool((x.values.values < 0).any())]
        fitting = [x for x in signed if _may_be_scores(x, classes, self._known_classes)]
        if not fitting:
            wide = [x for x in signed if classes and x.values.values.shape[1] >= classes]
            self.doubts = tuple(
                f"{self._names[x.path, x.call]} is returned by the model, but has "
                f"{counted(x.values.values.shape[1], 'unit')} for {counted(classes, 'class')}, and "
                f"counts as a hidden layer; if these are scores of the classes, say "
                f"output='{x.path}'"
                for x in wide
            )
            return None
        return min(fitting, key=lambda x: x.returned or 0)  # logits come first in a tuple

    def see(self, label: int) -> None:
        """Learn that there is a label, where nothing tells how many classes there are."""
        if not self._has_all_classes and label >= self.num_classes:
            self._set_classes(label + 1)

    def _set_classes(self, number: int) -> None:
        self.num_classes = number
        if self._anchors is not None and number:
            self.means = ClassMeans(number, "cosine", 0.05, self._processes)

    def event(
        self,
        outputs: Sequence[Output],
        batch: Batch,
        phase: Phase,
        part: Part,
        epoch: int,
        step: int,
        pass_index: int = 1,
    ) -> LayerActivations:
        """Return the event of a batch whose forward pass was captured.

        Raises:
            UsageError: other layers ran than in the first pass, or labels do not fit.
        """
        by_key = {(one.path, one.call): one.values for one in outputs}
        if by_key.keys() != set(self._order):
            raise UsageError(
                "other layers ran than in the first pass: expected "
                f"{', '.join(self.names)}, got {', '.join(f'{p}:{c}' for p, c in by_key)}"
            )
        values = {self._names[key]: by_key[key].values for key in self._order}
        first = next(iter(values.values()))
        ids, labels = self.rows(outputs, batch)
        if any(len(own) != len(ids) for own in values.values()):
            shapes = ", ".join(f"{name} {tuple(own.shape)}" for name, own in values.items())
            raise UsageError(
                f"expected {len(ids)} samples in every layer, got {shapes}; the first dimension of "
                "an output is that of samples, or give a function with reduce="
            )
        inputs = self._inputs(batch) if outputs[0].values.samples is None else None
        reference = None
        if inputs is not None and part != "batch":
            reference = self._scored(Layer(INPUT, -1, INPUT, inputs))
        layers = [
            self._scored(self._layer(name, depth, own))
            for depth, (name, own) in enumerate(values.items())
        ]
        event = LayerActivations(
            source="live",
            phase=phase,
            part=part,
            epoch=epoch,
            step=step,
            layers=tuple(layers),
            sample_ids=ids.to(first.device),
            labels=None if labels is None else labels.to(first.device),
            inputs=inputs,
            num_classes=self.num_classes,
            pass_index=pass_index,
            reference=reference,
        )
        if batch.own is None:
            return event
        samples = outputs[0].values.samples
        own = batch.own if samples is None else batch.own[samples.to(batch.own.device)]
        return event.select(own.to(first.device).nonzero()[:, 0], part)

    def rows(self, outputs: Sequence[Output], batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the ids (k,) and labels (k,) of the rows: of samples, or of their positions."""
        assert batch.ids is not None  # the reader gives each batch ids
        labels = batch.labels
        if labels is not None:
            labels = as_labels(labels, num_classes=self.num_classes or None)
        first = outputs[0].values
        same = [
            (one.values.samples is None) == (first.samples is None)
            and (
                first.samples is None
                or one.values.samples is None
                or torch.equal(one.values.samples, first.samples)
            )
            for one in outputs
        ]
        if not all(same):
            raise UsageError(
                "samples: expected the same positions in every layer; choose layers of one shape"
            )
        if first.samples is None or first.positions is None:
            return batch.ids, labels
        samples = first.samples.to(batch.ids.device)
        if len(batch.ids) and int(batch.ids.max()) >= 2**63 // POSITIONS:
            raise UsageError(f"samples: expected sample ids below {2**63 // POSITIONS}")
        ids = batch.ids[samples] * POSITIONS + first.positions.to(batch.ids.device)
        return ids, None if labels is None else labels[samples.to(labels.device)]

    def _layer(self, name: str, depth: int, values: Tensor) -> Layer:
        activations = values if values.is_floating_point() else wide(values)
        if activations.is_complex():
            raise UsageError(f"layer {name}: expected real activations, got {values.dtype}")
        scores = activations if name == self.output else None
        return Layer(name, depth, name.partition(":")[0], activations, scores)

    def _scored(self, layer: Layer) -> Layer:
        return layer if self.means is None else self.means.attach(layer)

    def _inputs(self, batch: Batch) -> Tensor | None:
        """Return the inputs (n, d) where they are numbers, and not too many."""
        first = next(iter(batch.tensors), None)
        if first is None or first.ndim < 2 or not first.is_floating_point():
            return None
        inputs = first.detach().flatten(1)
        return inputs if inputs.shape[1] <= INPUT_UNITS else None

    # Running the model

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Have the model in eval mode, with hooks, without gradients, and uncompiled.

        Afterwards its modules are in the modes that they were in, and the global generators stand
        where they stood.
        """
        modes = [(module, module.training) for module in self._model.modules()]
        with (
            torch.no_grad(),
            torch.compiler.set_stance("force_eager"),
            generators_kept(),
            self.capture.set_aside(),
        ):
            try:
                self._model.eval()
                self.capture.on()
                yield
            finally:
                for module, was_training in modes:
                    module.training = was_training

    def forward(self, batch: Batch) -> tuple[Batch, tuple[Output, ...]]:
        """Run the model on a batch, within `evaluating`, and return it on the model's device."""
        here = batch.to(device_of(self._model))
        self._model(*here.arguments, **here.keywords)
        return here, self.capture.take()


def _may_be_scores(one: Output, classes: int, known: int | None) -> bool:
    width = one.values.values.shape[1]
    return width == known if known else 0 < classes <= width <= 2 * classes


@contextmanager
def generators_kept() -> Iterator[None]:
    """Have the generators of CPU and CUDA stand after a `with` block where they stood before.

    A data loader draws from torch's each time that it is read.
    """
    states = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(list(range(torch.cuda.device_count()))):
        try:
            yield
        finally:
            np.random.set_state(states[0])
            random.setstate(states[1])
