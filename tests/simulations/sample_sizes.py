"""Whether the answers about trained networks depend on the number of test samples.

    python -m tests.simulations.sample_sizes DATA_DIR [--out DIR]

trains three seeds of both models on MNIST, tests them on the first n test images for several n, and
prints the words: they must be the same, or inconclusive where samples are too few.
"""

from __future__ import annotations

import argparse
import shutil
import struct
from pathlib import Path

from cmp_core.analysis import words
from cmp_core.analysis.questions import answers_of
from cmp_core.config.load import load_config
from cmp_core.runs.record import load_run
from cmp_core.runs.replicates import RunSet
from cmp_core.workflow import evaluate, run

SIZES = (200, 500, 1000, 2000, 5000, 10000)


def with_first(data: Path, n: int, target: Path) -> Path:
    """Make a copy of MNIST whose test split has n images alone."""
    source, raw = data / "MNIST" / "raw", target / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*-ubyte"):
        content = path.read_bytes()
        if path.name.startswith("t10k"):
            head, size = (16, 784) if "images" in path.name else (8, 1)
            count = struct.pack(">I", n)
            content = content[:4] + count + content[8:head] + content[head : head + size * n]
        (raw / path.name).write_bytes(content)
    return target


def main() -> None:
    """Train, test and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("sample_sizes"))
    arguments = parser.parse_args()
    settings = ["N=256", "epochs=5", "snapshots=null", f"out={arguments.out / 'runs'}"]
    settings.append(f"data_dir={arguments.data}")
    trained = [
        run(load_config(f"{model}_mnist", [*settings, f"seed={seed}"]), tests=False).directory
        for model in ("greedy", "mlp")
        for seed in range(3)
    ]
    for n in SIZES:
        data = with_first(arguments.data, n, arguments.out / f"data_{n}")
        tested = [arguments.out / f"n_{n}" / f"{i}_{path.name}" for i, path in enumerate(trained)]
        for path, copy in zip(trained, tested, strict=True):
            shutil.copytree(path, copy)
            evaluate(copy, settings=[f"data_dir={data}"])
        for label, answers in answers_of(RunSet(tuple(map(load_run, tested)))).items():
            told = ", ".join(f"{one.question} {words.verdict(one)}" for one in answers)
            print(f"n = {n:,}: {label}: {told}", flush=True)


if __name__ == "__main__":
    main()
