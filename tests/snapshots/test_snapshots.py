"""Snapshot files: what a run stores, what is read back, and what damage and death leave."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from cmp_core import Layer, open_snapshot, run
from cmp_core.cli import cli
from cmp_core.config.schema import Config, Selection, Snapshots
from cmp_core.errors import DataError, UsageError
from cmp_core.layers.sampling import choose
from cmp_core.measurement.recompute import find_snapshots, recompute
from cmp_core.snapshots.schedule import scheduled
from cmp_core.snapshots.write import SnapshotWriter

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals, fork and limits")


def small(out: Path, **values: Any) -> Config:
    """A run of less than a second, of a greedy net on the digits."""
    metrics = (Selection("accuracy", "accuracy"),)
    given = {"N": 12, "layers": 2, "epochs": 1, "batch_size": 512, "metrics": metrics} | values
    return Config(device="cpu", out=str(out), **given)


def stored(directory: Path) -> list[Path]:
    """The snapshots of a run."""
    return sorted((directory / "activations").glob("*.h5"))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with the default snapshots."""
    return run(small(tmp_path_factory.mktemp("run"), epochs=2)).directory


@pytest.fixture
def snapshot(directory: Path, tmp_path: Path) -> Path:
    """A copy of the run's last snapshot, to be damaged."""
    copy = tmp_path / "copy.h5"
    copy.write_bytes(stored(directory)[-1].read_bytes())
    return copy


# Writing


def test_a_file_has_the_documented_attributes(directory: Path) -> None:
    params = (directory / "params.yaml").read_text()
    for path, epoch, step in zip(stored(directory), (0, 1, 2), (0, 3, 6), strict=True):
        assert path.name == f"step_{step:08d}.h5"
        with h5py.File(path) as file:
            found = dict(file.attrs)
        software = json.loads(found.pop("software"))
        assert set(software) == {"chain-of-metric-predictors", "torch", "h5py", "numpy"}
        assert len(found.pop("content_sha256")) == 64
        assert found == {
            "format": "cmp-activations",
            "format_version": 1,
            "run_id": directory.name,
            "phase": "val",
            "epoch": epoch,
            "step": step,
            "dataset": "digits",
            "model": "greedy",
            "num_classes": 10,
            "config": params,
        }


def test_a_file_has_the_documented_datasets(directory: Path) -> None:
    with h5py.File(stored(directory)[0]) as file:
        shapes = {
            "labels": (144,),
            "sample_ids": (144,),
            "inputs": (144, 64),
            "layers/input/activations": (144, 64),
            "layers/input/scores": (144, 10),
            "layers/input/anchors": (10, 64),
        }
        for name in ("layer_0", "layer_1"):
            shapes[f"layers/{name}/activations"] = (144, 12)
            shapes[f"layers/{name}/scores"] = (144, 10)
            shapes[f"layers/{name}/anchors"] = (10, 12)
        for name, shape in shapes.items():
            dtype = np.dtype("<i8" if name in ("labels", "sample_ids") else "<f4")
            assert (file[name].shape, file[name].dtype) == (shape, dtype), name
        assert set(file["layers"]) == {"input", "layer_0", "layer_1"}
        assert file["layers/input/activations"] == file["inputs"]  # stored once
        described = {name: dict(group.attrs) for name, group in file["layers"].items()}
        assert described == {
            "input": {"depth": -1, "module": "input", "anchor_kind": "class_mean"},
            "layer_0": {"depth": 0, "module": "layers.0", "anchor_kind": "orthonormal"},
            "layer_1": {"depth": 1, "module": "layers.1", "anchor_kind": "orthonormal"},
        }


def test_samples_are_in_checked_chunks_without_time_stamps(directory: Path) -> None:
    items: list[Any] = []
    with h5py.File(stored(directory)[0]) as file:
        file.visititems(lambda _, item: items.append(item))
        assert len(items) == 15
        for item in items:
            assert not item.id.get_create_plist().get_obj_track_times()
            assert h5py.h5g.get_objinfo(item.id).mtime == 0
            if isinstance(item, h5py.Dataset) and not item.name.endswith("anchors"):
                assert item.chunks == item.shape
                assert item.fletcher32


def test_dimensions_have_names_and_the_samples_a_scale(directory: Path) -> None:
    with h5py.File(stored(directory)[0]) as file:
        ids = file["sample_ids"]
        assert ids.is_scale
        names = {
            "labels": ["sample"],
            "sample_ids": ["sample"],
            "layers/layer_0/activations": ["sample", "unit"],
            "layers/layer_0/scores": ["sample", "class"],
            "layers/layer_0/anchors": ["class", "unit"],
        }
        for name, labels in names.items():
            assert [dim.label for dim in file[name].dims] == labels
            if labels[0] == "sample" and name != "sample_ids":
                assert file[name].dims[0][0] == ids


def test_the_hash_is_the_documented_one(directory: Path) -> None:
    own = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS")
    lines: dict[str, Any] = {}

    def describe(path: str, item: Any) -> None:
        attributes = {
            name: [type(value).__name__, value.item() if hasattr(value, "item") else value]
            for name, value in item.attrs.items()
            if name not in (*own, "content_sha256")
        }
        lines[path] = [path, attributes]
        if isinstance(item, h5py.Dataset):
            digest = hashlib.sha256(item[:].tobytes()).hexdigest()
            lines[path] += [item.dtype.str, list(item.shape), digest]

    with h5py.File(stored(directory)[1]) as file:
        describe("/", file)
        file.visititems(lambda path, item: describe(f"/{path}", item))
        text = "".join(json.dumps(lines[path], sort_keys=True) + "\n" for path in sorted(lines))
        assert file.attrs["content_sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_the_stored_samples_are_those_of_the_split(directory: Path) -> None:
    contents = []
    for path in stored(directory):
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
    ("schedule", "epochs", "expected"),
    [
        ("log", 1, (0, 1)),
        ("log", 5, (0, 1, 2, 4, 5)),
        ("log", 8, (0, 1, 2, 4, 8)),
        ("all", 3, (0, 1, 2, 3)),
        ((-1,), 7, (7,)),
        ((3, 0, 3, -2), 5, (0, 3, 4)),
        ((1, 9), 5, (1,)),
        ((), 5, ()),
    ],
)
def test_schedules_have_known_epochs(
    schedule: str | tuple[int, ...], epochs: int, expected: tuple[int, ...]
) -> None:
    assert scheduled(schedule, epochs) == expected


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
    assert len(paths) == (1 if phase == "test" else 2)
    with open_snapshot(paths[-1]) as snapshot:
        assert (snapshot.phase, snapshot.n, snapshot.epoch, snapshot.step) == (phase, n, 1, 3)


@pytest.mark.parametrize("size", [5, 40])
@pytest.mark.parametrize("chunk", [7, 1024])
def test_few_samples_are_the_same_at_every_epoch_and_in_chunks_of_any_size(
    tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch, size: int, chunk: int
) -> None:
    monkeypatch.setattr("cmp_core.training.evaluator.CHUNK", chunk)
    with open_snapshot(stored(directory)[0]) as everything:
        ids = everything.sample_ids
    outcome = run(small(tmp_path, epochs=2, snapshots=Snapshots(samples=size)))
    assert len(stored(outcome.directory)) == 3
    for few, all_of_them in zip(stored(outcome.directory), stored(directory), strict=True):
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


def test_half_precision_rounds(tmp_path: Path, directory: Path) -> None:
    outcome = run(small(tmp_path, epochs=2, snapshots=Snapshots(dtype="float16")))
    for half, single in zip(stored(outcome.directory), stored(directory), strict=True):
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
    assert "float16 ends at 65504; set snapshots.dtype to float32; no more are stored" in shown
    assert not list(outcome.directory.rglob("*.h5"))
    assert outcome.results["n"] > 0
    assert json.loads((outcome.directory / "status.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(
    ("compression", "filters"),
    [("gzip", ("gzip", 1, True)), ("lzf", ("lzf", None, True)), ("none", (None, None, False))],
)
def test_compression_changes_the_size_alone(
    tmp_path: Path, directory: Path, compression: str, filters: tuple[Any, ...]
) -> None:
    outcome = run(small(tmp_path, epochs=2, snapshots=Snapshots(compression=compression)))
    with h5py.File(stored(outcome.directory)[0]) as file, h5py.File(stored(directory)[0]) as same:
        for name in ("inputs", "labels", "layers/layer_0/activations", "layers/layer_1/scores"):
            data = file[name]
            assert (data.compression, data.compression_opts, data.shuffle) == filters
            assert data.fletcher32
            np.testing.assert_array_equal(data[:], same[name][:])


@pytest.mark.parametrize(
    "arguments", [["--no-snapshots"], ["--set", "snapshots=null"], ["--set", "snapshots=false"]]
)
def test_no_snapshots_are_none(arguments: list[str]) -> None:
    done = call("run", "--set", "epochs=1", "--set", "N=12", "--metrics", "accuracy", *arguments)
    assert done.exit_code == 0
    assert "snapshot" not in done.output
    assert not list(Path().rglob("*.h5"))
    assert not list(Path().rglob("activations"))


def call(*arguments: object) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{layers: [layer_9]}", "snapshots.layers: unknown layer 'layer_9'; did you mean 'layer_"),
        ("{layers: []}", "snapshots.layers"),
        ("{layers: some}", "snapshots.layers: expected all, or a list of names, got 'some'"),
        ("{smaples: 5}", "snapshots.smaples: unknown key 'smaples'; did you mean 'samples'?"),
        ("{samples: 0}", "snapshots.samples: expected a whole number of at least 1, or all, got 0"),
        ("{samples: many}", "snapshots.samples: expected"),
        ("{samples: 1.5}", "snapshots.samples: expected"),
        ("{samples: true}", "snapshots.samples: expected"),
        ("{phase: valid}", "snapshots.phase: expected one of val, train, test, got 'valid'"),
        ("{schedule: often}", "snapshots.schedule: expected log, all, or a list of epochs"),
        ("{schedule: [0, a]}", "snapshots.schedule: [1]: expected a whole number, got 'a'"),
        ("{schedule: 3}", "snapshots.schedule: expected"),
        ("{inputs: 1}", "snapshots.inputs: expected true or false, got 1"),
        ("{dtype: float64}", "snapshots.dtype: expected one of float32, float16, got 'float64'"),
        ("{compression: zip}", "snapshots.compression: expected one of gzip, lzf, none, got 'zip'"),
        ("true", "snapshots: expected {phase: …, samples: …, …} or null, got true"),
        ("all", "snapshots: expected"),
        ("{phase: x, dtype: y}", "has 2 mistakes"),
    ],
)
def test_wrong_options_are_told_and_leave_no_run(value: str, message: str) -> None:
    done = call("run", "--set", f"snapshots={value}", "--set", "epochs=1", "--set", "N=12")
    assert done.exit_code == 2
    assert message in done.stderr
    assert not Path("runs").exists()


def write(path: Path, pieces: tuple[int, ...], n: int, width: int = 6) -> None:
    """Write n samples of one layer in pieces."""
    g = torch.Generator().manual_seed(0)
    activations, scores = torch.randn(n, width, generator=g), torch.randn(n, 3, generator=g)
    anchors = torch.randn(3, width, generator=g)
    writer = SnapshotWriter(path, path.parent / ".temporary.h5", n, "float32", "gzip")
    ids = torch.arange(n)
    for some in ids.split(pieces):
        layer = Layer("layer_0", 0, "0", activations[some], scores[some], anchors, "orthonormal")
        writer.append((layer,), some, some % 3, None)
    writer.finish({"phase": "val"})


@pytest.mark.parametrize("pieces", [(1, 9), (9, 1), (3, 3, 4), (10, 0), (0, 10), (4, 0, 0, 6)])
def test_pieces_of_any_size_give_the_same_file(tmp_path: Path, pieces: tuple[int, ...]) -> None:
    hashes = []
    for name, sizes in (("whole.h5", (10,)), ("pieces.h5", pieces)):
        write(tmp_path / name, sizes, 10)
        with open_snapshot(tmp_path / name) as snapshot:
            assert snapshot.verify()
        with h5py.File(tmp_path / name) as file:
            hashes.append(file.attrs["content_sha256"])
    assert hashes[0] == hashes[1]


def test_a_chunk_is_about_a_mebibyte(tmp_path: Path) -> None:
    for width, rows in ((2048, 128), (8, 300), (2**19, 1)):
        n = 300 if width < 2**19 else 2
        write(tmp_path / "x.h5", (n,), n, width)
        with h5py.File(tmp_path / "x.h5") as file:
            assert file["layers/layer_0/activations"].chunks == (rows, width)


def test_a_file_of_too_few_samples_is_not_put_in_place(tmp_path: Path) -> None:
    temporary = tmp_path / ".temporary.h5"
    writer = SnapshotWriter(tmp_path / "x.h5", temporary, 5, "float32", "none")
    layer = Layer("layer_0", 0, "0", torch.ones(3, 2))
    writer.append((layer,), torch.arange(3), None, None)
    with pytest.raises(ValueError, match="expected 5 samples, got 3"):
        writer.finish({})
    writer.abort()
    assert not list(tmp_path.iterdir())


FULL = """
import resource, sys
from cmp_core.__main__ import main
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
main()
"""


@posix
@pytest.mark.parametrize(
    ("limit", "compression"), [(50_000, "none"), (300_000, "none"), (70_000, "gzip")]
)
def test_a_full_disk_costs_the_snapshots_and_not_the_run(
    tmp_path: Path, limit: int, compression: str
) -> None:
    settings = ("N=12", "layers=2", "epochs=1", "batch_size=512", "val_size=1200", "device=cpu")
    options = f"snapshots={{compression: {compression}}}"
    command = [
        sys.executable,
        "-c",
        FULL,
        str(limit),
        "run",
        "--metrics",
        "accuracy",
        "--plots",
        "",
    ]
    for setting in (*settings, options):
        command += ["--set", setting]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: snapshots: ")
    assert line.endswith("no more are stored, training goes on")
    assert "File too large" in line
    assert "test accuracy" in done.stdout
    (directory,) = (tmp_path / "runs" / "digits" / "greedy").iterdir()
    assert not list(directory.rglob("*.h5"))
    assert json.loads((directory / "status.json").read_text())["state"] == "finished"


# Reading


def by_hand(path: Path) -> Path:
    """Write a snapshot as another program would."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs.update(format="cmp-activations", format_version=1)
        file["labels"] = np.arange(20) % 3
        for depth, width in enumerate((5, 4)):
            layer = file.create_group(f"layers/block_{depth}")
            layer.attrs["depth"] = depth
            layer["activations"] = rng.normal(size=(20, width))
    return path


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A snapshot that another program wrote."""
    return by_hand(tmp_path / "mine.h5")


def test_a_file_by_hand_has_what_it_says_and_defaults(mine: Path) -> None:
    with open_snapshot(mine) as snapshot:
        assert not snapshot.verify()
        assert (snapshot.phase, snapshot.epoch, snapshot.step) == ("val", 0, 0)
        assert (snapshot.run_id, snapshot.dataset, snapshot.model, snapshot.config) == ("",) * 4
        assert (snapshot.n, snapshot.num_classes) == (20, 3)
        assert snapshot.sample_ids.tolist() == list(range(20))
        assert snapshot.labels is not None
        assert snapshot.labels.tolist() == [i % 3 for i in range(20)]
        assert snapshot.inputs is snapshot.reference is None
        assert [(x.name, x.depth) for x in snapshot.layers] == [("block_0", 0), ("block_1", 1)]
        assert snapshot.layers[0].scores is snapshot.layers[0].anchors is None


def test_arrays_are_read_when_they_are_indexed(mine: Path) -> None:
    expected = np.random.default_rng(0).normal(size=(20, 5))
    with open_snapshot(mine) as snapshot:
        array = snapshot.layers[0].activations
        assert not isinstance(array, np.ndarray)
        assert (array.shape, array.dtype, len(array)) == ((20, 5), np.float64, 20)
        assert array.stored_bytes == 800
        np.testing.assert_array_equal(array[3:7], expected[3:7])
        np.testing.assert_array_equal(array[:], expected)
        np.testing.assert_array_equal(np.asarray(array), expected)
        assert np.asarray(array, np.float32).dtype == np.float32


def test_a_large_dataset_that_is_never_read_costs_no_memory(mine: Path) -> None:
    with h5py.File(mine, "a") as file:
        file.create_dataset("inputs", (20, 2**40), "f4", chunks=(1, 2**20))  # 80 TiB of nothing
    with open_snapshot(mine) as snapshot:
        assert snapshot.inputs is not None
        assert snapshot.inputs.shape == (20, 2**40)


@pytest.mark.parametrize("name", ["labels", "sample_ids"])
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i8", "u8"])
def test_whole_numbers_of_any_type_will_do(mine: Path, name: str, dtype: str) -> None:
    with h5py.File(mine, "a") as file:
        file.pop(name, None)
        file[name] = (np.arange(20) % (3 if name == "labels" else 20)).astype(dtype)
    with open_snapshot(mine) as snapshot:
        assert snapshot.sample_ids.dtype == np.int64
        assert snapshot.labels is not None
        assert snapshot.labels.tolist() == [i % 3 for i in range(20)]


@pytest.mark.parametrize("value", [np.bytes_(b"mine"), h5py.Empty("f4"), 1j, True, [1.0, 2.0]])
def test_further_attributes_of_any_type_do_not_matter(mine: Path, value: Any) -> None:
    with h5py.File(mine, "a") as file:
        file.attrs["note"] = value
        file["layers/block_0"].attrs["note"] = value
    with open_snapshot(mine) as snapshot:
        assert not snapshot.verify()


def test_further_datasets_of_any_type_do_not_matter(mine: Path) -> None:
    with h5py.File(mine, "a") as file:
        file["names"] = ["a", "b"]
        file["nothing"] = h5py.Empty("f4")
        file["number"] = 3
    with open_snapshot(mine) as snapshot:
        assert not snapshot.verify()


def test_texts_of_fixed_length_will_do(mine: Path) -> None:
    """MATLAB, Julia and C write texts so."""
    with h5py.File(mine, "a") as file:
        file.attrs["format"] = np.bytes_(b"cmp-activations")
        file.attrs["phase"] = np.bytes_(b"test")
        file["layers/block_0"].attrs["module"] = np.bytes_(b"blocks.0")
    with open_snapshot(mine) as snapshot:
        snapshot.verify()
        assert (snapshot.phase, snapshot.layers[0].module) == ("test", "blocks.0")


Change = Callable[[h5py.File], Any]


def put(name: str, value: Any) -> Change:
    """Return what replaces a dataset."""

    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        if value is not None:
            file[name] = value

    return change


def mark(name: str, value: Any, group: str = "/") -> Change:
    """Return what changes an attribute."""

    def change(file: h5py.File) -> None:
        if value is None:
            del file[group].attrs[name]
        else:
            file[group].attrs[name] = value

    return change


def no_layers(file: h5py.File) -> None:
    del file["layers/block_0"], file["layers/block_1"]


def no_samples(file: h5py.File) -> None:
    del file["labels"]
    for name in ("block_0", "block_1"):
        put(f"layers/{name}/activations", np.zeros((0, 4)))(file)


FIRST = "layers/block_0"


@pytest.mark.parametrize(
    ("change", "place", "found"),
    [
        (mark("format", "other"), "attribute format", "expected 'cmp-activations', got 'other'"),
        (mark("format", None), "attribute format", "got nothing"),
        (mark("format", [1, 2]), "attribute format", "expected 'cmp-activations'"),
        (mark("format_version", 2), "attribute format_version", "expected 1, got 2"),
        (mark("format_version", None), "attribute format_version", "expected 1, got nothing"),
        (mark("phase", "later"), "attribute phase", "got 'later'"),
        (mark("phase", 3), "attribute phase", "expected a text, got 3"),
        (mark("epoch", -1), "attribute epoch", "a whole number of at least 0, got -1"),
        (mark("step", "ten"), "attribute step", "a whole number of at least 0, got 'ten'"),
        (mark("num_classes", 2), "/labels", "expected classes from 0 to 1, got 0 to 2"),
        (put("layers", None), "/layers", "expected a group, got nothing"),
        (put("layers", np.ones(3)), "/layers", "expected a group, got a dataset"),
        (no_layers, "/layers", "got none"),
        (no_samples, "activations", "expected at least one sample, got none"),
        (put("sample_ids", np.arange(0)), "/sample_ids", "expected at least one sample, got none"),
        (put("sample_ids", 3), "/sample_ids", "expected"),
        (put(f"{FIRST}/activations", None), f"/{FIRST}/activations", "a dataset, got nothing"),
        (put("layers/stray", np.ones((20, 2))), "/layers/stray", "expected a group, got dataset"),
        (mark("depth", None, FIRST), f"attribute depth of /{FIRST}", "got nothing"),
        (mark("depth", 0.5, FIRST), f"attribute depth of /{FIRST}", "whole number"),
        (mark("depth", [0, 1], FIRST), f"attribute depth of /{FIRST}", "whole number"),
        (mark("depth", -1, FIRST), f"attribute depth of /{FIRST}", "at least 0, got -1"),
        (mark("depth", 1, FIRST), "/layers", "got block_0 1, block_1 1"),
        (put("labels", np.arange(19) % 3), "/labels", "shape (20,), got int64 of shape (19,)"),
        (put("labels", np.ones(20)), "/labels", "expected whole numbers of shape (20,), got float"),
        (put("labels", np.arange(20) - 1), "/labels", "got -1 to 18"),
        (put("labels", np.ones((20, 1), int)), "/labels", "got int64 of shape (20, 1)"),
        (put("sample_ids", np.arange(20) // 2), "/sample_ids", "every id once, got 0 2 times"),
        (put("sample_ids", np.arange(20.0)), "/sample_ids", "whole numbers of shape (20,)"),
        (put("sample_ids", np.arange(7)), f"/{FIRST}/activations", "shape (7, …), got float64"),
        (put("inputs", np.ones((3, 2))), "/inputs", "shape (20, …), got float64 of shape (3, 2)"),
        (put("inputs", np.ones((20, 2), int)), "/inputs", "floating-point numbers"),
        (put(f"{FIRST}/activations", np.ones(20)), f"/{FIRST}/activations", "shape (20, …)"),
        (put(f"{FIRST}/activations", np.ones((20, 0))), f"/{FIRST}/activations", "shape (20, 0)"),
        (put(f"{FIRST}/scores", np.ones((19, 3))), f"/{FIRST}/scores", "(20, C), got float64"),
        (put(f"{FIRST}/scores", np.ones((20, 3, 1))), f"/{FIRST}/scores", "(20, C), got float64"),
        (put(f"{FIRST}/scores", np.ones((20, 2))), "/labels", "from 0 to 1, got 0 to 2"),
        (put(f"{FIRST}/anchors", np.ones((3, 4))), f"/{FIRST}/anchors", "(C, 5), as wide as the"),
        (put(f"{FIRST}/anchors", np.ones(5)), f"/{FIRST}/anchors", "(C, N), got float64"),
    ],
)
def test_what_is_no_snapshot_is_told(mine: Path, change: Change, place: str, found: str) -> None:
    with h5py.File(mine, "a") as file:
        change(file)
    with pytest.raises(DataError) as told:
        open_snapshot(mine)
    assert str(told.value).startswith(f"'{mine}': ")
    assert place in str(told.value)
    assert found in str(told.value)
    mine.unlink()  # it is closed
    assert isinstance(told.value, UsageError)


def test_scores_and_anchors_have_the_same_classes(mine: Path) -> None:
    with h5py.File(mine, "a") as file:
        file[f"{FIRST}/scores"] = np.ones((20, 3))
        file[f"{FIRST}/anchors"] = np.ones((4, 5))
    with pytest.raises(DataError, match=r"anchors: expected 3 rows, .* got 4"):
        open_snapshot(mine)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is empty; expected a whole HDF5 file"),
        (b"not at all" * 99, "cannot be read: .*; expected a whole HDF5 file"),
    ],
)
def test_what_is_no_hdf5_file_is_told(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "x.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"^'{path}' {message}"):
        open_snapshot(path)


def test_a_folder_is_no_snapshot(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^'{tmp_path}' is a folder$"):
        open_snapshot(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "is_seen"),
    [
        (mark("epoch", 1), True),
        (mark("note", "hello"), True),
        (mark("software", None), True),
        (mark("module", "other", "layers/layer_0"), True),
        (lambda file: file["labels"].__setitem__(0, 3), True),
        (lambda file: file["layers/layer_0/anchors"].__setitem__((0, 0), 0.5), True),
        (lambda file: file["layers/layer_0/activations"].__setitem__((143, 11), 0.5), True),
        (lambda file: file.create_dataset("more", data=np.ones(3)), True),
        (lambda file: file.__delitem__("layers/input/scores"), True),
        (lambda file: None, False),
    ],
)
def test_a_changed_file_does_not_fit_its_hash(
    snapshot: Path, change: Change, is_seen: bool
) -> None:
    with h5py.File(snapshot, "a") as file:
        change(file)
    with open_snapshot(snapshot) as opened:
        if not is_seen:
            assert opened.verify()
            return
        with pytest.raises(DataError, match=r"does not match content_sha256: expected .* got"):
            opened.verify()


DAMAGE = """
import faulthandler, json, random, sys
from pathlib import Path
from cmp_core import open_snapshot, DataError

def content(path):
    with open_snapshot(path) as s:
        s.verify()
        parts = [s.phase, s.epoch, s.step, s.run_id, s.dataset, s.model, s.config, s.num_classes]
        parts += [s.sample_ids.tobytes(), s.labels.tobytes(), s.inputs[:].tobytes()]
        for layer in (s.reference, *s.layers):
            parts += [layer.name, layer.depth, layer.module, layer.anchor_kind]
            for array in (layer.activations, layer.scores, layer.anchors):
                parts.append(array[:].tobytes())
        return parts

faulthandler.enable()
whole, copy = Path(sys.argv[1]), Path(sys.argv[2])
data, good = whole.read_bytes(), content(whole)
rng = random.Random(0)
cuts = [0, 1, 8, 100, len(data) - 1, *(rng.randrange(len(data)) for _ in range(20))]
places = [*range(0, 96, 4), *(rng.randrange(len(data)) for _ in range(80))]
changed = [("cut", at, data[:at]) for at in cuts]
for at in places:
    flipped = bytearray(data)
    flipped[at] ^= 1 << rng.randrange(8)
    changed.append(("flip", at, flipped))
for kind, at, content_of_copy in changed:
    print(json.dumps([kind, at]), file=sys.stderr, flush=True)  # the last one, if it crashes
    copy.write_bytes(content_of_copy)
    try:
        what = "same" if content(copy) == good else "other content"
    except DataError as error:
        what = "told" if str(copy) in str(error) else f"no path: {error}"
    except BaseException as error:
        what = f"{type(error).__name__}: {error}"
    print(json.dumps([kind, at, what]))
"""


@pytest.mark.parametrize("which", [0, -1])
def test_damage_is_told_or_does_no_harm(directory: Path, tmp_path: Path, which: int) -> None:
    arguments = [str(stored(directory)[which]), str(tmp_path / "copy.h5")]
    done = subprocess.run(
        [sys.executable, "-c", DAMAGE, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == 25 + 104
    assert [r for r in results if r[2] not in ("same", "told")] == []
    assert {r[2] for r in results if r[0] == "cut"} == {"told"}
    assert sum(r[2] == "told" for r in results if r[0] == "flip") > 40


# Death

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
    killed: list[Path], directory: Path
) -> None:
    from cmp_core import resume

    torn = next(d for d in killed[::-1] if (d / ".snapshot.h5").exists())
    resume(torn)
    assert [p.name for p in stored(torn)] == [p.name for p in stored(directory)]
    assert not (torn / ".snapshot.h5").exists()
    for mine, theirs in zip(stored(torn), stored(directory), strict=True):
        with open_snapshot(mine) as first, open_snapshot(theirs) as second:
            assert first.verify()
            a, b = first.layers[1].activations[:], second.layers[1].activations[:]
            np.testing.assert_array_equal(a, b)


def test_configurations_with_snapshots_survive_yaml(tmp_path: Path) -> None:
    from cmp_core import load_config
    from cmp_core.config.load import dump_config

    options = Snapshots("train", (0, -1), "all", ("layer_0",), False, "float16", "lzf")
    for snapshots in (options, Snapshots(), None):
        config = attrs.evolve(small(tmp_path), snapshots=snapshots)
        (tmp_path / "params.yaml").write_text(dump_config(config))
        assert load_config(tmp_path / "params.yaml") == config


def test_ids_in_the_place_of_labels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(format="cmp-activations", format_version=1)
        file["labels"] = np.array([0, 10**9])
        file["layers/a/activations"] = np.ones((2, 3))
        file["layers/a"].attrs["depth"] = 0
    with pytest.raises(DataError, match="/labels: expected at most 1,000,000 classes"):
        open_snapshot(path)
