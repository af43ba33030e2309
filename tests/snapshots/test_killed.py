"""What is left of snapshots where the process was killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cmp_core import open_snapshot
from cmp_core.errors import UsageError
from cmp_core.measurement.recompute import find_snapshots, recompute
from tests.small_runs import posix, stored

KILLED = """
import contextlib, json, os, signal, sys
from pathlib import Path
import h5py, torch
import cmp_core
from cmp_core.config.schema import Config, Selection

torch.set_num_threads(1)
calls = last = 0

def patch(owner, name):
    original = getattr(owner, name)

    def method(*args, **kwargs):
        global calls
        calls += 1
        if calls == last and last % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, method)

def train(folder):
    config = Config(N=12, layers=2, epochs=2, batch_size=512, device="cpu", out=str(folder),
                    metrics=(Selection("accuracy", "accuracy"),))
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        cmp_core.run(config)

folder = Path(sys.argv[1])
train(folder / "warm")
for owner, name in ((h5py.Dataset, "__setitem__"), (h5py.Group, "create_dataset"),
                    (h5py.File, "close"), (os, "fsync"), (Path, "replace")):
    patch(owner, name)
train(folder / "counted")
total, spread = calls, int(sys.argv[2])
ends = {}
for i in range(spread):
    calls, last = 0, 1 + i * (total - 1) // (spread - 1)
    child = os.fork()
    if child == 0:
        train(folder / f"{i:02d}")
        os._exit(9)
    ends[i] = os.waitpid(child, 0)[1]
print(json.dumps([total, list(ends.values())]))
"""


DEATHS = 16


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Run directories of processes that were killed at one write or another."""
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(DEATHS)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    total, ends = json.loads(done.stdout)
    assert total > 50
    assert ends == [9] * DEATHS  # SIGKILL
    return [
        next(p.parent for p in folder.glob(f"{i:02d}/**/params.yaml")) for i in range(1, DEATHS)
    ]


@posix
def test_a_kill_leaves_whole_snapshots_alone(killed: list[Path]) -> None:
    counts = set()
    for directory in killed:
        paths = stored(directory)
        counts.add(len(paths))
        assert {p.name for p in directory.glob("activations/*")} == {p.name for p in paths}
        for path in paths:
            with open_snapshot(path) as snapshot:
                assert snapshot.verify()
                assert snapshot.n == 144
        if paths:
            results = list(recompute([directory], workers=1))
            assert [result.error for result in results] == [None] * len(paths)
    assert counts >= {0, 1, 2}


@posix
def test_what_a_kill_tore_is_not_taken_for_a_snapshot(killed: list[Path]) -> None:
    assert any((directory / ".snapshot.h5").exists() for directory in killed)
    for directory in killed:
        if not stored(directory):
            with pytest.raises(UsageError, match="holds no snapshot"):
                find_snapshots([directory])
        parent = directory.parent  # of all runs of a model
        if stored(directory):
            assert find_snapshots([parent]) == stored(directory)


@posix
def test_a_killed_run_that_is_resumed_has_all_snapshots(
    killed: list[Path], finished_run: Path
) -> None:
    from cmp_core import resume

    torn = next(d for d in killed[::-1] if (d / ".snapshot.h5").exists())
    resume(torn)
    assert [p.name for p in stored(torn)] == [p.name for p in stored(finished_run)]
    assert not (torn / ".snapshot.h5").exists()
    for mine, theirs in zip(stored(torn), stored(finished_run), strict=True):
        with open_snapshot(mine) as first, open_snapshot(theirs) as second:
            assert first.verify()
            a, b = first.layers[1].activations[:], second.layers[1].activations[:]
            np.testing.assert_array_equal(a, b)
