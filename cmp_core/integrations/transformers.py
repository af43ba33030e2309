"""A callback for the `Trainer` of Hugging Face's transformers."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

from cmp_core.errors import TrainingError
from cmp_core.integrations.observed_training import ObservedTraining, fitting_loader
from cmp_core.observation.modules import Modules

if find_spec("transformers") is None:
    raise ImportError(
        "cmp_core.integrations.transformers needs transformers: "
        "pip install 'chain-of-metric-predictors[transformers]'"
    )
from transformers import TrainerCallback


class CmpCallback(TrainerCallback):
    """Observes a training by `Trainer`: batches, evaluations and a test.

    A `with` block tells the callback, which `Trainer` does not, that the training has failed: the
    hooks go at once, and the run's status says why. A step is a training batch, also where
    gradients are accumulated; its labels are those that the model is given. `Trainer` gives none
    with label smoothing or `compute_loss_func`, and no callback is told the loss of a batch. Each
    evaluation is an epoch of the log; of several data sets the first one.

    Args:
        layers: of the observed module, see `observe`.
        metrics: see `observe`.
        test: a loader of test samples, such as `trainer.get_test_dataloader(data)`, measured before
            the first step and, with the weights of then, after the last; without it the questions
            have no answer.
        model: path of the module that `compute_loss` calls, if that is not the model itself.
        options: of `observe`, such as `every`, `out` and `config`; `fit` is by default a loader of
            the training samples.

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
        self._training = ObservedTraining(layers, metrics, test, model, options)
        self._val: Any = None
        self._evaluated_at: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        self._training.close(error)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to observe."""
        # Without a `with` block, a training that never ends is noticed when the callback is gone.
        weakref.finalize(self, self._training.close, TrainingError("the training did not end"))
        fit = fitting_loader(kwargs["train_dataloader"], args.train_batch_size)
        self._training.begin(kwargs["model"], fit, is_resumed=state.global_step > 0)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget the passes of an evaluation."""
        self._training.begin_step()

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count a batch whose gradients are accumulated, and measure it if it is the turn."""
        self._training.step()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count a batch, and measure it if it is the turn."""
        self._training.step()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the data set of an evaluation, which `Trainer` has a new loader of each time."""
        if self._training.observer is None or self._evaluated_at == state.global_step:
            return
        self._evaluated_at = state.global_step
        if self._val is None:
            self._val = kwargs["eval_dataloader"]
        self._training.evaluate(self._val)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the test split, and finish the run."""
        self._training.end()
