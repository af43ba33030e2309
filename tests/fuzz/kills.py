"""Runs that are killed: each must be resumed and then equal one that was never stopped.

`python -m tests.fuzz.kills --count 100` kills runs at calls that write, and at random times, by
SIGKILL, SIGTERM, SIGINT and SIGHUP, half of them with two `DataLoader` workers, which a killed
parent leaves behind, and compares logs, weights, results and snapshots bit for bit. It prints how
many came to which end; runs that are not as they should be are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import h5py
import torch

import cmp_core
from cmp_core.config.schema import Config, Selection
from cmp_core.errors import UsageError
from cmp_core.listeners.checkpoints import load_checkpoint
from cmp_core.runs.directory import SNAPSHOT_BEGUN
from cmp_core.training.trainer import Trainer
from tests.run_files import lines

DATASET = """
import torch
from torch.utils.data import Dataset
from cmp_core import RawData, Stream, hookimpl

class Points(Dataset):
    def __len__(self):
        return 600

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randn(8, generator=generator) + index % 3, index % 3

@hookimpl
def cmp_register_datasets(register):
    register(lambda config: Points(), name="points")
"""

CALLS = (
    (os, "fsync"),
    (os, "mkdir"),
    (Path, "replace"),
    (torch, "save"),
    (h5py.Dataset, "__setitem__"),
    (h5py.File, "close"),
    (Trainer, "_train_step"),
)
"""What a run does while it writes, or between."""

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
UNCOUNTED = "which is not counted"
NO_RUN = f"stopped before there was a run, {UNCOUNTED}"
PATIENCE = 30.0
"""Seconds for which workers that were left behind may hold a run."""


@attrs.frozen
class Death:
    """How a run is stopped: at a call (by number), or after some seconds."""

    signal: signal.Signals
    call: int | None = None
    seconds: float = 0.0


def configuration(out: Path, plugin: Path | None, minutes: float) -> Config:
    """A run of a second, on the digits or on a plugin's samples that two workers load."""
    names = ("accuracy", "probe_accuracy", "gaussian_entropy_ema", "linear_cka")
    streamed: dict[str, Any] = {}
    if plugin is not None:
        streamed = {"dataset": "points", "plugins": (str(plugin),), "num_workers": 2}
    return Config(
        N=16,
        layers=3,
        epochs=3,
        batch_size=128,
        device="cpu",
        out=str(out),
        metrics=tuple(Selection(name, name) for name in names),
        checkpoint_minutes=minutes,
        **streamed,
    )


def child(act: Callable[[], object], death: Death | None = None) -> int:
    """Run something in a child process, which may be stopped; return how it ended."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if death is not None and death.call is not None:
                _die_at(death.call, death.signal)
            act()
            code = 0
        except KeyboardInterrupt:
            code = 130
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if death is not None and death.call is None:
        time.sleep(death.seconds)
        os.kill(pid, death.signal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _die_at(last: int, number: signal.Signals) -> None:
    """Stop this process before or after the call of a number."""
    made, own_process = 0, os.getpid()

    def patch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def method(*args: Any, **kwargs: Any) -> Any:
            nonlocal made
            made += os.getpid() == own_process  # and not a worker, which has all of this too
            own = made
            if own == last and last % 2:
                os.kill(own_process, number)
            result = original(*args, **kwargs)
            if own == last and not last % 2:
                os.kill(own_process, number)
            return result

        setattr(owner, name, method)

    for owner, name in CALLS:
        patch(owner, name)


def run_directory(folder: Path) -> Path | None:
    """Return the run directory below a folder, or none where the run had none yet."""
    found = list(folder.glob("*/*/*/params.yaml"))
    return found[0].parent if found else None


def unreadable(directory: Path) -> Iterator[str]:
    """Yield which files of a run that was stopped are not whole."""
    for path in directory.rglob("*"):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".pt":
                load_checkpoint(path, torch.device("cpu"))
            elif path.suffix == ".h5" and path.name != SNAPSHOT_BEGUN:
                with cmp_core.open_snapshot(path) as snapshot:
                    snapshot.verify()
        except (UsageError, ValueError) as error:
            yield f"{path.name}: {error}"


def differences(directory: Path, clean: Path) -> Iterator[str]:
    """Yield in what a resumed run differs from one that was never stopped."""
    if lines(directory) != lines(clean):
        yield "log"
    for name in ("test_results.json", "class_report.json", "metrics.json"):
        if (directory / name).read_text() != (clean / name).read_text():
            yield name
    for name in ("best.pt", "last.pt"):
        paths = (directory / name, clean / name)
        if not _same(*(load_checkpoint(path, torch.device("cpu")) for path in paths)):
            yield name
    hashes = [
        [(path.name, _content(path)) for path in sorted((place / "activations").iterdir())]
        for place in (directory, clean)
    ]
    if hashes[0] != hashes[1]:
        yield "snapshots"
    if left := [path.name for path in directory.glob(".*") if path.suffix != ".lock"]:
        yield f"leftovers {left}"
    if json.loads((directory / "status.json").read_text())["state"] != "finished":
        yield "state"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _content(path: Path) -> list[Any]:
    """Return all arrays of a snapshot; its attributes name the run."""
    found: list[Any] = []
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.append((name, item[()].tobytes())) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def outcome(folder: Path, plugin: Path | None, minutes: float, death: Death, clean: Path) -> str:
    """Stop a run, resume it until it is finished, and say how that went."""
    folder.mkdir()
    ended = child(lambda: cmp_core.run(configuration(folder, plugin, minutes)), death)
    directory = run_directory(folder)
    if directory is None:
        return NO_RUN
    if problems := list(unreadable(directory)):
        return f"WRONG, unreadable: {'; '.join(problems)}"
    if ended == 1:
        return "WRONG, it ended with an error"
    begun = time.monotonic()

    def resume() -> None:
        while True:
            try:
                cmp_core.resume(directory)
            except UsageError as error:
                if "is in use" not in str(error) or time.monotonic() - begun > PATIENCE:
                    raise
                time.sleep(0.2)
            else:
                return

    if (code := child(resume)) != 0:
        return f"WRONG, resuming ended with {code}"
    if wrong := list(differences(directory, clean)):
        return f"WRONG, differs in {', '.join(wrong)}"
    if ended == 0:
        return f"finished before, {UNCOUNTED}"
    return f"{death.signal.name} outlived, {'with' if plugin else 'without'} workers"


def main() -> None:
    """Stop runs, and print how they came to an end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    draw = random.Random(asked.seed)
    counts: Counter[str] = Counter()
    root = Path(tempfile.mkdtemp(prefix="kills_"))
    plugin = root / "points.py"
    plugin.write_text(DATASET)
    clean: dict[bool, tuple[Path, float]] = {}
    for has_workers in (False, True):
        out = root / f"clean_{has_workers}"
        config = configuration(out, plugin if has_workers else None, 10.0)
        begun = time.monotonic()
        assert child(lambda config=config: cmp_core.run(config)) == 0  # type: ignore[misc]
        directory = run_directory(out)
        assert directory is not None
        clean[has_workers] = directory, time.monotonic() - begun
    index = 0
    while sum(n for how, n in counts.items() if not how.endswith(UNCOUNTED)) < asked.count:
        index += 1
        has_workers = bool(index % 2)
        expected, seconds = clean[has_workers]
        number = draw.choice(SIGNALS)
        at_call = draw.random() < 0.5
        death = (
            Death(number, call=draw.randint(1, 130))
            if at_call
            else Death(number, seconds=draw.uniform(0.05, seconds))
        )
        folder = root / f"{index:04d}"
        minutes = draw.choice([1e-9, 10.0])
        how = outcome(folder, plugin if has_workers else None, minutes, death, expected)
        counts[how] += 1
        if index % 20 == 0:
            print(f"{index} stopped, {dict(counts)}", flush=True)
        if how.startswith("WRONG"):
            print(f"{folder}: {death}: {how}", flush=True)
        else:
            shutil.rmtree(folder)
    for how, count in counts.most_common():
        print(f"{count:5} {how}")
    wrong = sum(count for how, count in counts.items() if how.startswith("WRONG"))
    if not wrong:
        shutil.rmtree(root)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
