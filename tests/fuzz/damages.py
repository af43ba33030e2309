"""How a file is damaged: its bytes, its content, or the place that it has."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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
STRANGE: Sequence[Any] = (
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


def strange_value(rng: random.Random) -> Any:
    chance = rng.random()
    if chance < 0.15:
        return f"\0raw{rng.randrange(len(_RAW))}"
    return _many(rng) if chance < 0.2 else copy.deepcopy(rng.choice(STRANGE))


def places_in(content: Any) -> list[tuple[Any, Any]]:
    """Return all places of a content, as the container and the key or position."""
    items: Any = ()
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list):
        items = enumerate(content)
    found = []
    for key, value in list(items):
        found += [(content, key), *places_in(value)]
    return found


def restructure(content: Any, rng: random.Random) -> Any:
    """Return a content with another structure; it is changed in place."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        try:
            nodes = places_in(content)
        except RecursionError:  # of two deep values in each other, which no writer of JSON takes
            return strange_value(rng)
        if not nodes or rng.random() < 0.03:
            return strange_value(rng)
        depth_first = rng.choice(nodes[: rng.choice((5, 30, len(nodes)))])
        container, key = depth_first
        act = rng.randrange(8)
        if act < 4:
            container[key] = strange_value(rng)
        elif act == 4:
            del container[key]
        elif act == 5:
            other, place = rng.choice(nodes)
            container[key] = json.loads(json.dumps(other[place]))
        elif act == 6 and isinstance(container, dict):
            container[str(rng.choice(STRANGE))[:200]] = container.pop(key)
        elif isinstance(container, dict):
            container[str(rng.choice((*STRANGE, "accuracy", "n")))[:200]] = strange_value(rng)
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
