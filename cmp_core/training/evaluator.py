"""Measuring the current weights on a split: accuracy, loss and the rows of all metrics."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmp_core.config.schema import Config
from cmp_core.data.load import Data
from cmp_core.data.splits import Batch, Split
from cmp_core.distributed.processes import ALONE, Processes
from cmp_core.errors import UsageError
from cmp_core.events.activations import LayerActivations, Part, Phase, chunk_size
from cmp_core.events.payloads import RunFinished
from cmp_core.events.rows import INPUT, Row
from cmp_core.layers.arrays import wide
from cmp_core.layers.layer import Layer
from cmp_core.measurement.measurer import FitSamples, Measurer
from cmp_core.measurement.reference import MeasuredReference
from cmp_core.statistics.fits import LinearFits
from cmp_core.text import NAME, described, is_name
from cmp_core.training.class_means import ClassMeans
from cmp_core.training.learning_rule import LearningRule
from cmp_core.training.model import LayeredModel


@attrs.frozen
class Result:
    """What a split gave: accuracy of the output layer, loss of the rule, rows, and samples."""

    acc: float
    loss: float
    rows: tuple[Row, ...]
    n: int


class Evaluator:
    """Observes a model: turns its layers into events, and measures whole splits.

    `widths` are the units of the input and of each layer by name.

    Args:
        model: the network.
        rule: gives the losses.
        data: the splits.
        measurer: where events go.
        layers: what `probe` returned.
        untrained: the model's state before training.
        config: `similarity` and `tau` of the class means' scores.
        processes: of which each runs the model on a share of the samples.
    """

    def __init__(
        self,
        model: LayeredModel,
        rule: LearningRule,
        data: Data,
        measurer: Measurer,
        layers: Sequence[Layer],
        untrained: Mapping[str, Any],
        config: Config,
        processes: Processes = ALONE,
    ) -> None:
        self._processes = processes
        self._model, self._untrained = model, untrained
        self._rule = rule
        self._data = data
        self._measurer = measurer
        self.means = ClassMeans(len(data.class_names), config.similarity, config.tau, processes)
        self._references: dict[Phase, MeasuredReference] = defaultdict(MeasuredReference)
        self._needs_means = any(layer.scores is None for layer in layers)
        self.widths = {INPUT: data.input_size}
        self.widths |= {layer.name: layer.activations.shape[1] for layer in layers}
        self._chunk = chunk_size(sum(self.widths.values()))

    @torch.no_grad()
    def refresh_class_means(self) -> None:
        """Measure the class means of the current weights on the data's reference samples."""
        if self.means.knows(INPUT) and not self._needs_means:
            return  # the input's own means do not change
        self._model.eval()
        batches = self._data.train.batches(self._share(self._data.reference), self._chunk)
        self.means.measure((self._without_anchors(batch), batch.labels) for batch in batches)

    @torch.no_grad()
    def fit(
        self, epoch: int, step: int, *, errors: bool = False, to_all: bool = False
    ) -> LinearFits | None:
        """Make the linear fits that score splits, in eval mode; none where no metric asks for them.

        Args:
            epoch, step: of the weights.
            errors: as the splits are measured.
            to_all: fit to all training samples, for the test, instead of a fixed part of them.
        """
        self._model.eval()
        data = self._data
        positions = np.arange(len(data.train.ids)) if to_all else data.fitting
        phase: Phase = "test" if to_all else "val"

        def read() -> Iterator[LayerActivations]:
            for batch in data.train.batches(self._share(positions), self._chunk):
                yield self.event(self._model(batch.inputs), batch, phase, "fit", epoch, step)

        samples = FitSamples(len(positions), data.train.labels[positions], read)
        scored = [data.test.labels] if to_all else [data.val.labels, data.train.labels]
        phases: tuple[Phase, ...] = ("test",) if to_all else ("val", "train")
        is_known = all(self._references[own].is_known(errors=errors) for own in phases)
        return self._measurer.fit(samples, *scored, reference_is_known=is_known)

    @torch.no_grad()
    def measure(
        self,
        phase: Phase,
        epoch: int,
        step: int,
        fits: LinearFits | None,
        *,
        errors: bool = False,
    ) -> Result:
        """Measure a split in eval mode; `train` is the fixed training subset.

        Args:
            phase: of the split.
            epoch, step: of the weights.
            fits: to training samples, of these weights.
            errors: give each value a standard error.
        """
        self._model.eval()
        split, positions = self._split(phase)
        totals = [torch.zeros(2, dtype=torch.float64)]

        def read(pass_index: int) -> Iterator[LayerActivations]:
            for batch in split.batches(self._share(positions), self._chunk):
                layers = self._model(batch.inputs)
                if pass_index == 1:
                    loss = self._rule.losses(layers, batch.labels).mean() * len(batch.labels)
                    totals.append(torch.stack([loss, correct(layers, batch.labels).sum()]))
                yield self.event(layers, batch, phase, "chunk", epoch, step, pass_index)

        ids, labels = split.ids[positions], split.labels[positions]
        reference = self._references[phase]
        rows = self._measurer.split(ids, labels, read, fits, errors=errors, reference=reference)
        total = torch.stack([own.cpu().double() for own in totals]).sum(0)
        loss, hits = self._processes.reduce(total, torch.add).tolist()
        n = len(positions)
        return Result(acc=hits / n, loss=loss / n, rows=rows, n=n)

    def test(self, epoch: int, step: int) -> RunFinished:
        """Measure the current weights and those before training on the test split.

        Args:
            epoch, step: of the current weights, which the model has again afterwards.
        """
        trained = copy.deepcopy(self._model.state_dict())
        self._model.load_state_dict(self._untrained)
        before = self._tested(0, 0)
        self._model.load_state_dict(trained)
        test = self._tested(epoch, step)
        return RunFinished(
            epoch=epoch,
            step=step,
            acc=test.acc,
            test_loss=test.loss,
            rows=test.rows,
            untrained_rows=before.rows,
            n=test.n,
        )

    def _tested(self, epoch: int, step: int) -> Result:
        self.refresh_class_means()
        fits = self.fit(epoch, step, errors=True, to_all=True)
        return self.measure("test", epoch, step, fits, errors=True)

    def event(
        self,
        layers: Sequence[Layer],
        batch: Batch,
        phase: Phase,
        part: Part,
        epoch: int,
        step: int,
        pass_index: int = 1,
    ) -> LayerActivations:
        """Return the detached event of a batch, with the input as a reference if it is no batch."""
        inputs = batch.inputs.flatten(1)
        return LayerActivations(
            source="live",
            phase=phase,
            part=part,
            epoch=epoch,
            step=step,
            layers=tuple(self.means.attach(_detached(layer)) for layer in layers),
            sample_ids=batch.sample_ids,
            labels=batch.labels,
            inputs=inputs,
            num_classes=len(self._data.class_names),
            pass_index=pass_index,
            reference=self.means.attach(_reference(inputs)) if part != "batch" else None,
        )

    def _share(self, positions: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the positions of the samples that this process runs the model on."""
        return positions[self._processes.rank :: self._processes.size]

    def _split(self, phase: Phase) -> tuple[Split, NDArray[np.intp]]:
        if phase == "train":
            return self._data.train, self._data.measured
        split = self._data.val if phase == "val" else self._data.test
        return split, np.arange(len(split.ids))

    def _without_anchors(self, batch: Batch) -> list[Layer]:
        reference = _reference(batch.inputs.flatten(1))
        return [reference, *self._model(batch.inputs)] if self._needs_means else [reference]


@torch.no_grad()
def probe(model: LayeredModel, rule: LearningRule, data: Data) -> tuple[Layer, ...]:
    """Return the model's layers on one training sample, to learn what they are.

    Raises:
        UsageError: the layers are not what the engine or the rule needs.
    """
    model.eval()
    batch = next(data.train.batches(np.arange(1), 1))
    layers: tuple[Layer, ...] = model(batch.inputs)
    if [layer.depth for layer in layers] != list(range(len(layers))):
        depths = ", ".join(f"{layer.name} {layer.depth}" for layer in layers)
        raise UsageError(f"model: expected layers of depth 0, 1, 2, … in order, got {depths}")
    if odd := [layer.name for layer in layers if not is_name(layer.name)]:
        raise UsageError(f"model: expected as the name of a layer {NAME}, got {described(odd[0])}")
    if strange := [layer for layer in layers if layer.activations.is_complex()]:
        raise UsageError(
            f"model: expected real activations, {strange[0].name} has "
            f"{strange[0].activations.dtype}; hand over moduli, or real and imaginary parts"
        )
    if layers[-1].scores is None:
        raise UsageError(f"model: expected scores at its last layer, {layers[-1].name} has none")
    rule.losses(layers, batch.labels)
    return layers


def correct(layers: Sequence[Layer], labels: Tensor) -> Tensor:
    """Return which samples (n,) the output layer classifies rightly."""
    scores = layers[-1].scores
    assert scores is not None  # `probe` has refused a model without scores at its output
    return scores.argmax(1) == labels


def _detached(layer: Layer) -> Layer:
    # The anchors are the model's own buffer: a plugin that writes into them must hit a copy.
    anchors = None if layer.anchors is None else layer.anchors.clone()
    detached = attrs.evolve(layer, anchors=anchors).map_tensors(Tensor.detach)
    if detached.activations.is_floating_point():
        return detached
    return attrs.evolve(detached, activations=wide(detached.activations))  # spikes, say


def _reference(inputs: Tensor) -> Layer:
    return Layer(INPUT, -1, INPUT, inputs)
