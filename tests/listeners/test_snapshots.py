"""Tests of `cmp_core.listeners.snapshots`: what a run stores, and when it stores nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cmp_core import open_snapshot, resume, run
from cmp_core.config.load import load_config
from cmp_core.config.schema import Selection, Snapshots
from cmp_core.errors import ConfigError
from cmp_core.layers.sampling import choose
from cmp_core.measurement.recompute import recompute
from tests.interruption import interrupt
from tests.small_runs import posix, small, stored


def test_the_stored_samples_are_those_of_the_split(finished_run: Path) -> None:
    contents = []
    for path in stored(finished_run):
        with open_snapshot(path) as snapshot:
            assert snapshot.verify()
            assert snapshot.inputs is not None
            contents.append((snapshot.sample_ids, snapshot.labels, snapshot.inputs[:]))
            weights = snapshot.layers[0].activations[:]
            assert (weights >= 0).all()
            assert weights.any()
    for other in contents[1:]:
        for first, second in zip(contents[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"schedule": "all"}, [0, 3, 6, 9]),
        ({"schedule": (1, -1)}, [3, 9]),
        ({"schedule": ()}, []),
        ({}, [0, 3, 6, 9]),
    ],
)
def test_the_schedule_decides_the_epochs(
    tmp_path: Path, options: dict[str, Any], steps: list[int]
) -> None:
    outcome = run(small(tmp_path, epochs=3, snapshots=Snapshots(**options)))
    assert [path.name for path in stored(outcome.directory)] == [f"step_{s:08d}.h5" for s in steps]


@pytest.mark.parametrize(("phase", "n"), [("train", 144), ("test", 359)])
def test_the_phase_decides_the_split(tmp_path: Path, phase: str, n: int) -> None:
    outcome = run(small(tmp_path, snapshots=Snapshots(phase=phase)))
    paths = stored(outcome.directory)
    assert len(paths) == 2  # the untrained network, and the last or the tested one
    with open_snapshot(paths[-1]) as snapshot:
        assert (snapshot.phase, snapshot.n, snapshot.epoch, snapshot.step) == (phase, n, 1, 3)


@pytest.mark.parametrize("size", [5, 40])
@pytest.mark.parametrize("chunk", [7, 1024])
def test_few_samples_are_the_same_at_every_epoch_and_in_chunks_of_any_size(
    tmp_path: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch, size: int, chunk: int
) -> None:
    monkeypatch.setattr("cmp_core.events.activations.CHUNK", chunk)
    with open_snapshot(stored(finished_run)[0]) as everything:
        ids = everything.sample_ids
    outcome = run(small(tmp_path, epochs=2, snapshots=Snapshots(samples=size)))
    assert len(stored(outcome.directory)) == 3
    for few, all_of_them in zip(stored(outcome.directory), stored(finished_run), strict=True):
        rows = choose(ids, size)
        with open_snapshot(few) as part, open_snapshot(all_of_them) as whole:
            np.testing.assert_array_equal(part.sample_ids, ids[rows])
            assert part.inputs is not None
            assert whole.inputs is not None
            np.testing.assert_array_equal(part.inputs[:], whole.inputs[:][rows])
            mine, theirs = (x.layers[1].activations[:] for x in (part, whole))
            np.testing.assert_allclose(mine, theirs[rows], rtol=1e-4, atol=1e-5)


def test_chosen_layers_are_stored_and_can_be_read(tmp_path: Path) -> None:
    outcome = run(small(tmp_path, snapshots=Snapshots(layers=("layer_1",))))
    path = stored(outcome.directory)[0]
    with h5py.File(path) as file:
        assert set(file["layers"]) == {"input", "layer_1"}
    with open_snapshot(path) as snapshot:
        assert snapshot.verify()
        assert [layer.name for layer in snapshot.layers] == ["layer_1"]
    (result, _) = recompute([outcome.directory], workers=1)
    assert result.error is None


def test_without_inputs_there_is_no_reference(tmp_path: Path) -> None:
    outcome = run(small(tmp_path, snapshots=Snapshots(inputs=False)))
    with open_snapshot(stored(outcome.directory)[0]) as snapshot:
        assert snapshot.inputs is None
        assert snapshot.reference is None
        assert len(snapshot.layers) == 2


def test_half_precision_rounds(tmp_path: Path, finished_run: Path) -> None:
    outcome = run(small(tmp_path, epochs=2, snapshots=Snapshots(dtype="float16")))
    for half, single in zip(stored(outcome.directory), stored(finished_run), strict=True):
        with open_snapshot(half) as first, open_snapshot(single) as second:
            assert first.verify()
            for a, b in zip(first.layers, second.layers, strict=True):
                for x, y in ((a.activations, b.activations), (a.anchors, b.anchors)):
                    assert x is not None
                    assert y is not None
                    assert (x.dtype, y.dtype) == (np.float16, np.float32)
                    np.testing.assert_array_equal(x[:], y[:].astype(np.float16))
    results = list(recompute([outcome.directory], workers=1))
    assert [result.error for result in results] == [None] * 3


LARGE = """
import torch
from cmp_core import Images, RawData, hookimpl

@hookimpl
def cmp_register_datasets(register):
    samples = 1e6 * torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    make = lambda config: RawData(Images(samples, torch.arange(300) % 3), None, ("a", "b", "c"))
    register(make, name="large")
"""


@pytest.mark.parametrize("inputs", [True, False])
def test_half_precision_refuses_what_it_cannot_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], inputs: bool
) -> None:
    plugin = tmp_path / "large.py"
    plugin.write_text(LARGE)
    options = Snapshots(dtype="float16", inputs=inputs)
    config = small(tmp_path / "out", dataset="large", plugins=(str(plugin),), snapshots=options)
    outcome = run(config)
    shown = capsys.readouterr().err
    assert shown.count("warning: snapshots: ") == 1
    assert "float16 ends at 65504; set dtype to float32; no more are stored" in shown
    assert not list(outcome.directory.rglob("*.h5"))
    assert outcome.results["n"] > 0
    assert json.loads((outcome.directory / "status.json").read_text())["state"] == "finished"


@pytest.mark.parametrize("setting", ["null", "false"])
def test_no_snapshots_are_none(tmp_path: Path, setting: str) -> None:
    config = load_config(settings=[f"snapshots={setting}"])
    directory = run(small(tmp_path, snapshots=config.snapshots)).directory
    assert not list(directory.rglob("*.h5"))
    assert not (directory / "activations").exists()


def test_a_layer_that_is_not_there_is_told_and_leaves_no_run(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"snapshots\.layers: unknown layer 'layer_9'; did you mean"
    ):
        run(small(tmp_path / "out", snapshots=Snapshots(layers=("layer_9",))))
    assert not (tmp_path / "out").exists()


LIMITS = ((50_000, "none"), (300_000, "none"), (70_000, "gzip"))
FULL = f"""
import resource
from pathlib import Path
from cmp_core.config.schema import Selection, Snapshots
from cmp_core import resume, run
from tests.small_runs import small
for limit, compression in {LIMITS}:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    options = Snapshots(compression=compression)
    outcome = run(small(Path("runs"), val_size=1200, snapshots=options))
    assert outcome.results
    print(*(failure.error for failure in outcome.failures))
"""


@posix
def test_a_full_disk_costs_the_snapshots_and_not_the_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = done.stderr.splitlines()
    missing = "DataError: there is no snapshot of epochs 0, 1; where there was no room, make some"
    assert [line.startswith(missing) for line in done.stdout.splitlines()[-1:]] == [True]
    assert done.stdout.count(missing) == len(LIMITS)
    directories = list((tmp_path / "runs" / "digits" / "greedy").iterdir())
    assert len(told) == len(directories) == len(LIMITS)
    for line, directory in zip(told, directories, strict=True):
        assert line.startswith("warning: snapshots: ")
        assert line.endswith("no more are stored, training goes on")
        assert "File too large" in line
        assert not list(directory.rglob("*.h5"))
        assert json.loads((directory / "status.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(
    ("fit", "counts"), [("last", [0, 1150]), ("all", [1150] * 2), ("none", [0, 0])]
)
def test_which_files_have_the_samples_that_probes_are_fitted_to(
    tmp_path: Path, fit: str, counts: list[int]
) -> None:
    metrics = (Selection("probe_accuracy", "probe_accuracy"),)
    directory = run(small(tmp_path, metrics=metrics, snapshots=Snapshots(fit=fit))).directory
    found = []
    for path in stored(directory):
        with open_snapshot(path) as snapshot:
            assert snapshot.verify()
            found.append(0 if snapshot.fit is None else int(snapshot.fit.sum()))
            assert len(snapshot.scored) == 144
    assert found == counts
    sources = [
        {row.fit.source for row in result.rows if row.fit} for result in recompute([directory])
    ]
    assert sources == [{"training"} if count else {"cross-validation"} for count in counts]


def test_the_best_epoch_is_stored_once_though_it_is_tested(tmp_path: Path) -> None:
    """The test is fitted at the same epoch, which must not be taken for another snapshot."""
    metrics = (Selection("probe_accuracy", "probe_accuracy"),)
    directory = run(small(tmp_path, metrics=metrics)).directory
    assert json.loads((directory / "test_results.json").read_text())["epoch"] == 1
    assert len(stored(directory)) == 2
    assert not (directory / ".snapshot.h5").exists()


@pytest.mark.parametrize("phase", ["val", "train", "test"])
def test_a_run_whose_snapshots_are_all_there_has_no_failure(tmp_path: Path, phase: str) -> None:
    assert run(small(tmp_path, epochs=3, snapshots=Snapshots(phase=phase))).failures == ()


def test_snapshots_that_were_lost_before_a_run_was_resumed_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = interrupt(small(tmp_path, epochs=2), 4, monkeypatch)
    (directory / "activations" / "step_00000000.h5").unlink()
    (failure,) = resume(directory).failures
    assert (failure.plugin, failure.disabled) == ("snapshots", True)
    assert failure.error.startswith("DataError: there is no snapshot of epoch 0; ")
    (error,) = json.loads((directory / "status.json").read_text())["plugin_errors"]
    assert error["error"] == failure.error
