"""How a file is damaged: its bytes, its content, or the place that it has."""

from __future__ import annotations

import copy
import io
import json
import os
import random
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ruamel.yaml import YAML

MARKER = "marker"
"""The file, in the working folder, that executed content makes."""

# Bytes


def flip(data: bytes, other: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(data: bytes, other: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    new = rng.choice((b"\0", b"\xff", b"\x1b[2J", b"\n", rng.randbytes(8), b"\xed\xa0\x80"))
    return data[:place] + new + data[place + rng.choice((0, len(new))) :]


def cut(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def double(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data + data[rng.randrange(len(data) + 1) * rng.randrange(2) :]


def splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Put a piece of another file into this one."""
    place, start = rng.randrange(len(data) + 1), rng.randrange(len(other) + 1)
    size = rng.choice((1, 16, 256, 4096))
    return data[:place] + other[start : start + size] + data[place + size * rng.randrange(2) :]


BYTES = (flip, flip, overwrite, cut, double, splice)

# Texts with a structure

_RAW = ("1e999", "-1e999", "NaN", "-Infinity", "9" * 400, "9" * 5000, "1e-400", "[" * 20000)
_STRANGE: Sequence[Any] = (
    None,
    True,
    -1,
    0,
    0.5,
    1e308,
    2**31,
    2**53,
    2**63,
    -(2**64),
    10**30,
    "",
    "\x1b]0;title\x07\x1b[2J",
    "a\0b",
    "\ud800",
    "\u202egnp.\u2066",
    "a\nb\r\u2028c",
    "../../outside",
    "{x} %s $(id)",
    "<script>alert(1)</script>",
    "x" * 10**5,
    "1",
    "nan",
    [],
    {},
    [[]],
    [None],
    [1, "a"],
    [[1.0, 2.0], [3.0]],
    {"": {"": None}},
    {"accuracy": {"layer_0": 1}},
)


def _many(rng: random.Random) -> Any:
    """Return a large or deep value."""
    deep: Any = 0
    for _ in range(600):
        deep = [deep] if rng.random() < 0.5 else {"a": deep}
    return rng.choice(
        (deep, {f"k{i}": i for i in range(10**5)}, [0.5] * 10**5, [[1.0] * 300] * 300)
    )


def _value(rng: random.Random) -> Any:
    chance = rng.random()
    if chance < 0.15:
        return f"\0raw{rng.randrange(len(_RAW))}"
    return _many(rng) if chance < 0.2 else copy.deepcopy(rng.choice(_STRANGE))


def _nodes(content: Any) -> list[tuple[Any, Any]]:
    """Return all places of a content, as the container and the key or position."""
    items: Any = ()
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list):
        items = enumerate(content)
    found = []
    for key, value in list(items):
        found += [(content, key), *_nodes(value)]
    return found


def restructure(content: Any, rng: random.Random) -> Any:
    """Return a content with another structure; it is changed in place."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        nodes = _nodes(content)
        if not nodes or rng.random() < 0.03:
            return _value(rng)
        depth_first = rng.choice(nodes[: rng.choice((5, 30, len(nodes)))])
        container, key = depth_first
        act = rng.randrange(8)
        if act < 4:
            container[key] = _value(rng)
        elif act == 4:
            del container[key]
        elif act == 5:
            other, place = rng.choice(nodes)
            container[key] = json.loads(json.dumps(other[place]))
        elif act == 6 and isinstance(container, dict):
            container[str(rng.choice(_STRANGE))[:200]] = container.pop(key)
        elif isinstance(container, dict):
            container[str(rng.choice((*_STRANGE, "accuracy", "n")))[:200]] = _value(rng)
        else:
            container[:] = container * 3
    return content


def as_text(content: Any, rng: random.Random) -> bytes:
    """Return a content as JSON, with tokens and keys that no writer makes."""
    text = json.dumps(content, ensure_ascii=rng.random() < 0.7)
    for place, raw in enumerate(_RAW):
        text = text.replace(f'"\\u0000raw{place}"', raw)
    if rng.random() < 0.05 and text.startswith("{"):
        text = '{"epoch": [], "acc": null, ' + text[1:]  # the same keys twice
    data = text.encode("utf-8", "surrogatepass")
    return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe")) + data if rng.random() < 0.02 else data


def of_json(data: bytes, rng: random.Random) -> bytes:
    return as_text(restructure(json.loads(data), rng), rng)


def of_lines(data: bytes, rng: random.Random) -> bytes:
    """Damage some lines of a file of JSON objects."""
    lines = data.splitlines()
    for _ in range(rng.choice((1, 1, 3))):
        place = rng.randrange(len(lines))
        act = rng.randrange(10)
        if act == 0:
            lines.insert(place, rng.choice(lines))
        elif act == 1:
            lines[place] = rng.choice((b"{}", b"5", b"null", b"\xff", b"[]", b'"a"', b"{" * 10**5))
        elif act == 2:
            lines[place] = lines[place][: rng.randrange(len(lines[place]) + 1)]
        else:
            try:
                lines[place] = of_json(lines[place], rng)
            except (ValueError, RecursionError):
                continue  # that is damaged already
    return b"\n".join(lines) + b"\n"


_YAML = (
    "a: &a [*a]",
    "&a {epochs: 1, x: *a}",
    "epochs: &a " + "9" * 400,
    "a: &a [1,1]\n"
    + "\n".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]" for i in range(9)
    ),
    f"model: !!python/object/apply:os.system ['touch {MARKER}']",
    f"!!python/object/new:subprocess.Popen [[touch, {MARKER}]]",
    "seed: !!binary aGVsbG8=",
    "seed: 2020-13-45",
    "seed: 2020-01-01T00:00:00Z",
    "<<: {epochs: 3}",
    "<<: 5",
    "<<: &b [*b]",
    "a: 1\n---\nb: 2",
    "? [1, 2]\n: 3",
    "? {a: b}\n: 3",
    "null: 1\n1: 2\ntrue: 3\n1.5: 4",
    "%YAML 9.9\n---\na: 1",
    'out: "a\\0b"',
    'out: "\\ud800"',
    "seed: 0o17\nlr: .inf",
    "lr: .nan",
    "a: !!set {1, 2}",
    "a: !!omap [a: 1, a: 2]",
    "a: !!timestamp x",
    "a: !!int x",
    "a: !!float x",
    "a: !<tag:yaml.org,2002:int> 1_000",
    "\ta: 1",
    "a: |\n" + " b\n" * 9999,
    "- " * 500,
    "[" * 3000,
    "# nothing\n",
    "...\n",
    "'",
    "@",
    "a: *none",
    "epochs: 1\nepochs: 2",
    "N: 1000000000000",
    "N: 9999999999999999999999",
    "device: cuda:99999999999999999999",
    "metrics: [{name: accuracy, label: '../x'}]",
    'metrics: [{name: accuracy, label: "\\e[2J"}]',
    "metrics: {a: b}",
    "snapshots: {phase: 1, samples: [], x: y}",
    "margins: {1: 2, [1]: 3}",
    "dataset: ../..",
    "model: /abs",
    "plots: [{name: heatmap, metric: 5}]",
    "val_size: 1e308",
    "val_size: -0.0",
    "lambda_ace: [1, [2]]",
)


def of_yaml(data: bytes, rng: random.Random) -> bytes:
    chance = rng.random()
    if chance < 0.25:
        return rng.choice(_YAML).encode("utf-8", "surrogatepass")
    if chance < 0.4:
        return data + b"\n" + rng.choice(_YAML).encode("utf-8", "surrogatepass") + b"\n"
    content = YAML(typ="safe", pure=True).load(data.decode())
    changed = as_text(restructure(content, rng), rng)
    return changed if rng.random() < 0.5 else changed.replace(b", ", b",\n ")


# Archives and pickles


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
        container, key = rng.choice(_nodes(content) or [({}, 0)])
        if isinstance(container, dict) and rng.random() < 0.2:
            container.pop(key, None)
        else:
            container[key] = _tensor(
                container.get(key) if isinstance(container, dict) else None, rng
            )
    file = io.BytesIO()
    torch.save(_value(rng) if rng.random() < 0.05 else content, file)
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
    return rng.choice((*_STRANGE, torch.zeros(3), torch.tensor(-1), 10**400, float("nan")))


# Places


def _link(target: str) -> Callable[[Path, random.Random], None]:
    return lambda path, rng: path.symlink_to(target)


def _other(path: Path, rng: random.Random) -> None:
    """Put another file of the folder in its place."""
    files = [item for item in path.parent.iterdir() if item.is_file()]
    shutil.copyfile(rng.choice(sorted(files)), path) if files else path.touch()


def _outside(path: Path, rng: random.Random) -> None:
    path.symlink_to(path.parent.parent / "outside" / "victim")


def _folder(path: Path, rng: random.Random) -> None:
    path.mkdir()
    (path / "file").touch()


def _holes(path: Path, rng: random.Random) -> None:
    """Leave a file that is larger than any disk, and takes nothing of it."""
    path.touch()
    os.truncate(path, rng.choice((2**29, 2**33, 2**40)))


PLACES: Sequence[Callable[[Path, random.Random], None]] = (
    _folder,
    _link("/dev/zero"),
    _link("nowhere"),
    _link("."),
    lambda path, rng: path.symlink_to(path.name),
    lambda path, rng: os.mkfifo(path),
    lambda path, rng: path.touch(),
    lambda path, rng: path.write_bytes(rng.randbytes(300)) and None,
    lambda path, rng: None,
    _other,
    _outside,
    _holes,
)


def replace(path: Path, rng: random.Random) -> None:
    """Put something else in a file's place, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    rng.choice(PLACES)(path, rng)
