"""The training loop: steps, what is measured when, the best weights, and how to stop and go on."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from cmp_core.config.schema import Config
from cmp_core.data.load import Data
from cmp_core.data.splits import Batch
from cmp_core.distributed.processes import ALONE, Processes
from cmp_core.errors import PluginError, TrainingError
from cmp_core.events.payloads import (
    EpochFinished,
    EpochStarted,
    RunFailed,
    RunFinished,
    RunStarted,
    StepFinished,
)
from cmp_core.events.rows import Row
from cmp_core.layers.layer import Layer
from cmp_core.measurement.measurer import Measurer
from cmp_core.plugins.dispatch import Dispatcher
from cmp_core.plugins.interruption import STOPS, Interruption
from cmp_core.runs.progress import Progress
from cmp_core.training.class_means import without_means
from cmp_core.training.data_parallel import DataParallel
from cmp_core.training.evaluator import Evaluator, correct
from cmp_core.training.learning_rule import LearningRule
from cmp_core.training.model import LayeredModel


class Trainer:
    """Trains a model with a learning rule and emits the events of the run."""

    def __init__(
        self,
        model: LayeredModel,
        rule: LearningRule,
        data: Data,
        dispatcher: Dispatcher,
        measurer: Measurer,
        evaluator: Evaluator,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        self._processes = processes
        self._parallel = DataParallel(processes, model)
        self._config: Config = dispatcher.run.config
        self._model = model
        self._rule = rule
        self._data = data
        self._dispatcher = dispatcher
        self._measurer = measurer
        self._evaluator = evaluator
        self._device = device
        self._steps_per_epoch = steps_per_epoch(data, self._config)
        self.progress = Progress()
        self._augment = torch.Generator()
        self._best_weights: dict[str, Tensor] = {}
        self._interruption = Interruption(
            is_alone=processes.size == 1,
            waiting_for=self._waiting_for,
            last_words=self._say_interrupted,
        )

    def fit(self, *, tests: bool = True) -> None:
        """Train from where the progress stands to the last epoch, then test the best weights.

        Args:
            tests: whether to test.

        Raises:
            KeyboardInterrupt: Ctrl-C came; the run can be resumed from its last checkpoint.
            TrainingError: the loss is not finite and `detect_divergence` is on.
        """
        progress = self.progress
        if not self._processes.is_first:  # dropout must not be alike in all shares of a batch
            own = np.random.default_rng([self._config.seed, progress.step, self._processes.rank])
            torch.manual_seed(int(own.integers(2**63)))
        with self._interruption.heeded(STOPS):
            self._fit(tests)

    def _fit(self, tests: bool) -> None:
        progress = self.progress
        try:
            self._emit_run_started()
            if progress.step == 0:
                self._finish_epoch()
            for epoch in range(progress.epoch + (progress.iter == 0), self._config.epochs + 1):
                self._train_epoch(epoch)
                self._finish_epoch()
            self._interruption.waits = False
            self._finish(tests)
        except _StopRequestedError:
            self._emit_run_failed(KeyboardInterrupt(), self._copied_state)
            raise KeyboardInterrupt from None
        except BaseException as error:
            self._emit_run_failed(error, None)
            raise

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on as if nothing had happened."""
        generators = {"augment": self._augment.get_state(), "torch": torch.get_rng_state()}
        if self._device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(self._device)
        return {
            "progress": attrs.asdict(self.progress),
            "model": self._model.state_dict(),
            "rule": self._rule.state_dict(),
            "class_means": self._evaluator.means.state_dict(),
            "metrics": self._measurer.state_dict(),
            "generators": generators,
        }

    def _copied_state(self) -> dict[str, Any]:
        return copy.deepcopy(self.state_dict())  # a plugin's write must hit a copy

    def load_state_dict(self, state: dict[str, Any], best: dict[str, Any] | None) -> None:
        """Take over what `state_dict` returned, and the content of the best checkpoint so far."""
        self.progress = Progress(**state["progress"])
        if best is not None:
            # It may be newer than the state: epoch and accuracy belong to these weights.
            if _shapes(best["model"]) != _shapes(self._model.state_dict()):
                raise ValueError("the best weights have other names or shapes than the model's")
            self._best_weights = best["model"]
            self.progress.best_acc = best["acc"]
            self.progress.best_epoch, self.progress.best_step = best["epoch"], best["step"]
        self._model.load_state_dict(state["model"])
        self._rule.load_state_dict(state["rule"])
        means = _on(self._device, state["class_means"])
        self._evaluator.means.load_state_dict(means, self._evaluator.widths)
        self._measurer.load_state_dict(_on(self._device, state.get("metrics", {})))
        self._augment.set_state(state["generators"]["augment"])
        torch.set_rng_state(state["generators"]["torch"])
        if self._device.type == "cuda" and "cuda" in state["generators"]:
            torch.cuda.set_rng_state(state["generators"]["cuda"], self._device)

    # One epoch

    def _train_epoch(self, epoch: int) -> None:
        config, progress = self._config, self.progress
        draw = np.random.default_rng([config.seed, epoch])  # a resumed run draws the same again
        order = draw.permutation(len(self._data.train.ids))
        if progress.iter == 0:
            seed = int(draw.integers(2**63)) + self._processes.rank
            self._augment.manual_seed(seed % 2**63)
        progress.epoch = epoch
        started = EpochStarted(epoch, self._steps_per_epoch, progress.iter)
        self._dispatcher.emit("cmp_epoch_started", started)
        rest = order[progress.iter * config.batch_size :]
        self._model.train()
        train, size = self._data.train, config.batch_size
        for batch in self._parallel.batches(train, rest, size, self._augment):
            self._train_step(batch)
            self._check_stop()
        progress.iter = 0

    def _train_step(self, batch: Batch) -> None:
        progress = self.progress
        layers, mean_loss = self._rule.step(batch.inputs, batch.labels)
        progress.iter += 1
        progress.step += 1
        hits = correct(layers, batch.labels).float().mean()
        loss, acc = self._parallel.mean(torch.stack([mean_loss, hits])).tolist()
        rows = self._measure_batch(layers, batch) if self._is_measured(progress.step) else ()
        finished = StepFinished(
            epoch=progress.epoch,
            iter=progress.iter,
            step=progress.step,
            loss=loss,
            acc=acc,
            n=self._parallel.n,
            rows=rows,
            state=self._copied_state if math.isfinite(loss) else None,
        )
        self._dispatcher.emit("cmp_step_finished", finished)
        if self._config.detect_divergence and not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at epoch {progress.epoch}, step {progress.step}; "
                "training has diverged. Try a smaller lr, or a smaller lambda_ace."
            )

    def _is_measured(self, step: int) -> bool:
        return (
            self._config.metrics_frequency == "iteration"
            and step % self._config.metrics_log_frequency == 0
            and self._measurer.has_listeners
        )

    @torch.no_grad()
    def _measure_batch(self, layers: tuple[Layer, ...], batch: Batch) -> tuple[Row, ...]:
        progress = self.progress
        event = self._evaluator.event(
            layers, batch, "train", "batch", progress.epoch, progress.step
        )
        event = self._parallel.joined(event)
        assert event.labels is not None  # a batch of a rule that learns from them
        self._evaluator.means.follow(without_means(event.layers), event.labels)
        return self._measurer.batch(event)

    def _finish_epoch(self) -> None:
        """Measure validation and the training subset, and tell whether this epoch is the best."""
        self._parallel.check_weights()
        progress = self.progress
        self._evaluator.refresh_class_means()
        now, errors = (progress.epoch, progress.step), self._has_errors(progress.epoch)
        fits = self._evaluator.fit(*now, errors=errors)
        val = self._evaluator.measure("val", *now, fits, errors=errors)
        train = self._evaluator.measure("train", *now, fits, errors=errors)
        is_best = progress.epoch > 0 and val.acc > progress.best_acc
        if is_best:
            progress.best_acc = val.acc
            progress.best_epoch, progress.best_step = progress.epoch, progress.step
            self._best_weights = copy.deepcopy(self._model.state_dict())
        finished = EpochFinished(
            epoch=progress.epoch,
            step=progress.step,
            acc=val.acc,
            val_loss=val.loss,
            rows=val.rows,
            train_rows=train.rows,
            n=val.n,
            train_n=train.n,
            is_best=is_best,
            state=self._copied_state,
        )
        self._dispatcher.emit("cmp_epoch_finished", finished)
        self._check_stop()

    def _has_errors(self, epoch: int) -> bool:
        """Whether values of an epoch get standard errors: before training, and at the end."""
        return epoch in (0, self._config.epochs)

    # Before and after

    def _emit_run_started(self) -> None:
        started = RunStarted(
            model=type(self._model).__name__,
            parameters=sum(parameter.numel() for parameter in self._model.parameters()),
            device=str(self._device),
            steps_per_epoch=self._steps_per_epoch,
            epoch=self.progress.epoch,
            step=self.progress.step,
        )
        self._dispatcher.emit("cmp_run_started", started)

    def _emit_run_failed(
        self, error: BaseException, state: Callable[[], dict[str, Any]] | None
    ) -> None:
        failed = RunFailed(error, self.progress.epoch, self.progress.step, state)
        try:
            self._dispatcher.emit("cmp_run_failed", failed)
        except PluginError:
            pass  # recorded; it must not hide why the run ends
        except (OSError, TrainingError) as further:
            if state is not None:  # it could not be saved, so that is why the run ends
                self._emit_run_failed(further, None)
                raise

    def _finish(self, tests: bool) -> None:
        epoch, step = self.progress.best_epoch, self.progress.best_step
        self._model.load_state_dict(self._best_weights)
        finished = self._evaluator.test(epoch, step) if tests else RunFinished(epoch, step)
        self._dispatcher.emit("cmp_run_finished", finished)

    # Stopping

    def _waiting_for(self) -> str:
        """Return what Ctrl-C waits for, in words."""
        call = self._dispatcher.pending
        seconds = 0.0 if call is None else monotonic() - call.since
        if call is None or seconds < 1:
            return "the step in hand to end"
        return f"plugin {call.plugin}, which has been running in {call.hook} for {seconds:.0f} s"

    def _say_interrupted(self) -> None:
        failed = RunFailed(KeyboardInterrupt(), self.progress.epoch, self.progress.step)
        self._dispatcher.emit_to_essential("cmp_run_failed", failed)

    def _check_stop(self) -> None:
        if self._processes.any(self._interruption.count > 0):
            raise _StopRequestedError


def _on(device: torch.device, state: Any) -> Any:
    """Return a state of nested mappings with its tensors on a device."""
    if isinstance(state, dict):
        return {name: _on(device, item) for name, item in state.items()}
    return state.to(device) if isinstance(state, Tensor) else state


def _shapes(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shapes of a model's tensors by name."""
    return {name: getattr(tensor, "shape", None) for name, tensor in weights.items()}


def steps_per_epoch(data: Data, config: Config) -> int:
    """Return the number of batches in the training split; the last one may be smaller."""
    return math.ceil(len(data.train.ids) / config.batch_size)


class _StopRequestedError(Exception):
    """Ctrl-C came, and the weights are between two steps."""
