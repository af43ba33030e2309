"""Replicates: runs of one configuration that differ by seed, each trained by a process of its own.

They stand in one folder, which is all that is to be known of them: those that are finished are left
alone, the others are resumed.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import attrs
from joblib import cpu_count

from cmp_core.config.load import dump_config, load_config
from cmp_core.config.schema import Config
from cmp_core.distributed.processes import ALONE
from cmp_core.plugins.interruption import INTERRUPTED, STOPS, Interruption
from cmp_core.preparation import prepare, resolved
from cmp_core.runs.directory import (
    PARAMS,
    STATUS,
    TEST_RESULTS,
    make_run_directory,
    write_whole,
)
from cmp_core.runs.json_file import read_optional
from cmp_core.runs.log import as_count, as_number
from cmp_core.training.device import choose_device, choose_threads

ENDING = "_seeds"
"""How the name of a folder of replicates ends."""

_POLL_SECONDS = 0.2
_MOST_SAID = 2**20
"""Bytes that are told of what a run has written to standard error."""


def begin_replicates(
    config: Config, seeds: Sequence[int], plugins_dir: Path | None = None, jobs: int | None = None
) -> Path:
    """Make a folder with a run directory for each seed, and return it; nothing is trained yet.

    Snapshots are of the test split, whose samples all seeds share, instead of validation: so layers
    can be compared with those of another seed.

    Args:
        config: of all of them, but for the seed.
        seeds: at least one, each once.
        plugins_dir: as `--plugins-dir`.
        jobs: how many will be trained at once, and share the cores; or none.

    Raises:
        CmpError: something that is asked for cannot be done.
    """
    snapshots = config.snapshots
    if snapshots is not None and snapshots.phase == "val":
        snapshots = attrs.evolve(snapshots, phase="test")
    first = attrs.evolve(config, seed=seeds[0], snapshots=snapshots)
    complete = resolved(prepare(first, plugins_dir, ALONE))  # once for all it downloads the data
    if jobs is not None and config.threads == "auto":
        threads = min(int(complete.threads), max(1, cpu_count() // jobs))
        complete = attrs.evolve(complete, threads=threads)
    folder = make_run_directory(config, ending=ENDING)
    for seed in seeds:
        directory = folder / f"seed_{seed}"
        directory.mkdir()
        write_whole(directory / PARAMS, dump_config(attrs.evolve(complete, seed=seed)))
    return folder


def jobs_for(config: Config) -> int:
    """Return how many runs are trained at once: as many as have cores for their threads."""
    if choose_device(config).type != "cpu":
        return 1
    return max(1, int(cpu_count()) // choose_threads(config))


@attrs.define(eq=False)
class Replicate:
    """How far a run of several is.

    Attributes:
        directory: of the run.
        config: its own.
        epoch: the last one that is over.
        val_acc: accuracy on validation after it, or none.
        test_acc: accuracy of the test, or none until it is finished.
        state: `waiting`, `running`, `finished`, `failed` or `interrupted`.
        said: what it wrote to standard error, once it has ended.
        exit_code: of its process, once it has ended.
    """

    directory: Path
    config: Config
    epoch: int = 0
    val_acc: float | None = None
    test_acc: float | None = None
    state: str = "waiting"
    said: str = ""
    exit_code: int | None = None

    @classmethod
    def of(cls, directory: Path) -> Replicate:
        """Return a run that no process trains yet.

        Raises:
            CmpError: its configuration cannot be read.
        """
        replicate = cls(directory, load_config(directory / PARAMS))
        replicate.read()
        if replicate.test_acc is not None:
            replicate.state = "finished"
        return replicate

    def read(self) -> None:
        """Take over what the run's files tell by now."""
        status = read_optional(self.directory / STATUS, problems=[])
        self.epoch = as_count(status.get("epoch")) or 0
        self.val_acc = _finite(status.get("val_acc"))
        if status.get("state") == "finished":
            results = read_optional(self.directory / TEST_RESULTS, problems=[])
            self.test_acc = _finite(results.get("acc"))


def _finite(value: object) -> float | None:
    number = as_number(value)
    return number if math.isfinite(number) else None


class Training:
    """Trains and tests replicates, some at once; a `with` block, at whose end no process is left.

    Ctrl-C, and other signals to stop, end the block with `KeyboardInterrupt`, and have the runs
    save their state, as they do in a training of one run.

    Args:
        directories: of the runs.
        jobs: processes at once.
        options: of `cmp train` that each is given besides.
    """

    def __init__(self, directories: Iterable[Path], jobs: int, options: Sequence[str] = ()) -> None:
        self.replicates = [Replicate.of(directory) for directory in directories]
        self._jobs, self._options = jobs, options
        self._running: dict[Replicate, _Process] = {}
        self._block = ExitStack()

    def __enter__(self) -> Self:
        self._block.enter_context(Interruption(last_words=self._kill).heeded(STOPS))
        return self

    def __exit__(self, *_: object) -> None:
        with self._block:
            while self._running:
                with suppress(KeyboardInterrupt):  # sent on to them, which count it
                    self._interrupt()

    def progress(self) -> Iterator[Replicate]:
        """Train, and yield each replicate again and again until it has ended."""
        waiting = [one for one in self.replicates if one.state != "finished"]
        while waiting or self._running:
            while waiting and len(self._running) < self._jobs:
                one = waiting.pop(0)
                one.state = "running"
                self._running[one] = _Process(one, self._options)
            time.sleep(_POLL_SECONDS)
            for one in list(self._running):
                self._look_at(one)
                yield one

    def _look_at(self, one: Replicate) -> None:
        """Bring a replicate up to date, and forget its process if that has ended."""
        process = self._running[one]
        one.exit_code = process.poll()
        one.read()
        if one.exit_code is not None:
            del self._running[one]
            one.said = process.said()
            ended = "interrupted" if one.exit_code == INTERRUPTED else "failed"
            one.state = ended if one.test_acc is None else "finished"

    def _interrupt(self) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGINT)
        while self._running:
            time.sleep(_POLL_SECONDS)
            for one in list(self._running):
                self._look_at(one)

    def _kill(self) -> None:
        for process in self._running.values():
            process.kill()


class _Process(subprocess.Popen[bytes]):
    """A process that resumes a run and tests it; only what it writes to standard error is kept."""

    def __init__(self, one: Replicate, options: Sequence[str]) -> None:
        threads = one.config.threads
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (`said` closes it)
        super().__init__(
            [
                *(sys.executable, "-P", "-m", "cmp_core"),
                *("train", "--test", "--resume", str(one.directory), *options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            env={
                **os.environ,
                **({} if threads == "auto" else {"OMP_NUM_THREADS": str(threads)}),
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            start_new_session=True,  # signals come from here alone, and once
        )

    def said(self) -> str:
        """Return what it has written to standard error, once it has ended."""
        with self._said as said:
            said.seek(0)
            return said.read(_MOST_SAID).decode(errors="replace")
