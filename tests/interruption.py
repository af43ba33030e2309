"""Runs that are stopped in the middle."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cmp_core import run
from cmp_core.config.schema import Config
from cmp_core.training.trainer import Trainer
from tests.run_files import newest


class CutError(Exception):
    """Stands for a process that dies."""


def interrupt(config: Config, step: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Press Ctrl-C in a run after a step, and return the run's directory."""
    original = Trainer._train_step

    def train_step(self: Trainer, batch: Any) -> None:
        original(self, batch)
        if self.progress.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", train_step)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    return newest(Path(config.out) / config.dataset / config.model)
