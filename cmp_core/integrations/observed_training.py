"""What the callbacks have in common: an observer from the start of a training to its end."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from cmp_core.console import warn
from cmp_core.errors import UsageError, unknown
from cmp_core.observation.modules import Modules
from cmp_core.observation.observer import Observer, observe


class ObservedTraining:
    """Observes one training, whose model is there when it begins.

    Args:
        layers, metrics, options: of `observe`.
        test: a loader of test samples, measured before the first step and after the last.
        part: path of the module that is observed; none for the model itself.

    Raises:
        UsageError: `observe` has no such argument.
    """

    def __init__(
        self,
        layers: Modules,
        metrics: Any,
        test: Iterable[Any] | None,
        part: str | None,
        options: Mapping[str, Any],
    ) -> None:
        known = set(inspect.signature(observe).parameters) - {"model", "layers", "metrics"}
        for name in options:
            if name not in known:
                raise UsageError(f"CmpCallback: {unknown('argument', name, known)}")
        self._layers, self._metrics, self._options = layers, metrics, dict(options)
        self._test, self._part = test, part
        self._has_begun = False
        self.observer: Observer | None = None

    def begin(self, model: nn.Module, fit: Iterable[Any] | None, *, is_resumed: bool) -> None:
        """Observe a model from here on, and measure it on the test samples before its first step.

        Args:
            model: in training.
            fit: where the options name no other.
            is_resumed: whether the model was trained before, from a checkpoint.

        Raises:
            UsageError: the callback was used before, or `observe` cannot do what is asked.
        """
        if self._has_begun:
            raise UsageError("a CmpCallback observes one training; make a new one for each")
        options = {"fit": fit} | self._options
        self.observer = observe(self._observed(model), self._layers, self._metrics, **options)
        self._has_begun = True
        if self._test is None:
            return
        if is_resumed:
            warn("training goes on from a checkpoint: what the layers learned before is not known")
        else:
            self.observer.evaluate(self._test, phase="test")

    def begin_step(self) -> None:
        """Forget forward passes that are not those of the step."""
        if self.observer is not None:
            self.observer.subject.capture.clear()

    def step(self, **told: Any) -> None:
        """Count a step, and measure its batch if it is the turn.

        Args:
            told: arguments of `Observer.step`.

        Raises:
            UsageError: the step runs modules of the model, and not the model.
        """
        if self.observer is None:
            return
        capture = self.observer.subject.capture
        if capture.is_partial:
            raise UsageError(
                f"the training step runs modules of the model ({', '.join(capture.paths)}) and not "
                "the model itself; name the one that it calls, CmpCallback(model=…), and layers by "
                "their paths in it"
            )
        self.observer.step(**told)

    def evaluate(self, loader: Iterable[Any]) -> None:
        """Measure the validation split."""
        if self.observer is not None:
            self.observer.evaluate(loader)

    def end(self) -> None:
        """Measure the test split, and close the observer."""
        if self.observer is not None and self._test is not None:
            self.observer.test(self._test)
        self.close()

    def close(self, error: BaseException | None = None) -> None:
        """Close the observer, if it is open; see `Observer.close`."""
        if self.observer is not None:
            self.observer.close(error)
            self.observer = None

    def _observed(self, model: nn.Module) -> nn.Module:
        if self._part is None:
            return model
        paths = [path for path, _ in model.named_modules() if path]
        if self._part not in paths:
            raise UsageError(f"model: {unknown('module', self._part, paths)}")
        return model.get_submodule(self._part)


def fitting_loader(loader: Any, batch_size: int | None) -> DataLoader[Any] | None:
    """Return a shuffled loader of the samples of a training loader; none where there cannot be one.

    The training's own loader is left alone: to read it would move the generator that shuffles it.

    Args:
        loader: anything; what is no `DataLoader`, or one of a stream, has no samples to shuffle.
        batch_size: none where the batches are not of one size.

    >>> from torch.utils.data import TensorDataset
    >>> data = TensorDataset(torch.arange(6))
    >>> len(fitting_loader(DataLoader(data, 3), 3))
    2
    """
    if batch_size is None or not isinstance(loader, DataLoader):
        return None
    if isinstance(loader.dataset, IterableDataset):
        return None
    return DataLoader(
        loader.dataset,
        batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(0),
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        worker_init_fn=loader.worker_init_fn,
    )
