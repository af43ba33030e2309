"""Damaged arrays, archives and checkpoints: other content, bombs, and pickles that do harm."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tests.fuzz.damages import MARKER, STRANGE, places_in, strange_value


def evil_pickle() -> bytes:
    """Return a pickle that makes the marker where it is loaded, and nowhere else."""
    return (
        b"\x80\x02cbuiltins\nopen\n(X"
        + len(MARKER).to_bytes(4, "little")
        + MARKER.encode()
        + b"X\x01\x00\x00\x00wtR."
    )


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npy_of(header: str, rest: bytes = b"") -> bytes:
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + rest


def _form(shape: str, kind: str = "'<f8'") -> str:
    return f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}"


def of_npy(data: bytes, rng: random.Random) -> bytes:
    """Return another array, or the header of one that is not there."""
    return rng.choice(
        (
            lambda: _npy_of(_form("(10, 10)", "'|O'"), evil_pickle()),
            evil_pickle,
            lambda: _npy_of(_form("(1000000000000, 1000000)")),
            lambda: _npy_of(_form("(-1, 10)"), bytes(800)),
            lambda: _npy_of(_form("(30000, 30000)")),
            lambda: _npy_of(_form("(10, 10)", "'<V0'")),
            lambda: _npy_of(_form("()"), bytes(8)),
            lambda: _npy_of(_form("(" * 200 + ")" * 200)),
            lambda: _npy_of(f"__import__('os').system('touch {MARKER}')"),
            lambda: _npy_of("{" + "'a': 1, " * 7000 + "}"),
            lambda: _npy(np.full((10, 10), np.nan)),
            lambda: _npy(np.full((10, 10), -(2**62))),
            lambda: _npy(np.full((10, 10), np.inf)),
            lambda: _npy(np.zeros((10, 10), dtype=rng.choice(("?", "i1", "f2", "F", "g", "S3")))),
            lambda: _npy(np.zeros((0, 0), dtype=np.int64)),
            lambda: _npy(np.zeros((3, 3), dtype=np.int64)),
            lambda: _npy(np.zeros((2, 3), dtype="M8[s]")),
            lambda: _npy(np.zeros((2, 2), dtype=[("a", "f4"), ("b", "i4")])),
            lambda: _npy(np.array(5)),
            lambda: _npy(np.full((10, 10), "\x1b[2J")),
        )
    )()


def of_npz(data: bytes, rng: random.Random) -> bytes:
    """Return the archive with other members, or with a member that is another array."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    act, name = rng.randrange(8), rng.choice(list(members))
    if act == 0:
        del members[name]
    elif act == 1:
        members[rng.choice(("../../outside/x.npy", "a\0b.npy", "\x1b[2J.npy", "/abs.npy", "x"))] = (
            members[name]
        )
    elif act == 2:
        members[name] = members[rng.choice(list(members))]
    elif act == 3:
        array = np.load(io.BytesIO(members[name]), allow_pickle=False)
        changes: Sequence[Callable[[], Any]] = (
            lambda: array[:-1],
            lambda: array[None],
            lambda: array.astype("U9"),
            lambda: np.where(np.arange(array.size) % 2, np.nan, array.reshape(-1).astype(float)),
            lambda: np.full(array.shape, 2**63, dtype=np.uint64),
            lambda: np.full(array.shape, -1),
            lambda: np.full(array.shape, 1e308),
            lambda: array.astype(complex),
            lambda: array.astype("f2"),
            lambda: array.astype(bool),
            lambda: np.zeros(0, dtype=array.dtype),
        )
        members[name] = _npy(rng.choice(changes)())
    elif act == 4:
        return bomb("labels.npy", rng)
    else:
        members[name] = of_npy(members[name], rng)
    return zipped(members, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def zipped(members: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, how)
    return file.getvalue()


_MEGABYTES = (_SMALLEST := 64, 256, 6144)


def bomb(name: str, rng: random.Random) -> bytes:
    """Return a zip file of some kilobytes with a member of gigabytes, which it tells or not.

    Its deflated content is one block of zeros that is repeated without being made.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    once = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    count = rng.choice(_MEGABYTES)
    header = _npy_of(_form(f"({count << 17},)"))
    first = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = first.compress(header) + first.flush(zlib.Z_FULL_FLUSH) + once * count + b"\x03\x00"
    size = len(header) + (count << 20)
    told = min(rng.choice((size, size, 1000)), 2**32 - 2)
    # A checksum of more is not worth the time: what is read is refused at its end.
    crc = zlib.crc32(bytes(count << 20), zlib.crc32(header)) if count == _SMALLEST else 0
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, body)
    changed = bytearray(file.getvalue())
    # Its only member is said to be deflated, and of another size than it has.
    for start, record in ((8, 0), (10, changed.rindex(b"PK\x01\x02"))):
        place = record + start
        struct.pack_into("<H", changed, place, zipfile.ZIP_DEFLATED)
        struct.pack_into("<I", changed, place + 6, crc)
        struct.pack_into("<I", changed, place + 14, told)
    return bytes(changed)


def of_checkpoint(data: bytes, rng: random.Random) -> bytes:
    """Return the checkpoint with other content, a pickle that does harm, or a bomb."""
    act = rng.randrange(10)
    if act == 0:
        return rng.choice(
            (evil_pickle(), bomb("archive/data/0", rng), bomb("archive/data.pkl", rng))
        )
    if act < 3:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = rng.choice(list(members))
        if act == 1:
            name = next(name for name in members if name.endswith("data.pkl"))
            members[name] = rng.choice((evil_pickle(), b"\x80\x02" + b"(" * 10**5, b"\x80\x02]."))
        elif rng.random() < 0.5:
            del members[name]
        else:
            members[name] = rng.choice((b"", members[name] * 2, members[name][:-1], bytes(2**20)))
        return zipped(members, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    content = torch.load(io.BytesIO(data), weights_only=True)
    for _ in range(rng.choice((1, 1, 3))):
        container, key = rng.choice(places_in(content) or [({}, 0)])
        if isinstance(container, dict) and rng.random() < 0.2:
            container.pop(key, None)
        else:
            container[key] = _tensor(
                container.get(key) if isinstance(container, dict) else None, rng
            )
    file = io.BytesIO()
    torch.save(strange_value(rng) if rng.random() < 0.05 else content, file)
    return file.getvalue()


def _tensor(old: Any, rng: random.Random) -> Any:
    is_dense = isinstance(old, torch.Tensor) and not old.is_meta and not old.is_sparse
    if is_dense and rng.random() < 0.7:
        return rng.choice(
            (
                lambda: old.double(),
                lambda: old.new_full(old.shape, 0).to(torch.bool),
                lambda: torch.full(old.shape, torch.nan),
                lambda: old[None],
                lambda: old.reshape(-1)[:1].expand(10**6, 10**6),
                lambda: old.reshape(-1)[:-1],
                lambda: torch.empty(old.shape, device="meta"),
                lambda: torch.eye(3).to_sparse(),
                lambda: torch.tensor(3),
            )
        )()
    return rng.choice((*STRANGE, torch.zeros(3), torch.tensor(-1), 10**400, float("nan")))
