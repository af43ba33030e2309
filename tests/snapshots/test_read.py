"""Tests of `cmp_core.snapshots.read`: files of other programs, and files that are damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cmp_core import open_snapshot
from cmp_core.errors import DataError, UsageError
from cmp_core.snapshots.replay import replay
from tests.small_runs import stored


@pytest.fixture
def snapshot(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the run's last snapshot, to be damaged."""
    copy = tmp_path / "copy.h5"
    copy.write_bytes(stored(finished_run)[-1].read_bytes())
    return copy


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


def test_layers_and_arrays_print_shortly(mine: Path) -> None:
    with open_snapshot(mine) as snapshot:
        layer = snapshot.layers[0]
        assert repr(layer) == "<SnapshotLayer block_0: (20, 5) float64>"
        array = repr(layer.activations)
        assert array == "<StoredArray /layers/block_0/activations: (20, 5) float64>"
    assert repr(layer) == "<SnapshotLayer block_0: closed>"
    assert repr(layer.activations) == "<StoredArray /layers/block_0/activations: closed>"
    assert repr(snapshot) == "<Snapshot mine.h5: closed>"


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


def test_what_was_never_written_is_no_zeros(mine: Path) -> None:
    """A program that was stopped leaves such files; a large one costs no memory."""
    with h5py.File(mine, "a") as file:
        file.create_dataset("inputs", (20, 2**27), "f4", chunks=(1, 2**20))  # 10 GiB of nothing
    with pytest.raises(DataError, match=r"/inputs: .* got 0 of 2,560 chunks: the others were"):
        open_snapshot(mine)
    with h5py.File(mine, "a") as file:
        del file["inputs"]
        file.create_dataset("inputs", (20, 3), "f4", chunks=(5, 3))[:10] = 1
    with pytest.raises(DataError, match="/inputs: expected 60 numbers, got 2 of 4 chunks"):
        open_snapshot(mine)
    with h5py.File(mine, "a") as file:
        del file["inputs"]
        file.create_dataset("inputs", (20, 3), "f4")
    with pytest.raises(DataError, match="/inputs: expected 60 numbers, got nothing"):
        open_snapshot(mine)


def test_whole_numbers_that_float64_does_not_hold_are_refused(mine: Path) -> None:
    with h5py.File(mine, "a") as file:
        file["inputs"] = np.arange(60).reshape(20, 3) + 2**58
    with open_snapshot(mine) as snapshot, pytest.raises(DataError, match=r"up to 2\^53, which"):
        next(replay(snapshot))


@pytest.mark.parametrize("name", ["labels", "sample_ids"])
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i8", "u8", "f8", ">f4"])
def test_whole_numbers_of_any_type_will_do(mine: Path, name: str, dtype: str) -> None:
    with h5py.File(mine, "a") as file:
        file.pop(name, None)
        file[name] = (np.arange(20) % (3 if name == "labels" else 20)).astype(dtype)
    with open_snapshot(mine) as snapshot:
        assert snapshot.sample_ids.dtype == np.int64
        assert snapshot.labels is not None
        assert snapshot.labels.tolist() == [i % 3 for i in range(20)]


@pytest.mark.parametrize("form", [np.float64, np.uint8, lambda x: [x], lambda x: [[float(x)]]])
def test_attributes_may_be_arrays_of_one_and_whole_floats(
    mine: Path, form: Callable[[int], Any]
) -> None:
    """MATLAB and R write them so."""
    counts = {"format_version": 1, "epoch": 3, "step": 12, "num_classes": 4}
    with h5py.File(mine, "a") as file:
        file.attrs.update({name: form(count) for name, count in counts.items()})
        file.attrs.update(format=["cmp-activations"], phase=[b"test"], model=np.array([b"mlp"]))
        for depth, name in enumerate(("block_0", "block_1")):
            file[f"layers/{name}"].attrs.update(depth=form(depth), module=["m"], anchor_kind=[""])
    with open_snapshot(mine) as snapshot:
        snapshot.verify()
        assert (snapshot.epoch, snapshot.step, snapshot.num_classes) == (3, 12, 4)
        assert (snapshot.phase, snapshot.model) == ("test", "mlp")
        assert [(x.depth, x.module, x.anchor_kind) for x in snapshot.layers] == [
            (0, "m", None),
            (1, "m", None),
        ]


def test_a_stray_dataset_is_told_where_layers_alone_tell_the_samples(mine: Path) -> None:
    with h5py.File(mine, "a") as file:
        del file["labels"]
        file["layers/a"] = np.ones(3)
    with pytest.raises(DataError, match="/layers/a: expected a group, got a dataset"):
        open_snapshot(mine)


@pytest.mark.parametrize(
    "value",
    [
        np.bytes_(b"mine"),
        h5py.Empty("f4"),
        h5py.Empty(h5py.string_dtype()),
        1j,
        True,
        [1.0, 2.0],
        ["a", "b"],
    ],
)
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
        (put("layers/stray", np.ones((20, 2))), "/layers/stray", "expected a group, got a dataset"),
        (mark("depth", None, FIRST), f"attribute depth of /{FIRST}", "got nothing"),
        (mark("depth", 0.5, FIRST), f"attribute depth of /{FIRST}", "whole number"),
        (mark("depth", [0, 1], FIRST), f"attribute depth of /{FIRST}", "whole number"),
        (mark("depth", -1, FIRST), f"attribute depth of /{FIRST}", "at least 0, got -1"),
        (mark("depth", 1, FIRST), "/layers", "got block_0 1, block_1 1"),
        (put("labels", np.arange(19) % 3), "/labels", "shape (20,), got int64 of shape (19,)"),
        (put("labels", np.full(20, 0.5)), "/labels", "expected whole numbers, got 0.5"),
        (put("labels", np.full(20, np.nan)), "/labels", "expected whole numbers, got nan"),
        (put("labels", ["a"] * 20), "/labels", "expected whole numbers of shape (20,), got object"),
        (put("labels", np.arange(20) - 1), "/labels", "classes from 0 on, got -1"),
        (put("labels", np.ones((20, 1), int)), "/labels", "got int64 of shape (20, 1)"),
        (put("sample_ids", np.arange(20) // 2), "/sample_ids", "every id once, got 0 2 times"),
        (put("sample_ids", np.arange(20) / 2), "/sample_ids", "expected whole numbers, got 0.5"),
        (put("sample_ids", np.arange(20.0) * 1e30), "/sample_ids", "expected whole numbers, got"),
        (put("sample_ids", np.arange(7)), f"/{FIRST}/activations", "shape (7, …), got float64"),
        (put("inputs", np.ones((3, 2))), "/inputs", "shape (20, …), got float64 of shape (3, 2)"),
        (
            put("inputs", np.ones((20, 2), complex)),
            "/inputs",
            "numbers of shape (20, …), got compl",
        ),
        (
            put("layers/a/b/activations", np.ones((20, 2))),
            "/layers",
            "got 'a/b'; write it as 'a.b'",
        ),
        (
            put(f"{FIRST}/c/d/activations", np.ones((20, 2))),
            "expected names of layers without /, which cannot nest",
            "got 'block_0/c/d'; write it as 'block_0.c.d'",
        ),
        (put("layers/a", np.ones((20, 2))), "/layers/a", "expected a group, got a dataset"),
        (put("labels", h5py.SoftLink("/gone")), "/labels", "what it links to, /gone, got nothing"),
        (put("layers/a", h5py.SoftLink("/gone")), "/layers/a", "what it links to, /gone, got"),
        (put("labels", h5py.SoftLink("/labels")), "/labels", "links to, /labels, got nothing"),
        (put("labels", np.dtype("f4")), "/labels", "expected a dataset, got a type"),
        (put("layers/a", np.dtype("f4")), "/layers/a", "expected a group, got a type"),
        (mark("phase", "x" * 10**6), "attribute phase", f"got '{'x' * 200}…'"),
        (mark("model", "x" * (2**20 + 1)), "attribute model", "1,048,576 characters, got 1,048,57"),
        (mark("model", ["x"] * 9), "attribute model", "a text, got 9 values"),
        (mark("model", h5py.Empty("S1")), "attribute model", "a text, got 0 values"),
        (mark("epoch", h5py.Empty("f4")), "attribute epoch", "of at least 0, got 0 values"),
        (
            lambda file: mark("model", file.ref)(file),
            "attribute model",
            "expected a text, got a value of type object",
        ),
        (mark("epoch", np.nan), "attribute epoch", "a whole number of at least 0, got nan"),
        (mark("step", -np.inf), "attribute step", "a whole number of at least 0, got -inf"),
        (put("labels", np.zeros((20, 0))), "/labels", "got float64 of shape (20, 0)"),
        (put("inputs", np.zeros(20, "i4,f4")), "/inputs", "expected numbers of shape (20, …)"),
        (put("inputs", np.full((20, 2), "a", "O")), "/inputs", "expected numbers of shape (20, …)"),
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
    ("shape", "message"),
    [
        ((20, 4), "/layers: expected 3 classes in all scores (those of the output included) and "),
        ((20, 3, 1), "/layers/out/activations: expected numbers of shape (20, C), got float64"),
    ],
)
def test_activations_of_the_output_that_are_no_scores_are_told(
    mine: Path, shape: tuple[int, ...], message: str
) -> None:
    with h5py.File(mine, "a") as file:
        file.attrs.update(output="out", num_classes=3)
        layer = file.create_group("layers/out")
        layer.attrs["depth"] = 9
        layer["activations"] = np.ones(shape)
    with pytest.raises(DataError) as told:
        open_snapshot(mine)
    assert message in str(told.value)


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
def test_damage_is_told_or_does_no_harm(finished_run: Path, tmp_path: Path, which: int) -> None:
    arguments = [str(stored(finished_run)[which]), str(tmp_path / "copy.h5")]
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


def test_classes_are_numbered_in_order_where_nothing_tells_how_many_there_are(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(format="cmp-activations", format_version=1)
        file["labels"] = np.array([2**63 - 1, 7, 10**9, 7])
        file["layers/a/activations"] = np.ones((4, 3))
        file["layers/a"].attrs["depth"] = 0
    with open_snapshot(path) as snapshot:
        assert snapshot.num_classes == 3
        assert snapshot.labels is not None
        assert snapshot.targets is not None
        assert snapshot.labels.tolist() == [2**63 - 1, 7, 10**9, 7]
        assert snapshot.targets.tolist() == [2, 0, 1, 0]
    with h5py.File(path, "a") as file:
        file.attrs["num_classes"] = 10**9 + 1
    with pytest.raises(DataError, match="num_classes: expected at most 1,000,000 classes"):
        open_snapshot(path)


# Fitting samples


def with_mask(path: Path, mask: Any) -> Path:
    with h5py.File(by_hand(path), "a") as file:
        file["fit"] = mask
        file["sample_ids"] = np.tile(np.arange(10), 2)
    return path


def test_samples_to_fit_to_may_have_the_ids_of_scored_ones(tmp_path: Path) -> None:
    mask = np.arange(20) < 10
    with open_snapshot(with_mask(tmp_path / "mask.h5", mask)) as snapshot:
        assert snapshot.fit is not None
        assert snapshot.fit.tolist() == mask.tolist()
        assert snapshot.scored.tolist() == list(range(10, 20))


def test_a_mask_of_nothing_is_none(mine: Path) -> None:
    with h5py.File(mine, "a") as file:
        file["fit"] = np.zeros(20, bool)
    with open_snapshot(mine) as snapshot:
        assert snapshot.fit is None
        assert len(snapshot.scored) == 20


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(20, bool), "/fit: expected samples that are not fitted to, got none"),
        (np.arange(20), "/fit: expected true or false for each sample, got 2"),
        (np.ones(7, bool), r"/fit: expected whole numbers of shape \(20,\)"),
        (np.arange(20) < 3, "/sample_ids: expected every id once, got 3 2 times"),
    ],
)
def test_a_mask_that_cannot_be_is_refused(tmp_path: Path, mask: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_snapshot(with_mask(tmp_path / "mask.h5", mask))


def test_layers_are_there_by_name_and_a_snapshot_says_shortly_what_it_holds(mine: Path) -> None:
    with open_snapshot(mine) as snapshot:
        assert snapshot.layers["block_1"] is snapshot.layers[1]
        assert snapshot.layers[-1:] == snapshot.layers[1:]
        with pytest.raises(UsageError, match="unknown layer 'block_9'; did you mean 'block_"):
            snapshot.layers["block_9"]
        assert len(repr(snapshot)) < 120
        assert repr(snapshot).startswith("<Snapshot mine.h5: ")
