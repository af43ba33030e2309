"""Damaged snapshots: each must end in values or in one sentence, never in another exception.

`python -m tests.fuzz.hdf5 --count 3000` prints how many ended how; what ended in neither is kept.
"""

from __future__ import annotations

import argparse
import random
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cmp_core.errors import CmpError
from cmp_core.measurement.children import Children, limited

VALUES, SENTENCE = "values", "one sentence"
LONGEST = 2000


Text = Callable[[str], Any]


def write(path: Path, libver: str, text: Text, **filters: Any) -> bytes:
    """Write a small snapshot with all that one may have, and return its bytes."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w", libver=(libver, "latest")) as file:
        file.attrs.update(format_version=1, epoch=3, num_classes=3)
        texts = {"format": "cmp-activations", "phase": "test", "run_id": "1", "config": "seed: 0"}
        file.attrs.update({name: text(own) for name, own in texts.items()}, output=text("block_1"))
        file["labels"] = np.arange(24) % 3
        file["sample_ids"] = np.arange(24)
        file["fit"] = np.arange(24) < 8
        file["inputs"] = rng.normal(size=(24, 2, 3)).astype("f4")
        file["sample_ids"].make_scale("sample")
        file["labels"].dims[0].attach_scale(file["sample_ids"])
        for depth, width in enumerate((5, 3)):
            layer = file.create_group(f"layers/block_{depth}")
            layer.attrs.update(depth=depth, module=text("a text"))
            layer.create_dataset(
                "activations", data=rng.normal(size=(24, width)), chunks=(7, 2), **filters
            )
        file["layers/block_0/anchors"] = rng.normal(size=(3, 5))
        file["around"] = h5py.SoftLink("/layers")
    return path.read_bytes()


Form = tuple[str, Text, dict[str, Any]]

FORMS: Sequence[Form] = (
    ("earliest", np.bytes_, {"compression": "gzip", "shuffle": True}),
    ("earliest", np.bytes_, {"compression": "lzf"}),
    ("earliest", np.bytes_, {}),
    ("latest", np.bytes_, {"compression": "gzip", "fletcher32": True}),
)
OF_ANY_LENGTH: Sequence[Form] = [(libver, str, filters) for libver, _, filters in FORMS]
"""HDF5 keeps such texts in a heap, and loops for ever where some of its sizes are damaged."""

NUMBERS = (0, 1, 2, 7, 255, 256, 2**16 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random) -> None:
    place = rng.randrange(len(data))
    data[place : place + rng.choice((1, 4, 16))] = rng.randbytes(4)


def resize(data: bytearray, rng: random.Random) -> None:
    """Put another number where one stands that looks like a size, a count or an address."""
    form = rng.choice(("<H", "<I", "<Q"))
    width = struct.calcsize(form)
    for _ in range(200):
        place = rng.randrange(len(data) - width)
        (number,) = struct.unpack_from(form, data, place)
        if 0 < number < 2 * len(data):
            struct.pack_into(form, data, place, rng.choice(NUMBERS) % 256**width)
            return


def copy(data: bytearray, rng: random.Random) -> None:
    """Put one structure of the file in the place of another."""
    size = rng.choice((8, 24, 100))
    source, target = (rng.randrange(len(data) // 8 - 20) * 8 for _ in range(2))
    data[target : target + size] = data[source : source + size]


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


CHANGES: Sequence[Callable[[bytearray, random.Random], None]] = (
    flip,
    flip,
    overwrite,
    resize,
    resize,
    resize,
    copy,
    cut,
)

ATTRIBUTES = (-1, np.nan, np.inf, 2**63, "", "\x1b[31m", b"\xff", "x" * 10**5, np.zeros(9), 1j)


def replace_attribute(path: Path, rng: random.Random) -> None:
    with h5py.File(path, "a") as file:
        item = file[rng.choice(("/", "layers/block_0", "labels"))]
        name = rng.choice([*item.attrs, "note"])
        item.attrs[name] = rng.choice((*ATTRIBUTES, h5py.Empty("f4"), np.array(["a", "b"], "O")))


def damage(bases: Sequence[bytes], seed: int, path: Path) -> None:
    """Write a damaged snapshot, the same for the same seed."""
    rng = random.Random(seed)
    data = bytearray(rng.choice(bases))
    if rng.random() < 0.1:
        path.write_bytes(data)
        replace_attribute(path, rng)
        return
    for _ in range(rng.choice((1, 1, 2))):
        rng.choice(CHANGES)(data, rng)
    path.write_bytes(data)


def read(path: Path) -> None:
    """Read all of a snapshot, as `cmp recompute` and `cmp info` do."""
    from cmp_core.cli._info import describe
    from cmp_core.snapshots.read import open_snapshot
    from cmp_core.snapshots.replay import replay, replay_fitting

    describe(path)
    with limited(), open_snapshot(path) as snapshot:
        for chunks in (replay(snapshot), replay_fitting(snapshot)):
            for _ in chunks:
                pass
        snapshot.read_config()


def outcome_of(path: Path) -> str:
    """Return how reading a file ends."""
    try:
        read(path)
    except CmpError as error:
        text = str(error)
        is_one = str(path) in text and len(text) < LONGEST and "\n" not in text
        return SENTENCE if is_one else f"another sentence: {text[:200]}"
    except BaseException as error:  # which is what is looked for
        return f"{type(error).__name__}: {error}"
    return VALUES


def import_readers() -> None:
    """Import what reads, once for all children."""
    import cmp_core.cli._info
    import cmp_core.snapshots.replay  # noqa: F401


def try_seeds(folder: Path, bases: Sequence[bytes], seeds: Sequence[int]) -> list[str]:
    """Return how reading the damaged files of some seeds ends; a bad one is kept in the folder."""
    found = []
    for seed in seeds:
        path = folder / f"{seed}.h5"
        damage(bases, seed, path)
        found.append(outcome_of(path))
        if found[-1] in (VALUES, SENTENCE):
            path.unlink()
    return found


def outcomes(
    folder: Path, seeds: Sequence[int], at_once: int, forms: Sequence[Form] = FORMS
) -> Iterator[tuple[int, str]]:
    """Yield how reading the damaged file of each seed ends, in child processes.

    Args:
        folder: for the files.
        seeds: which files.
        at_once: files for a child, all of which are lost with it.
        forms: of the snapshots that are damaged.
    """
    bases = [write(folder / "whole.h5", *form, **filters) for *form, filters in forms]
    groups = [seeds[i : i + at_once] for i in range(0, len(seeds), at_once)]
    calls = [(f"{__spec__.name}:try_seeds", (folder, bases, group)) for group in groups]
    with Children(2, f"{__spec__.name}:import_readers") as children:
        for group, outcome in zip(groups, children.results(calls), strict=True):
            found = outcome.value if outcome.problem is None else [outcome.problem] * len(group)
            yield from zip(group, found, strict=True)


def main() -> None:
    """Print counts of outcomes, and the seeds of what was neither values nor a sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cmp_fuzz_"))
    counts: Counter[str] = Counter()
    seeds = range(arguments.first, arguments.first + arguments.count)
    for seed, outcome in outcomes(folder, seeds, 1, [*FORMS, *OF_ANY_LENGTH]):
        counts[outcome.partition(":")[0]] += 1
        if outcome not in (VALUES, SENTENCE):
            print(f"{folder / f'{seed}.h5'}: {outcome}")
    for outcome, count in counts.most_common():
        print(f"{count:6,} {outcome}")


if __name__ == "__main__":
    main()
