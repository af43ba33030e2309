"""The run directory: where it is made, what its files are called, and how they are written."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from cmp_core.config.schema import Config
from cmp_core.errors import UsageError
from cmp_core.runs.walking import Walk

PARAMS = "params.yaml"
OBSERVED = "observed"
"""Its key with the layers of a model that `cmp_core.observe` has measured."""
ENVIRONMENT = "environment.json"
METRICS = "metrics.json"
LOG = "log.jsonl"
UNREADABLE_LOG = "log.unreadable"
"""What a resumed run could not read of its log."""
STATUS = "status.json"
BEST = "best.pt"
LAST = "last.pt"
TEST_RESULTS = "test_results.json"
TEST_PREDICTIONS = "test_predictions.npz"
TEST_INFLUENCES = "test_influences.npz"
RECOMPUTED = "recomputed.jsonl"
CONFUSION = "confusion.npy"
CLASS_REPORT = "class_report.json"
PLUGIN_ERRORS = "plugin_errors.log"
EVAL_PLUGIN_ERRORS = "eval_plugin_errors.log"
SEED_BASELINE = ".seed_baseline.json"
REPORT = "report.html"
ANSWERS = "answers.json"
ACTIVATIONS = "activations"
"""The folder of the snapshots."""
SNAPSHOT_BEGUN = ".snapshot.h5"
"""Where a snapshot is written until it is whole; `activations/` has none but whole ones."""
PLOTS = "plots"
"""The folder of the pictures."""
PLUGINS = "plugins"
"""The folder of the copies of plugin files."""


_FILES = (
    PARAMS,
    ENVIRONMENT,
    METRICS,
    LOG,
    STATUS,
    BEST,
    LAST,
    TEST_RESULTS,
    TEST_PREDICTIONS,
    TEST_INFLUENCES,
    CONFUSION,
    CLASS_REPORT,
    PLUGIN_ERRORS,
    EVAL_PLUGIN_ERRORS,
    RECOMPUTED,
    REPORT,
    ANSWERS,
)
_BEGUN = tuple(f".{name}." for name in _FILES)
"""How the names begin under which `whole_file` writes them."""


def make_run_directory(config: Config, now: datetime | None = None, ending: str = "") -> Path:
    """Make and return `<out>/<dataset>/<model>/<number>_<date>_<time><ending>`.

    Raises:
        UsageError: the folder cannot be written to.
    """
    parent = Path(config.out) / config.dataset / config.model
    stamp = (now or datetime.now()).strftime("%Y-%m-%d_%H-%M-%S")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            taken = [int(m[1]) for p in parent.iterdir() if (m := re.match(r"(\d+)_", p.name))]
            folder = parent / f"{max(taken, default=0) + 1:04d}_{stamp}{ending}"
            try:
                folder.mkdir()
            except FileExistsError:  # by a run that started in the same second
                continue
            return folder.absolute()
    except OSError as error:
        raise UsageError(
            f"out: cannot write to '{parent}': {error.strerror}. "
            "Choose another folder with --set out=FOLDER"
        ) from error


def open_new_run(path: str | Path) -> Path:
    """Make and return a run directory at a place that holds nothing yet.

    Raises:
        UsageError: there is something, or it cannot be written to.
    """
    folder = Path(path).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"out: '{folder}' is not empty; give the run another folder")
    except OSError as error:
        raise UsageError(f"out: cannot write to '{folder}': {error.strerror}") from error
    return folder


def open_run(path: str | Path) -> Path:
    """Return the folder of an existing run.

    Raises:
        UsageError: it is not a run directory.
    """
    folder = Path(path)
    if not folder.is_dir():
        what = "is a file, not a run directory" if folder.exists() else "does not exist"
        raise UsageError(f"run '{path}' {what}")
    if not (folder / PARAMS).is_file():
        runs = sorted(below.path for below in Walk(folder, PARAMS) if PARAMS in below.files)
        hint = f"; did you mean '{runs[-1]}'?" if runs else ""
        raise UsageError(f"'{path}' is not a run directory: it has no {PARAMS}{hint}")
    return folder.absolute()


def run_of(snapshot: Path) -> Path:
    """Return the directory of the run that has stored a snapshot file.

    >>> run_of(Path("/runs/0001/activations/step_1.h5")).as_posix()
    '/runs/0001'
    """
    return snapshot.absolute().parent.parent


def run_directories(folder: Path) -> list[Path]:
    """Return the run directories that stand in a folder, `seed_2` before `seed_10`."""
    found = [path.parent for path in folder.glob(f"[!.]*/{PARAMS}") if path.is_file()]
    return sorted(found, key=lambda path: [int(x) if x.isdigit() else x for x in _PARTS(path.name)])


_PARTS = re.compile(r"(\d+)").split


def folder_of_run(directory: Path, name: str) -> Path:
    """Return the path of a folder inside a run directory, which may not be there yet.

    Raises:
        UsageError: it is a link, which could lead what is written out of the run directory.
    """
    folder = directory / name
    if folder.is_symlink():
        raise UsageError(
            f"'{folder}' is a link, and cmp writes through none; put a folder in its place, or "
            "copy the run with: cp -rL"
        )
    return folder


def open_to_append(path: Path) -> BinaryIO:
    """Open a file of a run for lines that are added at its end.

    Raises:
        OSError: it cannot be written to, or is a link, a pipe or a device.
    """
    check_regular(path)
    no_links = getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | no_links, 0o666)
    return os.fdopen(handle, "ab")


def check_regular(path: Path) -> None:
    """Raise where reading a path could wait forever, or would not end: for pipes and devices.

    Raises:
        OSError: it is there and is no regular file; a directory as the system says it.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "expected a regular file, got a pipe or a device", str(path))


def check_folder(folder: Path) -> None:
    """Raise before any work is done where a folder can be neither made nor written to."""
    wanted = folder.absolute()
    there = next(place for place in (wanted, *wanted.parents) if os.access(place, os.F_OK))
    problem = ""
    if not there.is_dir():
        problem = "is a file"
    elif not os.access(there, os.W_OK | os.X_OK):
        problem = "is read-only"
    if problem:
        place = "it" if there == wanted else f"'{there}'"
        raise UsageError(f"cannot write to '{folder}': {place} {problem}; choose another place")


def remove_leftovers(directory: Path) -> None:
    """Remove what a program that was killed had begun to write into a run directory."""
    for path in directory.glob(".*"):
        if path.name == SNAPSHOT_BEGUN or path.name.startswith(_BEGUN):
            path.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when it is complete and on the disk."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~umask())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)  # the system does not say which file was too large
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a text file completely, or leave what was there."""
    with whole_file(path) as file:
        file.write(text.encode())


def save_whole(path: Path, save: Callable[[BinaryIO], None]) -> None:
    """Write a binary file completely by a function such as `np.save`, or leave what was there."""
    with whole_file(path) as file:
        save(file)


def umask() -> int:
    """Return the permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
