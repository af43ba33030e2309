"""Reading a snapshot: its arrays by name, each checked before it is handed out."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import attrs
import h5py
import numpy as np
from numpy.typing import NDArray

from cmp_core.config.load import parse_yaml
from cmp_core.errors import DataError, UsageError, one_line, unknown
from cmp_core.events.rows import INPUT
from cmp_core.runs.notebook import html_table
from cmp_core.snapshots.attributes import as_text, as_whole_number, shortened, value_of
from cmp_core.snapshots.format import CONTENT_HASH, FORMAT, LAYERS, VERSION, content_hash
from cmp_core.snapshots.storage import (
    MOST_ATTRIBUTE_BYTES,
    StoredArray,
    check_chunks,
    check_file,
)
from cmp_core.text import counted


@attrs.frozen(eq=False, repr=False)
class SnapshotLayer:
    """A layer of a snapshot: activations (n, …), scores (n, C) and anchors (C, N), or none.

    The scores of the output are its activations where it has no others.
    """

    name: str
    depth: int
    module: str
    anchor_kind: str | None
    activations: StoredArray
    scores: StoredArray | None
    anchors: StoredArray | None

    def __repr__(self) -> str:
        return f"<SnapshotLayer {self.name}: {self.activations.form}>"


class SnapshotLayers(tuple[SnapshotLayer, ...]):
    """Layers in order of depth, by position or by name."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        """Return the layer of a name, or what a tuple returns.

        Raises:
            UsageError: there is no layer of the name.
        """
        if not isinstance(key, str):
            return super().__getitem__(key)
        for layer in self:
            if layer.name == key:
                return layer
        raise UsageError(unknown("layer", key, [layer.name for layer in self]))


@attrs.frozen(eq=False, repr=False)
class Snapshot:
    """An open snapshot file; arrays are read when they are indexed.

    Attributes:
        path: of the file.
        phase, epoch, step: when it was taken; `val`, 0 and 0 where the file does not say.
        run_id, dataset, model: where it comes from, or empty.
        config: YAML text of the run's configuration, or empty.
        output: the layer whose activations are scores of the classes, or empty.
        num_classes: C, 0 where nothing tells it.
        sample_ids: (n,) int64; 0 to n-1 where the file has none.
        fit: (n,) bool, the samples that linear fits are made to and that are not scored, or none.
        labels: (n,) int64, or none.
        targets: (n,), labels from 0 to C-1, or none: where nothing tells C, positions among the
            labels that there are.
        inputs: (n, …), or none.
        layers: in the order of their depth; `layers["layer_0"]` is one by name.
        reference: the input as a layer, where its scores and anchors were stored.
        content_hash: SHA-256 that the file holds of its content, or empty; see `verify`.
        nbytes: of all its arrays in memory.
    """

    path: Path
    phase: str
    epoch: int
    step: int
    run_id: str
    dataset: str
    model: str
    config: str
    output: str
    num_classes: int
    sample_ids: NDArray[np.int64]
    fit: NDArray[np.bool_] | None
    labels: NDArray[np.int64] | None
    targets: NDArray[np.int64] | None
    inputs: StoredArray | None
    layers: SnapshotLayers
    reference: SnapshotLayer | None
    content_hash: str
    nbytes: int
    _file: h5py.File

    def __repr__(self) -> str:
        if not self._file:
            return f"<Snapshot {self.path.name}: closed>"
        layers = ", ".join(f"{x.name} {tuple(x.activations.shape[1:])}" for x in self.layers)
        return f"<Snapshot {self.path.name}: {counted(self.n, f'{self.phase} sample')}, {layers}>"

    def _repr_html_(self) -> str:
        rows = [
            [x.name, " × ".join(map(str, x.activations.shape)), str(x.activations.dtype)]
            for x in self.layers
        ]
        what = f"{self.phase}, epoch {self.epoch}, step {self.step}"
        return html_table(f"{self.path.name}: {what}", ["layer", "shape", "type"], rows)

    @property
    def n(self) -> int:
        """Number of samples, those to fit to among them."""
        return len(self.sample_ids)

    @property
    def scored(self) -> NDArray[np.intp]:
        """The rows of samples that are measured, (k,)."""
        return np.arange(self.n) if self.fit is None else np.flatnonzero(~self.fit)

    def read_config(self) -> dict[str, Any]:
        """Return the configuration as a mapping, empty where there is none.

        Raises:
            UsageError: it is no YAML, or no mapping.
        """
        if not self.config:
            return {}
        where = f"'{self.path}': attribute config"
        stored = parse_yaml(self.config, where)
        if not isinstance(stored, dict):
            raise DataError(f"{where}: expected `key: value` lines")
        return stored

    def verify(self) -> bool:
        """Read everything, and return whether the file holds a hash, which then was compared.

        Raises:
            DataError: the file is not what was written.
        """
        expected = self.content_hash
        try:
            self._file.visititems(self._check_chunks)
            found = content_hash(self._file)
        except _DAMAGED as error:
            raise DataError(f"'{self.path}': the data are damaged: {_reason(error)}") from error
        if expected and found != expected:
            raise DataError(
                f"'{self.path}': the content does not match {CONTENT_HASH}: expected "
                f"{expected[:12]}…, got {found[:12]}…; it was changed after it was written"
            )
        return bool(expected)

    def _check_chunks(self, name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            check_chunks(item, f"'{self.path}': /{shortened(name)}", set())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_snapshot(path: str | Path) -> Snapshot:
    """Open a snapshot and check its structure; `Snapshot.verify` checks its content as well.

    Raises:
        DataError: there is no such file, or it is not a snapshot; the message names the path in
            the file, what was expected and what is there.
    """
    path = Path(path)
    _check_kind(path)
    try:
        file = h5py.File(path, "r", rdcc_nbytes=2**21)
    except _DAMAGED as error:
        what = "is empty" if path.stat().st_size == 0 else f"cannot be read: {_reason(error)}"
        raise DataError(f"'{path}' {what}; expected a whole HDF5 file") from error
    try:
        nbytes = check_file(file, f"'{path}'")
        return _Reader(path, file).snapshot(nbytes)
    except DataError:
        file.close()
        raise
    except _DAMAGED as error:
        file.close()
        raise DataError(f"'{path}': the structure is damaged: {_reason(error)}") from error


def _check_kind(path: Path) -> None:
    """Raise where a path is none of a file; to open a FIFO waits for one who writes into it."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        known = isinstance(error, FileNotFoundError)
        what = "does not exist" if known else f"cannot be read: {_reason(error)}"
        raise DataError(f"'{path}' {what}") from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a FIFO, a socket or a device, not a file"
        raise DataError(f"'{path}' is {what}")


_DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, OverflowError)
"""What h5py raises of files that are not whole."""


def _reason(error: BaseException) -> str:
    return shortened(one_line(error))


_NUMBERS = "fiub"
"""The kinds of NumPy types that count as numbers; spikes, for example, may be stored as bool."""

_MOST_SAMPLES = 20_000_000
"""Their ids, labels and whether they are fitted to are in memory at once."""

_MOST_CLASSES = 1_000_000
"""More are no classes but, say, ids, and would take their square in memory."""


class _Reader:
    """Checks one file against the format."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self._path, self._file = path, file

    def snapshot(self, nbytes: int) -> Snapshot:
        self._check_version()
        ids = self._optional("sample_ids")
        n = self._number_of_samples(ids)
        output = self._text("output")  # need not be among the layers that are stored
        layers = sorted(self._layers(n, output), key=lambda layer: layer.depth)
        reference = layers.pop(0) if layers and layers[0].name == INPUT else None
        if not layers or len({layer.depth for layer in layers}) < len(layers):
            found = ", ".join(f"{x.name} {x.depth}" for x in layers) or "none"
            raise self._wrong(f"/{LAYERS}", "layers, each of another depth", found)
        labels = self._integers("labels", n)
        fit = self._mask("fit", n)
        num_classes, targets = self._classes(labels, layers)
        return Snapshot(
            path=self._path,
            phase=self._phase(),
            epoch=self._count("epoch"),
            step=self._count("step"),
            run_id=self._text("run_id"),
            dataset=self._text("dataset"),
            model=self._text("model"),
            config=self._text("config"),
            output=output,
            num_classes=num_classes,
            sample_ids=self._ids(n, fit),
            fit=fit,
            labels=labels,
            targets=targets,
            inputs=self._numbers(self._file, "inputs", n),
            layers=SnapshotLayers(layers),
            reference=reference,
            content_hash=self._text(CONTENT_HASH),
            nbytes=nbytes,
            file=self._file,
        )

    def _check_version(self) -> None:
        told = value_of(self._file, "format")
        if as_text(told) != FORMAT:
            raise self._wrong("attribute format", f"'{FORMAT}'", _shown(told))
        version = value_of(self._file, "format_version")
        if as_whole_number(version) != VERSION:
            raise self._wrong("attribute format_version", str(VERSION), _shown(version))

    def _number_of_samples(self, ids: h5py.Dataset | None) -> int:
        """Return the number of rows of the ids or, without them, of the first layer."""
        known = ids
        if known is None:
            group = self._group(LAYERS)
            for name in group:
                known = self._required(self._layer_group(group, name), "activations")
                break
        if known is None:
            raise self._wrong(f"/{LAYERS}", "at least one layer", "none")
        if not known.shape:
            raise self._wrong(known.name, "a row for each sample", "a single value")
        if known.shape[0] == 0:
            raise self._wrong(known.name, "at least one sample", "none")
        if known.shape[0] > _MOST_SAMPLES:
            expected = f"at most {_MOST_SAMPLES:,} samples"
            raise self._wrong(known.name, expected, f"{known.shape[0]:,}")
        return int(known.shape[0])

    def _layers(self, n: int, output: str) -> Iterator[SnapshotLayer]:
        layers = self._group(LAYERS)
        for name in layers:
            group = self._layer_group(layers, name)
            self._required(group, "activations")
            activations = self._numbers(group, "activations", n)
            assert activations is not None  # required above
            width = int(np.prod(activations.shape[1:]))
            scores = self._numbers(group, "scores", n, ("n", "C"))
            if scores is None and name == output:
                self._numbers(group, "activations", n, ("n", "C"))  # that they are (n, C)
                scores = activations
            anchors = self._numbers(group, "anchors", None, ("C", "N"))
            if anchors is not None and anchors.shape[1] != width:
                expected = f"shape (C, {width}), as wide as the activations"
                raise self._wrong(f"{group.name}/anchors", expected, f"shape {anchors.shape}")
            if scores is not None and anchors is not None and len(anchors) != scores.shape[1]:
                expected = f"{scores.shape[1]} rows, one for each class of the scores"
                raise self._wrong(f"{group.name}/anchors", expected, str(len(anchors)))
            yield SnapshotLayer(
                name=name,
                depth=self._depth(group),
                module=self._text("module", group),
                anchor_kind=self._text("anchor_kind", group) or None,
                activations=activations,
                scores=scores,
                anchors=anchors,
            )

    def _layer_group(self, layers: h5py.Group, name: str) -> h5py.Group:
        """Return the group of a layer, which holds no further layers."""
        if not name.isprintable():
            raise self._wrong(f"/{LAYERS}", "printable names of layers", shortened(repr(name)))
        group = self._item(layers, name)
        if not isinstance(group, h5py.Group):
            raise self._wrong(f"/{LAYERS}/{name}", "a group", _kind_of(group))
        below: list[str] = []
        group.visit(below.append)
        nested = [path for path in below if path.endswith("/activations")]
        if nested:
            inner = f"{name}/{nested[0].removesuffix('/activations')}"
            expected = "names of layers without /, which cannot nest"
            found = f"'{inner}'; write it as '{inner.replace('/', '.')}'"
            raise self._wrong(f"/{LAYERS}", expected, found)
        return group

    def _depth(self, group: h5py.Group) -> int:
        value = value_of(group, "depth")
        depth = as_whole_number(value)
        is_input = group.name == f"/{LAYERS}/{INPUT}"
        if depth is None or depth < -1 or (depth == -1) != is_input:
            what = f"attribute depth of {group.name}"
            expected = "-1" if is_input else "a whole number of at least 0"
            raise self._wrong(what, expected, _shown(value))
        return depth

    def _classes(
        self, labels: NDArray[np.int64] | None, layers: list[SnapshotLayer]
    ) -> tuple[int, NDArray[np.int64] | None]:
        """Return C, and the labels from 0 to C-1."""
        if labels is not None and labels.min() < 0:
            raise self._wrong("/labels", "classes from 0 on", str(labels.min()))
        told = self._count("num_classes")
        columns = {x.name: x.scores.shape[1] for x in layers if x.scores is not None}
        columns |= {x.name: len(x.anchors) for x in layers if x.anchors is not None}
        if not told and not columns:
            if labels is None:
                return 0, None
            classes, positions = np.unique(labels, return_inverse=True)
            return len(classes), positions
        largest = 0 if labels is None else int(labels.max()) + 1
        number = told or max(columns.values())
        if number > _MOST_CLASSES:
            expected = f"at most {_MOST_CLASSES:,} classes"
            raise self._wrong("attribute num_classes", expected, f"{number:,}")
        if wrong := [f"{count} in {name}" for name, count in columns.items() if count != number]:
            expected = f"{number} classes in all scores (those of the output included) and anchors"
            raise self._wrong(f"/{LAYERS}", expected, ", ".join(wrong))
        if labels is not None and largest > number:
            expected = f"classes from 0 to {number - 1}"
            raise self._wrong("/labels", expected, f"{labels.min()} to {labels.max()}")
        return number, labels

    def _ids(self, n: int, fit: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        ids = self._integers("sample_ids", n)
        if ids is None:
            return np.arange(n)
        # Samples to fit to may be of another set, with ids of its own.
        for own in (ids,) if fit is None else (ids[~fit], ids[fit]):
            values, counts = np.unique(own, return_counts=True)
            if (counts > 1).any():
                found = f"{values[counts > 1][0]} {counts.max()} times"
                raise self._wrong("/sample_ids", "every id once", found)
        return ids

    def _mask(self, name: str, n: int) -> NDArray[np.bool_] | None:
        """Return which samples are fitted to, or none where there is no such sample."""
        values = self._integers(name, n)
        if values is None or not values.any():
            return None
        if (wrong := values[(values != 0) & (values != 1)]).size:
            raise self._wrong(f"/{name}", "true or false for each sample", str(wrong[0]))
        if values.all():
            raise self._wrong(f"/{name}", "samples that are not fitted to", "none")
        return values.astype(bool)

    def _integers(self, name: str, n: int) -> NDArray[np.int64] | None:
        dataset = self._optional(name)
        if dataset is None:
            return None
        if dataset.shape != (n,) or dataset.dtype.kind not in _NUMBERS:
            found = f"{dataset.dtype} of shape {dataset.shape}"
            raise self._wrong(f"/{name}", f"whole numbers of shape ({n},)", found)
        values = StoredArray(f"'{self._path}': /{name}", dataset)[:]
        with np.errstate(invalid="ignore"):
            whole = values.astype(np.int64)
        if (wrong := values[whole != values]).size:
            raise self._wrong(f"/{name}", "whole numbers", str(wrong[0]))
        return whole

    def _numbers(
        self, group: h5py.Group, name: str, n: int | None, dims: tuple[str, ...] = ()
    ) -> StoredArray | None:
        """Return an array of n rows and, where `dims` names them, of as many dimensions."""
        dataset = self._optional(name, group)
        if dataset is None:
            return None
        shape = dataset.shape or ()
        has_dims = len(shape) == len(dims) if dims else len(shape) >= 2
        has_rows = n is None or shape[:1] == (n,)
        if dataset.dtype.kind not in _NUMBERS or not has_dims or not has_rows or 0 in shape:
            wanted = ", ".join(dims or ("n", "…")).replace("n", str(n), 1 if n else 0)
            found = f"{dataset.dtype} of shape {shape}"
            raise self._wrong(dataset.name, f"numbers of shape ({wanted})", found)
        return StoredArray(f"'{self._path}': {dataset.name}", dataset)

    def _phase(self) -> str:
        phase = self._text("phase") or "val"
        if phase not in ("train", "val", "test"):
            raise self._wrong("attribute phase", "train, val or test", f"'{shortened(phase)}'")
        return phase

    def _text(self, name: str, item: h5py.Group | None = None) -> str:
        value = value_of(self._file if item is None else item, name)
        text = "" if value is None else as_text(value)
        if text is None:
            raise self._wrong(f"attribute {name}", "a text", _shown(value))
        if len(text) > MOST_ATTRIBUTE_BYTES:
            expected = f"a text of at most {MOST_ATTRIBUTE_BYTES:,} characters"
            raise self._wrong(f"attribute {name}", expected, f"{len(text):,}")
        return text

    def _count(self, name: str) -> int:
        value = value_of(self._file, name)
        count = 0 if value is None else as_whole_number(value)
        if count is None or count < 0:
            raise self._wrong(f"attribute {name}", "a whole number of at least 0", _shown(value))
        return count

    def _group(self, name: str) -> h5py.Group:
        group = self._item(self._file, name)
        if not isinstance(group, h5py.Group):
            raise self._wrong(f"/{name}", "a group", _kind_of(group))
        return group

    def _required(self, group: h5py.Group, name: str) -> h5py.Dataset:
        dataset = self._optional(name, group)
        if dataset is None:
            raise self._wrong(f"{group.name}/{name}", "a dataset", "nothing")
        return dataset

    def _optional(self, name: str, group: h5py.Group | None = None) -> h5py.Dataset | None:
        owner = self._file if group is None else group
        dataset = self._item(owner, name)
        if dataset is not None and not isinstance(dataset, h5py.Dataset):
            place = f"{owner.name.rstrip('/')}/{name}"
            raise self._wrong(place, "a dataset", _kind_of(dataset))
        return dataset

    def _item(self, group: h5py.Group, name: str) -> Any:
        """Return what has a name in a group, or none; a link must lead somewhere."""
        link = group.get(name, getlink=True)
        try:
            item = group.get(name)
        except RuntimeError:  # it links to itself
            item = None
        if item is None and isinstance(link, h5py.SoftLink):
            place = f"{group.name.rstrip('/')}/{name}"
            raise self._wrong(place, f"what it links to, {shortened(link.path)}", "nothing")
        return item

    def _wrong(self, where: str, expected: str, found: str) -> DataError:
        return DataError(f"'{self._path}': {where}: expected {expected}, got {found}")


def _kind_of(item: Any) -> str:
    kinds = {h5py.Group: "a group", h5py.Dataset: "a dataset", type(None): "nothing"}
    return kinds.get(type(item), "a type")


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, tuple):
        return str(value[0])
    return shortened(repr(value.tolist() if hasattr(value, "tolist") else value))
