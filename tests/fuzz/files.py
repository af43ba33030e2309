"""Damaged files of every kind: each must end in values or in one sentence, and change nothing else.

    python -m tests.fuzz.files --count 10000 --seed 0

Prints how many of each kind ended how, and the memory that took; what is neither is kept.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import torch
from click.testing import CliRunner
from PIL import Image

from tests.fuzz.damages import (
    BYTES,
    MARKER,
    of_checkpoint,
    of_json,
    of_lines,
    of_npy,
    of_npz,
    of_yaml,
    replace,
)
from tests.small_runs import small

VALUES, SENTENCE = "values", "one sentence"
SECONDS, WAITING = 20, 60
"""Of computing, and in all on a busy machine, until an input counts as one that hangs."""
MEMORY = 6 * 2**30
"""Bytes that a child may take."""
LONGEST, LONGEST_SCREEN = 2000, 20_000
"""Characters of a line that tells an error, and of all that is printed."""

Change = Callable[[bytes, random.Random], bytes]
Action = Callable[[Path], None]


class FindingError(Exception):
    """An input has ended in neither values nor a sentence."""


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


# What reads


def _load(root: Path) -> None:
    from cmp_core import load_run

    run = load_run(root / "run")
    _ = run.rows, run.test_accuracies, run.class_names, run.confusion, run.predictions, repr(run)
    _ = run.headlines, run.tested_epoch, run.output, run.hidden_layers, run._repr_html_()
    for phase, layer, metric in run.log.series:
        _ = run.influence(layer, metric), run.influence_ids(metric), run.unit_of(metric)
        _ = run.grid(phase, metric), run.pairs(phase, metric), run.metric_info_of(metric)


def _answers(root: Path) -> None:
    from cmp_core import answers_of

    _ = [repr(answer) for answer in answers_of([root / "run", root / "other"]).values()]


def _compare(root: Path) -> None:
    from cmp_core import compare

    _ = [repr(one) for one in compare([root / "run", root / "mlp"])]


def _cli(*arguments: str) -> Action:
    def call(root: Path) -> None:
        from cmp_core.cli import cli

        result = CliRunner().invoke(cli, [text.format(root=root) for text in arguments])
        check_screen(result.output)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if result.exit_code not in (0, 3):  # 3: done, without what a warning names
            errors = [x for x in result.output.splitlines() if x.startswith(("error: ", "Error: "))]
            if result.exit_code not in (1, 2) or not errors:
                raise FindingError(f"exit code {result.exit_code}: {result.output[-500:]}")
            raise OSError("\n".join(errors))

    call.__name__ = f"cmp {arguments[0]}"
    return call


def check_screen(text: str) -> None:
    """Raise where what is printed steers a terminal, is a traceback, or is no sentence."""
    from cmp_core.text import printable

    if printable(text) != text:
        raise FindingError(f"control characters: {text[:300]!r}")
    if "Traceback" in text or "Warning: " in text:
        raise FindingError(f"of Python: {text[-1000:]}")
    if len(text) > LONGEST_SCREEN:
        raise FindingError(f"{len(text):,} characters on the screen")


def _config(root: Path) -> None:
    from cmp_core.config.load import build_config, dump_config, load_config, parse_yaml, read_yaml

    config = load_config(root / "cwd/config.yaml")
    written = dump_config(config)
    if dump_config(build_config(parse_yaml(written, "it"))) != written:
        raise FindingError("a configuration that is another one when it is read again")
    _ = read_yaml(root / "cwd/config.yaml")


def _settings(root: Path) -> None:
    from cmp_core.config.load import load_config

    path = root / "cwd/config.yaml"
    with path.open("rb") if path.is_file() else io.BytesIO() as file:
        text = file.read(10**5).decode(errors="surrogateescape")  # as long as an argument may be
    lines = text.replace("\n ", " ").splitlines()
    load_config(settings=[line.replace(": ", "=", 1) for line in lines])


def _images(root: Path) -> None:
    from cmp_core.config.schema import Config
    from cmp_core.datasets.image_folder import load_image_folder

    load_image_folder(Config(dataset="image_folder", data_dir=str(root / "images"), image_size=8))


def _idx(root: Path) -> None:
    from cmp_core.config.schema import Config
    from cmp_core.data.load import load_data
    from cmp_core.datasets.mnist import load_mnist

    config = Config(dataset="mnist", data_dir=str(root / "data"))
    load_data(config, lambda: load_mnist(config), torch.device("cpu"))


_SMALL = [x for k in ("epochs=1", "N=12", "layers=2", "device=cpu") for x in ("--set", k)]
_TRAIN = ("train", "--no-snapshots", "--metrics", "accuracy", *_SMALL, "--set")
_TRAIN_CONFIG = _cli(*_TRAIN, "batch_size=512", "-c", "{root}/cwd/config.yaml")
_TRAIN_IMAGES = _cli(
    *_TRAIN, "dataset=image_folder", "--set", "data_dir={root}/images", "--set", "image_size=8"
)
_TRAIN_IDX = _cli(*_TRAIN, "dataset=mnist", "--set", "data_dir={root}/data")
_INFO, _PLOT = _cli("info", "{root}/run"), _cli("plot", "training_curves", "{root}/run")
_REPORT = _cli("report", "{root}/run")
_REPORT_SEEDS = _cli("report", "{root}/run", "{root}/other", "--out", "{root}/run/report.html")
_EVAL, _EVAL_LAST = _cli("eval", "{root}/run"), _cli("eval", "{root}/run", "--checkpoint", "last")
_RESUME = _cli("train", "--resume", "{root}/run")
_RECOMPUTE = _cli("recompute", "{root}/run", "--metrics", "accuracy")

_READ = ((_load, 40), (_INFO, 12), (_answers, 12), (_compare, 12), (_PLOT, 2), (_REPORT, 1))
_READ_CONFIG = ((_config, 10), (_settings, 4), (_TRAIN_CONFIG, 2))
_USE = ((_EVAL, 2), (_RESUME, 2), (_EVAL_LAST, 1))
_FORMATS = ("png", "jpg", "tiff", "bmp", "webp", "ppm")
_IDX = tuple(
    f"data/MNIST/raw/{split}-{kind}-ubyte"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)

KINDS: dict[str, Kind] = {
    "params.yaml": Kind(["run/params.yaml"], of_yaml, (*_READ, (_EVAL, 4)), 12),
    "metrics.json": Kind(["run/metrics.json"], of_json, (*_READ, (_RESUME, 1)), 10),
    "environment.json": Kind(["run/environment.json"], of_json, (*_READ, *_USE), 10),
    "log.jsonl": Kind(["run/log.jsonl"], of_lines, (*_READ, (_RESUME, 2)), 14),
    "status.json": Kind(["run/status.json"], of_json, (*_READ, (_RESUME, 1)), 4),
    "test_results.json": Kind(["run/test_results.json"], of_json, (*_READ, *_USE), 14),
    "test_predictions.npz": Kind(["run/test_predictions.npz"], of_npz, _READ, 9),
    "test_influences.npz": Kind(["run/test_influences.npz"], of_npz, _READ, 8),
    "confusion.npy": Kind(["run/confusion.npy"], of_npy, _READ, 6),
    "class_report.json": Kind(["run/class_report.json"], of_json, (*_READ, (_EVAL, 4)), 2),
    "recomputed.jsonl": Kind(["run/recomputed.jsonl"], of_lines, _READ, 10),
    "answers.json": Kind(["run/answers.json"], of_json, ((_REPORT, 1), (_load, 9)), 2),
    "report.seed_baseline.json": Kind(
        ["run/report.seed_baseline.json"], of_json, ((_REPORT_SEEDS, 1), (_load, 5)), 2
    ),
    "best.pt": Kind(["run/best.pt"], of_checkpoint, ((_EVAL, 2), (_RESUME, 1)), 4),
    "last.pt": Kind(["run/last.pt"], of_checkpoint, ((_RESUME, 2), (_EVAL_LAST, 1)), 4),
    "snapshots": Kind(["run/activations/step_00000006.h5"], None, ((_INFO, 1), (_RECOMPUTE, 1)), 1),
    "folders and locks": Kind(
        [
            *("run/activations", "run/plots", "run/eval_last", "run/report.html"),
            *("run/.training.lock", "run/.report.lock", "run/.training.json", "run/.snapshot.h5"),
        ],
        None,
        ((_INFO, 2), (_REPORT, 1), (_PLOT, 1), *_USE),
        3,
    ),
    "configurations": Kind(["cwd/config.yaml"], of_yaml, _READ_CONFIG, 14),
    "images": Kind(
        [f"images/a/1.{form}" for form in _FORMATS], None, ((_images, 30), (_TRAIN_IMAGES, 1)), 14
    ),
    "idx": Kind([*_IDX, f"{_IDX[0]}.gz"], None, ((_idx, 20), (_TRAIN_IDX, 1)), 7),
}


# What is read


def make_sandbox(root: Path) -> None:
    """Make runs, images and configurations in a folder."""
    from cmp_core import recompute, run
    from cmp_core.config.schema import Selection

    names = ("accuracy", "margin", "linear_cka", "eigenspectrum", "within_class_variance")
    metrics = tuple(Selection(name, name) for name in names)
    config = small(root / "made", epochs=2, metrics=metrics, plots=())
    for name, values in (("run", {}), ("other", {"seed": 1}), ("mlp", {"model": "mlp"})):
        made = run(attrs.evolve(config, **values)).directory
        if name == "run":
            list(recompute([made], ["participation_ratio"], save=True))
        shutil.copytree(made, root / name)
    shutil.rmtree(root / "made")
    params = root / "run/params.yaml"  # so that it can be gone on with
    told = params.read_text().replace("epochs: 2", "epochs: 3")
    params.write_text(told.replace(str(root / "made"), "runs"))
    (root / "cwd").mkdir()
    shutil.copy(params, root / "cwd/config.yaml")
    _write_images(root / "images")
    _write_idx(root)
    (root / "outside").mkdir()
    (root / "outside/victim").write_text("not yours\n")


def _write_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for form in _FORMATS:
            pixels = rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"1.{form}")
            Image.fromarray(pixels // 2).save(folder / name / f"2.{form}")


def _write_idx(root: Path) -> None:
    rng = np.random.default_rng(0)
    (root / _IDX[0]).parent.mkdir(parents=True)
    for path, n in zip(_IDX, (100, 100, 40, 40), strict=True):
        is_images = "images" in path
        shape = (n, 6, 6) if is_images else (n,)
        values = rng.integers(0, 256, shape) if is_images else np.arange(n) % 10
        header = bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape)
        (root / path).write_bytes(header + values.astype(np.uint8).tobytes())
    (root / f"{_IDX[0]}.gz").write_bytes(gzip.compress((root / _IDX[0]).read_bytes()))


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
    return name, action.__name__.strip("_"), outcome_of(action, root)


def _copy(base: Path, root: Path, kind: Kind, action: Action) -> None:
    """Copy of the sandbox what an action reads of it; snapshots take it the most time."""
    root.mkdir()
    needs_snapshots = action is _RESUME or any("/." in x or "act" in x for x in kind.files)
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
            if action not in tried and action is not _RECOMPUTE:
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
