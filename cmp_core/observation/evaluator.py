"""Measuring a model under observation on whole splits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmp_core.data.load import FITTING
from cmp_core.distributed.processes import Processes
from cmp_core.events.activations import LayerActivations, Phase
from cmp_core.measurement.measurer import FitSamples, Measurer
from cmp_core.observation.batches import Reader
from cmp_core.observation.run_writer import RunWriter
from cmp_core.observation.subject import Subject
from cmp_core.statistics.fits import LinearFits
from cmp_core.training.class_means import without_means
from cmp_core.training.evaluator import Result


class Evaluator:
    """Measures splits, within `Subject.evaluating`.

    Args:
        subject: the model; its layers are known.
        measurer: where events go.
        fit: reads the samples that linear fits are made to, or none.
        writer: stores tests, or none.
        processes: of which each runs the model on samples of its own.
    """

    def __init__(
        self,
        subject: Subject,
        measurer: Measurer,
        fit: Reader | None,
        writer: RunWriter | None,
        processes: Processes,
    ) -> None:
        self._subject, self._measurer, self._fit = subject, measurer, fit
        self._writer, self._processes = writer, processes

    def measure(self, reader: Reader, phase: Phase, epoch: int, step: int) -> Result:
        """Measure a split; one of phase `test` is stored, if there is a run directory.

        Args:
            reader: of its samples.
            phase: `val` or `test`.
            epoch, step: of the weights.
        """
        subject = self._subject
        for known in (reader, self._fit):
            if known is not None and known.index.labels is not None:
                subject.see(int(known.index.labels.max()))
        ids, labels = self._rows(reader)
        totals = [torch.zeros(2, dtype=torch.float64)]

        def read(pass_index: int) -> Iterator[LayerActivations]:
            for batch in reader.batches():
                here, outputs = subject.forward(batch)
                event = subject.event(outputs, here, phase, "chunk", epoch, step, pass_index)
                if pass_index == 1 and subject.output is not None and event.labels is not None:
                    totals.append(loss_and_hits(event).cpu().double())
                yield event

        with self._storing(ids, phase):
            fits = self._fits(reader, phase, epoch, step)
            rows = self._measurer.split(ids, labels, read, fits, errors=True)
        n, total = len(ids), self._processes.reduce(torch.stack(totals).sum(0), torch.add)
        has_scores = subject.output is not None and labels is not None
        loss, acc = (total / n).tolist() if has_scores else (math.nan, math.nan)
        return Result(acc, loss, rows, n)

    def _storing(self, ids: NDArray[np.int64], phase: Phase) -> AbstractContextManager[None]:
        if self._writer is None or phase != "test":
            return nullcontext()
        fitting = np.zeros(0, np.int64) if self._fit is None else self._fit.index.ids
        return self._writer.storing(ids, fitting)

    def _fits(self, scored: Reader, phase: Phase, epoch: int, step: int) -> LinearFits | None:
        """Return fits to the samples of `fit`, and measure their class means."""
        reader, subject = self._fit, self._subject
        if reader is None:
            return None
        share = None if phase == "test" else math.ceil(FITTING / self._processes.size)
        count, n = reader.first(share)

        def read() -> Iterator[LayerActivations]:
            batches = reader.batches(in_order=False)
            for _, batch in zip(range(count), batches, strict=False):
                here, outputs = subject.forward(batch)
                yield subject.event(outputs, here, phase, "fit", epoch, step)

        if subject.means is not None:
            subject.means.measure(
                (without_means(event.all_layers), event.labels)
                for event in read()
                if event.labels is not None
            )
        return self._measurer.fit(FitSamples(n, reader.index.labels, read), scored.index.labels)

    def _rows(self, reader: Reader) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Return ids and labels of the rows of a split; positions that are samples are rows."""
        index = reader.index
        if "samples" not in self._subject.capture.reductions.values():
            return index.ids, index.labels
        ids, labels = [], []
        for batch in reader.batches():
            here, outputs = self._subject.forward(batch)
            event = self._subject.event(outputs, here, "test", "chunk", 0, 0)
            ids.append(event.sample_ids.cpu())
            labels += [] if event.labels is None else [event.labels.cpu()]
        told = self._processes.gather((torch.cat(ids), torch.cat(labels) if labels else None))
        all_labels = [known for _, known in told if known is not None]
        return (
            torch.cat([own for own, _ in told]).numpy(),
            torch.cat(all_labels).numpy() if all_labels else None,
        )


def loss_and_hits(event: LayerActivations) -> Tensor:
    """Return the sum of the cross-entropies of the output, and how often it is right, (2,)."""
    scores, labels = event.layers[-1].scores, event.labels
    assert scores is not None  # the output's own
    assert labels is not None  # asked for where there are some
    exact = scores.float()
    loss = nn.functional.cross_entropy(exact, labels, reduction="sum")
    return torch.stack([loss, (exact.argmax(1) == labels).sum().to(loss.dtype)])
