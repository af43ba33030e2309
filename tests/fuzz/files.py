"""Damaged files of every kind: each must end in values or in one sentence, and change nothing else.

    python -m tests.fuzz.files --count 10000 --seed 0

Prints how many of each kind ended how, and the memory that took; what is neither is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.fuzz.archives import of_checkpoint, of_npy, of_npz
from tests.fuzz.damages import BYTES, MARKER, of_json, of_lines, of_yaml, replace
from tests.fuzz.readers import (
    EVAL,
    EVAL_LAST,
    INFO,
    PLOT,
    RECOMPUTE,
    REPORT,
    REPORT_SEEDS,
    RESUME,
    TRAIN_CONFIG,
    TRAIN_IDX,
    TRAIN_IMAGES,
    Action,
    FindingError,
    answers,
    compare,
    config,
    idx,
    images,
    load,
    settings,
)
from tests.fuzz.sandbox import IDX_FILES, IMAGE_FILES, make_sandbox

VALUES, SENTENCE = "values", "one sentence"
SECONDS, WAITING = 20, 60
"""Of computing, and in all on a busy machine, until an input counts as one that hangs."""
MEMORY = 6 * 2**30
"""Bytes that a child may take."""
LONGEST = 2000
"""Characters of a line that tells an error."""

Change = Callable[[bytes, random.Random], bytes]


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        files: where, below the sandbox; one of them is damaged.
        change: damages its structure, or none.
        actions: what reads it, and how often.
        weight: of the kind among all inputs.
    """

    files: Sequence[str]
    change: Change | None
    actions: Sequence[tuple[Action, int]]
    weight: int


_READ = ((load, 40), (INFO, 12), (answers, 12), (compare, 12), (PLOT, 2), (REPORT, 1))
_READ_CONFIG = ((config, 10), (settings, 4), (TRAIN_CONFIG, 2))
_USE = ((EVAL, 2), (RESUME, 2), (EVAL_LAST, 1))

KINDS: dict[str, Kind] = {
    "params.yaml": Kind(["run/params.yaml"], of_yaml, (*_READ, (EVAL, 4)), 12),
    "metrics.json": Kind(["run/metrics.json"], of_json, (*_READ, (RESUME, 1)), 10),
    "environment.json": Kind(["run/environment.json"], of_json, (*_READ, *_USE), 10),
    "log.jsonl": Kind(["run/log.jsonl"], of_lines, (*_READ, (RESUME, 2)), 14),
    "status.json": Kind(["run/status.json"], of_json, (*_READ, (RESUME, 1)), 4),
    "test_results.json": Kind(["run/test_results.json"], of_json, (*_READ, *_USE), 14),
    "test_predictions.npz": Kind(["run/test_predictions.npz"], of_npz, _READ, 9),
    "test_influences.npz": Kind(["run/test_influences.npz"], of_npz, _READ, 8),
    "confusion.npy": Kind(["run/confusion.npy"], of_npy, _READ, 6),
    "class_report.json": Kind(["run/class_report.json"], of_json, (*_READ, (EVAL, 4)), 2),
    "recomputed.jsonl": Kind(["run/recomputed.jsonl"], of_lines, _READ, 10),
    "answers.json": Kind(["run/answers.json"], of_json, ((REPORT, 1), (load, 9)), 2),
    "report.seed_baseline.json": Kind(
        ["run/report.seed_baseline.json"], of_json, ((REPORT_SEEDS, 1), (load, 5)), 2
    ),
    "best.pt": Kind(["run/best.pt"], of_checkpoint, ((EVAL, 2), (RESUME, 1)), 4),
    "last.pt": Kind(["run/last.pt"], of_checkpoint, ((RESUME, 2), (EVAL_LAST, 1)), 4),
    "snapshots": Kind(["run/activations/step_00000006.h5"], None, ((INFO, 1), (RECOMPUTE, 1)), 1),
    "folders and locks": Kind(
        [
            *("run/activations", "run/plots", "run/eval_last", "run/report.html"),
            *("run/.training.lock", "run/.report.lock", "run/.training.json", "run/.snapshot.h5"),
        ],
        None,
        ((INFO, 2), (REPORT, 1), (PLOT, 1), *_USE),
        3,
    ),
    "configurations": Kind(["cwd/config.yaml"], of_yaml, _READ_CONFIG, 14),
    "images": Kind(IMAGE_FILES, None, ((images, 30), (TRAIN_IMAGES, 1)), 14),
    "idx": Kind([*IDX_FILES, f"{IDX_FILES[0]}.gz"], None, ((idx, 20), (TRAIN_IDX, 1)), 7),
}


def damage(kind: Kind, root: Path, rng: random.Random) -> Path:
    """Damage one file of a kind, and return it."""
    name = rng.choice(kind.files)
    path = root / name
    if path.name.endswith(".gz"):
        path.with_suffix("").unlink()  # or it would not be looked at
    chance = rng.random()
    if chance < 0.12 or not path.is_file():
        replace(path, rng)
        return path
    data = path.read_bytes()
    if kind.change is not None and chance < 0.7:
        data = kind.change(data, rng)
    else:
        others = [p for p in sorted(path.parent.iterdir()) if p.is_file()]
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            data = rng.choice(BYTES)(data, rng.choice(others).read_bytes(), rng)
    path.write_bytes(data)
    return path


# How it ends


def _signature(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return of all files what changes where they are written."""
    return {
        str(path.relative_to(folder)): (s.st_ino, s.st_size, s.st_mtime_ns)
        for path in folder.rglob("*")
        if not path.name.endswith(".lock") and not path.is_dir()
        for s in (path.lstat(),)
    }


def try_seed(base: Path, root: Path, seed: int) -> tuple[str, str, str]:
    """Return kind, action and outcome of an input; its sandbox is left in `root`."""
    rng = random.Random(seed)
    names = list(KINDS)
    name = rng.choices(names, [kind.weight for kind in KINDS.values()])[0]
    kind = KINDS[name]
    actions = [action for action, _ in kind.actions]
    action = rng.choices(actions, [weight for _, weight in kind.actions])[0]
    _copy(base, root, kind, action)
    damage(kind, root, rng)
    return name, action.__name__, outcome_of(action, root)


def _copy(base: Path, root: Path, kind: Kind, action: Action) -> None:
    """Copy of the sandbox what an action reads of it; snapshots take it the most time."""
    root.mkdir()
    needs_snapshots = action is RESUME or any("/." in x or "act" in x for x in kind.files)
    skipped = () if needs_snapshots else ("activations",)
    for part in base.iterdir():
        if part.name not in ("images", "data") or kind.files[0].startswith(f"{part.name}/"):
            shutil.copytree(part, root / part.name, ignore=shutil.ignore_patterns(*skipped))


def read_whole(base: Path, folder: Path) -> None:
    """Read files that are not damaged, which also imports what children have then in common.

    Raises:
        FindingError: one of them ends in no values.
    """
    tried: set[Action] = set()
    for name, kind in KINDS.items():
        for action, _ in kind.actions:
            if action not in tried and action not in (RECOMPUTE, REPORT_SEEDS):  # as they are slow
                tried.add(action)
                _copy(base, folder / "whole", kind, action)
                if (outcome := outcome_of(action, folder / "whole")) != VALUES:
                    raise FindingError(f"{name} is whole, {action.__name__}: {outcome}")
                os.chdir(folder)
                shutil.rmtree(folder / "whole")


def outcome_of(action: Action, root: Path) -> str:
    """Return how an action ends in a sandbox."""
    from cmp_core.errors import CmpError

    os.chdir(root / "cwd")
    before, outcome = _signature(root), VALUES
    try:
        action(root)
    except (CmpError, OSError) as error:
        if max(map(len, str(error).splitlines()), default=0) > LONGEST:
            return f"a sentence of {len(str(error)):,} characters: {str(error)[:300]}"
        outcome = SENTENCE if str(error) else "no sentence"
    except FindingError as error:
        return str(error)
    except BaseException as error:  # which is what is looked for
        return f"{type(error).__name__}: {str(error)[:300]}\n{traceback.format_exc(-8)}"
    if (root / "cwd" / MARKER).exists():
        return "content of the file was executed"
    after = _signature(root)
    allowed = ("cwd/", "run/") if outcome == VALUES else ("cwd/",)
    changed = [x for x in before | after if before.get(x) != after.get(x)]
    changed = [x for x in changed if not x.startswith(allowed)]
    return f"changed {', '.join(changed)}" if changed else outcome


# Children


class Result(NamedTuple):
    """How an input ended; the peak of the child's memory in bytes."""

    seed: int
    kind: str
    action: str
    outcome: str
    peak: int


def _peak() -> int:
    """Return the peak of the memory since the last call, in bytes."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


_NOBODY = "http://127.0.0.1:9"
"""A proxy that is not there, so that missing files of MNIST are not downloaded."""


def _child(base: Path, folder: Path, seeds: Sequence[int], pipe: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    os.environ |= {"http_proxy": _NOBODY, "https_proxy": _NOBODY}
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    for seed in seeds:
        root = folder / str(seed)
        # Their signals end it, whatever it is in.
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.setitimer(signal.ITIMER_REAL, WAITING)
        _peak()
        told = try_seed(base, root, seed)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(pipe, json.dumps([seed, *told, _peak()]).encode() + b"\n")
        if told[-1] in (VALUES, SENTENCE):
            os.chdir(folder)
            shutil.rmtree(root)


def results(folder: Path, seeds: Sequence[int], at_once: int = 50) -> Iterator[Result]:
    """Yield how each input ends, in child processes that do some inputs each.

    Args:
        folder: for the files.
        seeds: which inputs.
        at_once: inputs for a child.
    """
    base = folder / "base"
    base.mkdir()
    _forked(lambda: make_sandbox(base))
    read_whole(base, folder)
    left = list(seeds)
    while left:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _end(lambda: _child(base, folder, left[:at_once], writer))  # noqa: B023
        os.close(writer)
        done = 0
        with os.fdopen(reader) as lines:
            for line in lines:
                yield Result(*json.loads(line))
                done += 1
        _, status = os.waitpid(pid, 0)
        if done < min(at_once, len(left)):
            code = os.waitstatus_to_exitcode(status)
            why = (
                "it hangs"
                if -code in (signal.SIGALRM, signal.SIGPROF)
                else f"it has ended with {code}"
            )
            yield Result(left[done], "?", "?", why, 0)
            done += 1
        left = left[done:]


def _forked(act: Callable[[], None]) -> None:
    """Call a function in a child, so that this process has used no threads when it forks."""
    pid = os.fork()
    if pid == 0:
        _end(act)
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("the runs to damage could not be made")


def _end(act: Callable[[], None]) -> Any:
    """Call a function, and end this process."""
    code = 1
    try:
        act()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    """Print a table of outcomes by kind, and where what was neither is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # processes that have used several cannot fork
    folder = Path(tempfile.mkdtemp(prefix="cmp_fuzz_"))
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    peaks: Counter[str] = Counter()
    start = time.perf_counter()
    for result in results(folder, range(arguments.seed, arguments.seed + arguments.count)):
        is_fine = result.outcome in (VALUES, SENTENCE)
        counts[result.kind][result.outcome if is_fine else "findings"] += 1
        peaks[result.kind] = max(peaks[result.kind], result.peak)
        if not is_fine:
            place = folder / str(result.seed)
            print(f"{place} ({result.kind}, {result.action}): {result.outcome}\n", flush=True)
    columns = (VALUES, SENTENCE, "findings")
    print("".join(f"{x:>14}" for x in ("values", "sentences", "findings", "peak in MB")), "kind")
    for kind, found in sorted(counts.items()):
        row = [f"{found[x]:,}" for x in columns] + [f"{peaks[kind] / 1e6:,.0f}"]
        print("".join(f"{x:>14}" for x in row), kind)
    seconds = time.perf_counter() - start
    count = sum(found.total() for found in counts.values())
    print(f"{count:,} inputs, {count / seconds:.1f} a second")
    if any(found["findings"] for found in counts.values()):
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
