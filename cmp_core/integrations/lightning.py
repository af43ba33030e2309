"""A callback for Lightning's `Trainer`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

import torch

from cmp_core.integrations.observed_training import ObservedTraining, fitting_loader
from cmp_core.observation.batches import Unpack, unpacked
from cmp_core.observation.modules import Modules

if find_spec("lightning") is not None:
    from lightning.pytorch import Callback
elif find_spec("pytorch_lightning") is not None:
    from pytorch_lightning import Callback
else:
    raise ImportError(
        "cmp_core.integrations.lightning needs Lightning: "
        "pip install 'chain-of-metric-predictors[lightning]'"
    )


class CmpCallback(Callback):
    """Observes a training by Lightning: training batches, validation epochs and a test.

    A step is a training batch, also where gradients are accumulated. Each validation, but for the
    sanity check, is an epoch of the log, of all samples of the (first) validation loader.

    Args:
        layers: of the observed module, see `observe`.
        metrics: see `observe`.
        test: a loader of test samples, measured before the first step and, with the weights of
            then, after the last; without it the questions have no answer.
        model: path of the module that `training_step` calls, such as `net`, if that is not the
            LightningModule itself.
        options: of `observe`, such as `every`, `out` and `config`; `fit` is by default a loader of
            the training loader's samples.

    Raises:
        UsageError: there is no such option; when training begins what `observe` raises, and that
            the callback was used before.
    """

    def __init__(
        self,
        layers: Modules = "*",
        metrics: Any = "all",
        *,
        test: Iterable[Any] | None = None,
        model: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._training = ObservedTraining(layers, metrics, test, model, options)
        self._unpack: Unpack | None = options.get("unpack")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to observe."""
        loader = trainer.train_dataloader
        fit = fitting_loader(loader, getattr(loader, "batch_size", None))
        self._training.begin(pl_module, fit, is_resumed=trainer.global_step > 0)

    def on_train_batch_start(self, *_: Any) -> None:
        """Forget the passes of validation."""
        self._training.begin_step()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a step, and measure the batch if it is the turn."""
        observer = self._training.observer
        if observer is None or not observer.is_due:
            return self._training.step()
        held = unpacked(batch if self._unpack is None else self._unpack(batch))
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else None
        if loss is not None and pl_module.automatic_optimization:
            loss = loss * trainer.accumulate_grad_batches  # by which Lightning has divided it
        return self._training.step(labels=held.labels, ids=held.ids, loss=loss)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure the validation split; the sanity check comes before there is an observer."""
        with torch.inference_mode(False):  # class means made here follow batches of the training
            self._training.evaluate(_first(trainer.val_dataloaders))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure the test split, and finish the run."""
        self._training.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Finish the run as failed or interrupted."""
        self._training.close(exception)


def _first(loaders: Any) -> Any:
    """Return the first of several loaders, or the only one."""
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return loaders[0] if isinstance(loaders, (list, tuple)) else loaders
