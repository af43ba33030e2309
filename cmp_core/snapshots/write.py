"""Writing a snapshot: row by row, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmp_core.errors import UsageError
from cmp_core.events.rows import INPUT
from cmp_core.layers.layer import Layer
from cmp_core.snapshots.format import CONTENT_HASH, FORMAT, LAYERS, VERSION, content_hash, rows_of
from cmp_core.snapshots.steady_file import SteadyFile

COMPRESSIONS: Mapping[str, Mapping[str, Any]] = {
    "gzip": {"shuffle": True, "compression": "gzip", "compression_opts": 1},
    "lzf": {"shuffle": True, "compression": "lzf"},
    "none": {},
}

_CHUNK_BYTES = 2**20
_MOST_ROWS = 1024
_CACHE_BYTES = 2**23
"""Chunks of a dataset that wait in memory until all of their rows are there."""


class RowWriter:
    """Writes samples that come in pieces, into a temporary file that `finish` puts in place.

    Args:
        path: the file that is to be.
        temporary: where it is written, on the same file system; what is there is removed.
        n: samples in all; none where that is not known beforehand.
        dtype: `float32`, `float16` or `float64`, of activations, scores, anchors and inputs.
        compression: a key of `COMPRESSIONS`.
    """

    def __init__(
        self, path: Path, temporary: Path, n: int | None, dtype: str, compression: str
    ) -> None:
        self.path, self._temporary, self._n = path, temporary, n
        self._dtype, self._filters = np.dtype(dtype), COMPRESSIONS[compression]
        self._written = 0
        # Version 1.8 of the format is the oldest whose metadata have checksums.
        self._target = SteadyFile(temporary)
        self._file = h5py.File(
            self._target, "w", libver=("v108", "v108"), rdcc_nbytes=_CACHE_BYTES, rdcc_w0=1
        )

    def append(
        self,
        layers: tuple[Layer, ...],
        sample_ids: Tensor,
        labels: Tensor | None,
        inputs: Tensor | None,
        fit: Tensor | None = None,
    ) -> None:
        """Write the next samples; the layer `input` has no activations of its own but `inputs`.

        Args:
            layers: with activations, scores and anchors.
            sample_ids, labels: (k,) each.
            inputs: (k, d), or none.
            fit: which of them linear fits are made to, (k,) bool; none where the file has no such.

        Raises:
            UsageError: a value is too large for float16.
            OSError: the disk is full, or the file cannot be written to.
        """
        if len(sample_ids) == 0:
            return
        rows = slice(self._written, self._written + len(sample_ids))
        self._put("sample_ids", rows, sample_ids, "sample")
        self._put("labels", rows, labels, "sample")
        self._put("fit", rows, fit, "sample")
        self._put("inputs", rows, inputs, "sample")
        for layer in layers:
            group = self._file.require_group(f"{LAYERS}/{layer.name}").name
            if self._written == 0:
                self._begin(self._file[group], layer)
            if layer.name != INPUT:
                self._put(f"{group}/activations", rows, layer.activations, "sample", "unit")
            elif self._written == 0:
                self._file[f"{group}/activations"] = self._file["inputs"]  # the same data
            self._put(f"{group}/scores", rows, layer.scores, "sample", "class")
        self._written += len(sample_ids)
        self._target.check()

    def finish(self, attributes: Mapping[str, Any]) -> None:
        """Add the attributes of the file and its hash, and put it in place."""
        if self._n is not None and self._written != self._n:
            raise ValueError(f"expected {self._n} samples, got {self._written}")
        root = {"format": FORMAT, "format_version": VERSION, **attributes}
        for name, value in root.items():
            self._file.attrs[name] = value
        self._link_scales()
        self._file.flush()
        self._target.check()
        self._file.attrs[CONTENT_HASH] = content_hash(self._file)
        self._file.close()
        self._target.sync()
        self._target.close()
        self.path.parent.mkdir(exist_ok=True)
        self._temporary.replace(self.path)

    def abort(self) -> None:
        """Drop what was written."""
        with suppress(OSError, RuntimeError):  # a full disk fails to close as well
            self._file.close()
        self._target.close()
        self._temporary.unlink(missing_ok=True)

    def _begin(self, group: h5py.Group, layer: Layer) -> None:
        group.attrs["depth"] = layer.depth
        group.attrs["module"] = layer.module
        if layer.anchors is not None:
            group.attrs["anchor_kind"] = layer.anchor_kind or ""
            group["anchors"] = self._stored(f"{group.name}/anchors", layer.anchors)
            _label(group["anchors"], "class", "unit")

    def _put(self, name: str, rows: slice, tensor: Tensor | None, *dims: str) -> None:
        """Write rows of a dataset, which is made when its first rows come."""
        if tensor is None:
            return
        values = self._stored(name, tensor)
        if name not in self._file:
            rows_in_all = len(values) if self._n is None else self._n
            shape = (rows_in_all, *values.shape[1:])
            chunk = min(_MOST_ROWS, rows_of(shape, values.itemsize, _CHUNK_BYTES))
            chunk = chunk if self._n is None else min(self._n, chunk)
            dataset = self._file.create_dataset(
                name,
                shape,
                values.dtype,
                maxshape=(self._n, *shape[1:]),
                chunks=(chunk, *shape[1:]),
                fletcher32=True,
                track_times=False,
                **self._filters,
            )
            _label(dataset, *dims)
        if self._n is None:
            self._file[name].resize(rows.stop, axis=0)
        self._file[name][rows] = values

    def _stored(self, name: str, tensor: Tensor) -> NDArray[Any]:
        values = tensor.cpu()
        if not values.is_floating_point():
            return values.numpy()
        exact = (values if values.dtype == torch.float64 else values.float()).numpy()
        with np.errstate(over="ignore"):
            stored = exact.astype(self._dtype)
        if (np.isinf(stored) & np.isfinite(exact)).any():
            largest, wider = np.abs(exact[np.isfinite(exact)]).max(), "float32"
            if self._dtype == np.float32:
                wider = "float64"
            raise UsageError(
                f"snapshots: {name} reaches {largest:.3g}, and {self._dtype} ends at "
                f"{np.finfo(self._dtype).max:.5g}; set dtype to {wider}"
            )
        return stored

    def _link_scales(self) -> None:
        """Name the dimensions, and link each dataset to the ids of its samples, as HDF5 does."""
        samples = self._file["sample_ids"]
        samples.make_scale("sample")

        def link(_: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset) and item.name != samples.name:
                for dim in item.dims:
                    if dim.label == "sample":
                        dim.attach_scale(samples)

        self._file.visititems(link)


def _label(dataset: h5py.Dataset, *dims: str) -> None:
    for dim, label in zip(dataset.dims, dims, strict=False):
        dim.label = label
