"""Writing snapshots of activations that are at hand as arrays, of any framework."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from cmp_core.config.load import dump_yaml
from cmp_core.errors import UsageError, unknown
from cmp_core.events.rows import INPUT
from cmp_core.layers.arrays import Array, as_labels, as_tensor, as_whole_numbers
from cmp_core.layers.layer import Layer
from cmp_core.snapshots.write import COMPRESSIONS, RowWriter

DTYPES = ("float32", "float16", "float64")


class SnapshotWriter:
    """Writes a snapshot in pieces, for more samples than fit in memory: a `with` block.

    The file is in its place, whole, when the block ends; after an error there is none, and one that
    was there before is as it was.

    Args:
        path: of the file, `.h5`.
        phase: `train`, `val` or `test`.
        epoch: when the network made them.
        step: the same, in training steps.
        num_classes: C, where labels do not tell it.
        output: the layer whose activations are scores of the classes, (n, C), unless `add` gives it
            scores of its own; or none.
        anchors: by layer, (C, units), or none.
        dataset: its name; if none is given, that of `config`.
        model: its name, likewise.
        config: what distinguishes the run, such as `{"dataset": "cifar10", "model": "vit",
            "seed": 0, "lr": 0.1}`; files that differ in `seed` alone are replicates.
        dtype: `float32`, `float16` or `float64`, of what is stored.
        compression: `gzip`, `lzf` or `none`.

    Raises:
        UsageError: the folder does not exist, or something is none of these.

    >>> import numpy as np, tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mine.h5"
    >>> with SnapshotWriter(path) as writer:
    ...     for _ in range(3):
    ...         writer.add({"block_0": np.ones((10, 4))}, labels=np.arange(10) % 2)
    >>> from cmp_core import open_snapshot
    >>> with open_snapshot(path) as snapshot:
    ...     snapshot.n
    30
    """

    def __init__(
        self,
        path: str | Path,
        *,
        phase: str = "test",
        epoch: int = 0,
        step: int = 0,
        num_classes: int | None = None,
        output: str | None = None,
        anchors: Mapping[str, Array] | None = None,
        dataset: str = "",
        model: str = "",
        config: Mapping[str, Any] | None = None,
        dtype: str = "float32",
        compression: str = "gzip",
    ) -> None:
        place = Path(path).expanduser().absolute()
        for what, value, known in (
            ("phase", phase, ("train", "val", "test")),
            ("dtype", dtype, DTYPES),
            ("compression", compression, tuple(COMPRESSIONS)),
        ):
            if value not in known:
                raise UsageError(unknown(what, str(value), known))
        if not place.parent.is_dir():
            raise UsageError(f"'{place}': there is no folder '{place.parent}'")
        told = {} if config is None else _mapping("config", config)
        self._attributes: dict[str, Any] = {
            "phase": phase,
            "epoch": epoch,
            "step": step,
            "dataset": dataset or str(told.get("dataset") or ""),
            "model": model or str(told.get("model") or ""),
            "software": json.dumps({"torch": metadata.version("torch")}),
        }
        self._attributes |= {} if num_classes is None else {"num_classes": num_classes}
        self._attributes |= {"config": dump_yaml(told)} if told else {}
        self._num_classes, self._output = num_classes, output
        self._anchors = _tensors("anchors", {} if anchors is None else anchors)
        self._names: tuple[str, ...] = ()
        self._given: dict[str, bool] = {}
        self._ids: set[int] = set()
        self._n = 0
        self._writer = RowWriter(
            place, place.with_name(f".{place.name}.part"), None, dtype, compression
        )

    def add(
        self,
        layers: Mapping[str, Array],
        labels: Array | None = None,
        *,
        sample_ids: Array | None = None,
        fit: Array | None = None,
        inputs: Array | None = None,
        scores: Mapping[str, Array] | None = None,
    ) -> None:
        """Add samples.

        Args:
            layers: activations (k, …) by name, in order of depth.
            labels: (k,) whole numbers from 0 on.
            sample_ids: (k,) distinct whole numbers; positions in the file if none are given.
            fit: (k,) bool, samples that linear probes are fitted to and that are not scored.
            inputs: (k, …).
            scores: by layer, (k, C) with softmax(scores) = class probabilities.

        Raises:
            UsageError: names or numbers of samples differ, or something was given in some pieces
                alone.
        """
        found = _tensors("activations", _mapping("layers", layers))
        own_scores = _tensors("scores", {} if scores is None else scores)
        k = self._checked(found, own_scores)
        self._check_output(found, own_scores)
        columns = {
            "labels": None if labels is None else as_labels(labels, num_classes=self._num_classes),
            "fit": None if fit is None else as_whole_numbers(fit, "fit").bool(),
            "inputs": None if inputs is None else as_tensor(inputs, "inputs"),
            "sample_ids": None
            if sample_ids is None
            else as_whole_numbers(sample_ids, "sample_ids"),
        }
        self._check_columns(columns | {f"scores of {name}": x for name, x in own_scores.items()}, k)
        ids = columns["sample_ids"]
        ids = torch.arange(self._n, self._n + k) if ids is None else ids
        self._check_ids(ids, columns["fit"])
        found_layers = tuple(
            Layer(
                name,
                depth,
                "",
                found[name],
                own_scores.get(name),
                self._anchors.get(name),
                "given" if name in self._anchors else None,
            )
            for depth, name in enumerate(self._names)
        )
        self._writer.append(found_layers, ids, columns["labels"], columns["inputs"], columns["fit"])
        self._n += k

    def close(self) -> None:
        """Put the file in its place.

        Raises:
            UsageError: there is nothing in it, or the output is no layer.
        """
        if not self._n:
            self._writer.abort()
            raise UsageError("expected samples, got none")
        if self._output is not None:
            if self._output not in self._names:
                self._writer.abort()
                raise UsageError(f"output: {unknown('layer', self._output, self._names)}")
            self._attributes["output"] = self._output
        self._writer.finish(self._attributes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._writer.abort()

    def _checked(self, layers: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> int:
        """Return the number of samples of a piece."""
        if not layers:
            raise UsageError("expected layers by name, got none")
        for name in layers:
            _check_name(name)
        if self._names and set(layers) != set(self._names):
            raise UsageError(
                f"expected the layers {', '.join(self._names)} in each piece, got "
                f"{', '.join(layers)}"
            )
        self._names = self._names or tuple(layers)
        for what, named in (("scores", scores), ("anchors", self._anchors)):
            for name in named:
                if name not in layers:
                    raise UsageError(f"{what}: {unknown('layer', name, self._names)}")
        sizes = {name: len(x) if x.ndim else 0 for name, x in (*layers.items(), *scores.items())}
        if any(x.ndim < 2 for x in layers.values()) or len(set(sizes.values())) > 1:
            shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in layers.items())
            raise UsageError(f"expected activations (n, …) of the same n, got {shapes}")
        return next(iter(sizes.values()))

    def _check_output(self, layers: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> None:
        """Raise an error where the output's activations are to be scores and cannot be.

        Their width is the number of classes where nothing else was given.
        """
        if self._output is None or self._output not in layers or self._output in scores:
            return
        shape = tuple(layers[self._output].shape)
        if len(shape) != 2 or shape[1] != (self._num_classes or shape[1]):
            raise UsageError(
                f"output: expected activations of {self._output} (n, {self._num_classes or 'C'}), "
                f"scores of the classes, got {shape}; give scores= if they are something else"
            )
        self._num_classes = shape[1]

    def _check_columns(self, columns: Mapping[str, Tensor | None], k: int) -> None:
        """Raise an error where not all that came before came again, or not k of each."""
        given = {name: column is not None for name, column in columns.items()}
        if self._n and given != self._given:
            names = [x for x in given | self._given if given.get(x) != self._given.get(x)]
            raise UsageError(f"expected {', '.join(names)} in all pieces, or in none")
        self._given = given
        for name, column in columns.items():
            if column is not None and len(column) != k:
                raise UsageError(f"expected {name} of {k} samples, got {len(column)}")

    def _check_ids(self, ids: Tensor, fit: Tensor | None) -> None:
        """Raise an error where ids of samples that are scored repeat."""
        scored: Sequence[int] = (ids if fit is None else ids[~fit]).tolist()
        if len(set(scored)) < len(scored) or not self._ids.isdisjoint(scored):
            raise UsageError("expected distinct sample_ids")
        self._ids.update(scored)


def _mapping(what: str, values: object) -> dict[str, Any]:
    """Return a mapping that was given, as a dictionary."""
    if not isinstance(values, Mapping):
        example = "{'lr': 0.1, 'seed': 0}" if what == "config" else "{'layer_0': array, …}"
        raise UsageError(
            f"{what}: expected a mapping by name, {example}, got {type(values).__name__}"
        )
    return dict(values)


def _tensors(what: str, arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """Return arrays by layer as tensors."""
    own = _mapping(what, arrays)
    return {name: as_tensor(array, f"{what} of {name}") for name, array in own.items()}


def _check_name(name: object) -> None:
    """Raise where a layer cannot be called so."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise UsageError(f"expected printable texts as names of layers, got {name!r}")
    if "/" in name:
        raise UsageError(
            f"the name of a layer may not hold '/', got '{name}'; write it as "
            f"'{name.replace('/', '.')}'"
        )
    if name == INPUT:
        raise UsageError(
            f"'{INPUT}' is the name of the network's input, which is given as inputs=; give the "
            f"layer another, such as '{INPUT}_0'"
        )


def write_snapshot(
    path: str | Path,
    layers: Mapping[str, Array],
    labels: Array | None = None,
    *,
    sample_ids: Array | None = None,
    fit: Array | None = None,
    inputs: Array | None = None,
    scores: Mapping[str, Array] | None = None,
    **about: Any,
) -> Path:
    """Write a snapshot of activations that are at hand, NumPy, torch or JAX, and return its path.

    `path` and `about` are the arguments of `SnapshotWriter`, the others those of its method `add`.

    Raises:
        UsageError: as of these two, or there is no argument of a name.

    >>> import numpy as np, tempfile
    >>> x = np.random.default_rng(0).normal(size=(100, 8))
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_snapshot(folder / "mine.h5", {"first": x, "second": x[:, :4]}).name
    'mine.h5'
    """
    known = inspect.signature(SnapshotWriter).parameters
    for name in about:
        if name not in known:
            own = inspect.signature(write_snapshot).parameters
            names = {*own, *known} - {"about"}
            raise UsageError(f"write_snapshot: {unknown('argument', name, names)}")
    with SnapshotWriter(path, **about) as writer:
        writer.add(layers, labels, sample_ids=sample_ids, fit=fit, inputs=inputs, scores=scores)
    return Path(path)
