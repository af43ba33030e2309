"""Tests of `cmp_core.analysis.seed_baseline`: activations by hand, whose similarities are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from cmp_core import load_run
from cmp_core.analysis.seed_baseline import FEWEST, compare_seeds
from cmp_core.errors import DataError, UndefinedError
from cmp_core.runs.metric_info import MetricInfo, dump_metric_info
from cmp_core.runs.record import RunRecord
from cmp_core.runs.seed_baseline import SeedDifference

Floats = NDArray[np.floating[Any]]
WriteRun = Callable[..., RunRecord]

CKA = MetricInfo(
    "linear_cka", "linear_cka", question="different", evidence="similarity", neighbour="previous"
)
R2 = MetricInfo(
    "ridge_r2", "ridge_r2", question="different", evidence="similarity", neighbour="next"
)


@pytest.fixture
def write(tmp_path: Path) -> WriteRun:
    """A function that writes the run directory of a seed, with a snapshot, and reads it back."""
    seeds = count()

    def write_run(
        layers: Mapping[str, Floats],
        *,
        ids: NDArray[np.int64] | None = None,
        seed: int | None = None,
        facts: tuple[MetricInfo, ...] = (CKA,),
        phase: str = "test",
        file: str = "step_00000010.h5",
    ) -> RunRecord:
        number = next(seeds)
        folder = tmp_path / f"run_{number}"
        (folder / "activations").mkdir(parents=True)
        config = {"model": "mlp", "seed": number if seed is None else seed}
        (folder / "params.yaml").write_text(json.dumps(config))
        (folder / "metrics.json").write_text(dump_metric_info(facts))
        values = {layer: {"linear_cka": 0.5} for layer in layers}
        line = {"phase": "val", "epoch": 1, "acc": 0.5, "val_loss": 1, "metrics": values}
        (folder / "log.jsonl").write_text(json.dumps(line) + "\n")
        if layers:
            write_snapshot(folder / "activations" / file, layers, ids, phase)
        return load_run(folder)

    return write_run


def write_snapshot(
    path: Path,
    layers: Mapping[str, Floats],
    ids: NDArray[np.int64] | None = None,
    phase: str = "test",
) -> None:
    """Write a snapshot in the documented form."""
    with h5py.File(path, "w") as file:
        file.attrs.update(format="cmp-activations", format_version=1, phase=phase)
        if ids is not None:
            file["sample_ids"] = ids
        for depth, (name, activations) in enumerate(layers.items()):
            group = file.create_group(f"layers/{name}")
            group.attrs["depth"] = depth
            group["activations"] = activations


def gaussian(seed: int, n: int = 60, p: int = 3) -> Floats:
    """Independent normal numbers (n, p)."""
    return np.random.default_rng(seed).normal(size=(n, p))


def rotated(x: Floats) -> Floats:
    """The same geometry in other units: turned, shifted and scaled."""
    q, _ = np.linalg.qr(gaussian(99, x.shape[1], x.shape[1]))
    return 3 * x @ q + 1


def cka(x: Floats, y: Floats) -> float:
    """Linear CKA by the unbiased estimator of HSIC on kernels without their diagonals."""
    kernels = [a @ a.T for a in (x, y)]
    for kernel in kernels:
        np.fill_diagonal(kernel, 0)
    n, one = len(x), np.ones(len(x))

    def hsic(k: Floats, m: Floats) -> float:
        apart = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return float(np.trace(k @ m) + apart - 2 / (n - 2) * (one @ k @ m @ one))

    k, m = kernels
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def only(*runs: RunRecord) -> SeedDifference:
    """The comparison by the only metric."""
    (found,) = compare_seeds(runs)
    return found


# Known differences


def test_the_same_activations_in_both_seeds_do_not_differ(write: WriteRun) -> None:
    layers = {"layer_0": gaussian(0), "layer_1": gaussian(1), "layer_2": gaussian(2)}
    found = only(write(layers), write(layers))
    assert (found.metric, found.n, found.phase) == ("linear_cka", 60, "test")
    assert found.same_layer == pytest.approx(0, abs=1e-9)
    neighbours = [cka(gaussian(0), gaussian(1)), cka(gaussian(1), gaussian(2))]
    assert found.neighbours == pytest.approx(1 - np.mean(neighbours), abs=1e-9)


def test_rotated_activations_do_not_differ(write: WriteRun) -> None:
    first = {"layer_0": gaussian(0), "layer_1": rotated(gaussian(0))}
    second = {"layer_0": rotated(gaussian(0)), "layer_1": gaussian(0)}
    found = only(write(first), write(second))
    assert (found.neighbours, found.same_layer) == pytest.approx((0, 0), abs=1e-9)


def test_independent_activations_differ_by_one(write: WriteRun) -> None:
    """With n far above p the estimate is within about √(2) p / n of 0."""
    runs = [
        write({f"layer_{i}": gaussian(10 * seed + i, n=2000, p=4) for i in range(3)})
        for seed in range(2)
    ]
    found = only(*runs)
    assert found.neighbours == pytest.approx(1, abs=0.01)
    assert found.same_layer == pytest.approx(1, abs=0.01)
    assert found.n == 2000


def test_neighbours_are_of_a_network_and_the_same_layer_of_two(write: WriteRun) -> None:
    alike = {f"layer_{i}": gaussian(0) for i in range(3)}
    others = {f"layer_{i}": gaussian(1) for i in range(3)}
    found = only(write(alike), write(others))
    assert found.neighbours == pytest.approx(0, abs=1e-9)
    assert found.same_layer == pytest.approx(1 - cka(gaussian(0), gaussian(1)), abs=1e-9)


def test_layers_may_be_of_different_width(write: WriteRun) -> None:
    first = {"layer_0": gaussian(0, p=5), "layer_1": gaussian(1, p=2)}
    second = {"layer_0": gaussian(2, p=3), "layer_1": gaussian(3, p=9)}
    found = only(write(first), write(second))
    expected = [cka(first[name], second[name]) for name in first]
    assert found.same_layer == pytest.approx(1 - np.mean(expected), abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_activations_of_fewer_digits_are_compared_too(write: WriteRun, dtype: Any) -> None:
    layers = {"layer_0": gaussian(0).astype(dtype), "layer_1": gaussian(1).astype(dtype)}
    found = only(write(layers), write(layers))
    assert found.same_layer == pytest.approx(0, abs=1e-6)
    wide = [layer.astype(np.float64) for layer in layers.values()]
    assert found.neighbours == pytest.approx(1 - cka(*wide), abs=1e-5)


def test_every_metric_of_similarity_is_told(write: WriteRun) -> None:
    """A layer predicts a shifted copy of itself to within the penalty, and nothing of another."""
    x, y = gaussian(0, n=4000), gaussian(1, n=4000)
    runs = [write({"layer_0": x, "layer_1": y}, facts=(CKA, R2)) for _ in range(2)]
    found = {one.metric: one for one in compare_seeds(runs)}
    assert list(found) == ["linear_cka", "ridge_r2"]
    assert found["ridge_r2"].same_layer == pytest.approx(0, abs=1e-3)
    assert found["ridge_r2"].neighbours == pytest.approx(1, abs=0.01)


def test_pairs_of_several_seeds_are_averaged(write: WriteRun) -> None:
    """Seeds 0 and 1 are alike, 1 and 2 are not: the mean of 0 and 1 − CKA."""
    x, y = gaussian(0), gaussian(1)
    runs = [write({"layer_0": a, "layer_1": a}) for a in (x, x, y)]
    found = only(*runs)
    assert found.same_layer == pytest.approx((1 - cka(x, y)) / 2, abs=1e-9)
    assert found.neighbours == pytest.approx(0, abs=1e-9)


def test_a_seed_that_was_run_twice_counts_once(write: WriteRun) -> None:
    x, y = gaussian(0), gaussian(1)
    runs = [write({"layer_0": a, "layer_1": a}, seed=s) for a, s in ((x, 0), (y, 0), (x, 1))]
    assert only(*runs).same_layer == pytest.approx(0, abs=1e-9)


# Which samples


def test_samples_are_paired_by_id(write: WriteRun) -> None:
    layers = {"layer_0": gaussian(0), "layer_1": gaussian(1)}
    ids, order = np.arange(60) * 7, np.random.default_rng(0).permutation(60)
    shuffled = {name: values[order] for name, values in layers.items()}
    same = only(write(layers, ids=ids), write(shuffled, ids=ids[order]))
    assert same.same_layer == pytest.approx(0, abs=1e-9)
    wrong = only(write(layers, ids=ids), write(shuffled, ids=ids))
    assert wrong.same_layer > 0.5


def test_only_shared_samples_are_compared(write: WriteRun) -> None:
    """Of 0…99 and 40…139 they share 60, on which the seeds are alike; elsewhere they are not."""
    x, y = gaussian(0, n=100), gaussian(1, n=100)
    y[:60] = x[40:]
    runs = [
        write({"layer_0": a, "layer_1": rotated(a)}, ids=np.arange(100) + first)
        for a, first in ((x, 0), (y, 40))
    ]
    found = only(*runs)
    assert found.n == 60
    assert (found.same_layer, found.neighbours) == pytest.approx((0, 0), abs=1e-9)


def test_samples_of_several_chunks_are_joined(write: WriteRun) -> None:
    n = 1100
    layers = {"layer_0": gaussian(0, n=n), "layer_1": gaussian(1, n=n)}
    order = np.random.default_rng(0).permutation(n)
    shuffled = {name: values[order] for name, values in layers.items()}
    found = only(write(layers), write(shuffled, ids=order))
    assert found.same_layer == pytest.approx(0, abs=1e-9)
    assert found.neighbours == pytest.approx(1 - cka(gaussian(0, n=n), gaussian(1, n=n)), abs=1e-9)


def test_too_few_shared_samples_are_the_reason(write: WriteRun) -> None:
    layers = {"layer_0": gaussian(0), "layer_1": gaussian(1)}
    first = write(layers)
    enough = write(layers, ids=np.arange(60) + 60 - FEWEST)
    assert only(first, enough).n == FEWEST
    fewer = write(layers, ids=np.arange(60) + 61 - FEWEST)
    with pytest.raises(UndefinedError) as caught:
        compare_seeds([first, fewer])
    assert str(caught.value) == (
        "the last snapshots of two seeds share 49 samples, and 50 are needed; "
        "all seeds store the same ones with --set 'snapshots={phase: test}'"
    )


def test_the_fewest_shared_samples_are_told(write: WriteRun) -> None:
    layers = {"layer_0": gaussian(0), "layer_1": gaussian(1)}
    runs = [write(layers), write(layers), write(layers, ids=np.arange(60) + 5)]
    assert only(*runs).n == 55


# Which layers and snapshots


def test_the_head_does_not_count(write: WriteRun) -> None:
    """Its logits would be as different as can be."""
    x = gaussian(0)
    runs = [write({"layer_0": x, "layer_1": x, "head": gaussian(seed + 1)}) for seed in range(2)]
    found = only(*runs)
    assert (found.same_layer, found.neighbours) == pytest.approx((0, 0), abs=1e-9)


def test_layers_that_one_seed_lacks_are_left_out(write: WriteRun) -> None:
    x = gaussian(0)
    first = write({"layer_0": x, "layer_1": x, "layer_2": gaussian(1)})
    second = write({"layer_0": x, "layer_1": x})
    assert only(first, second).same_layer == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("numbers", [("00000002", "00000010"), ("2", "10")])
def test_the_last_snapshot_is_compared(write: WriteRun, numbers: tuple[str, str]) -> None:
    x = gaussian(0)
    last = {"layer_0": x, "layer_1": x}
    runs = [write(last, file=f"step_{numbers[1]}.h5") for _ in range(2)]
    before = {"layer_0": gaussian(1), "layer_1": gaussian(2)}
    write_snapshot(runs[0].directory / "activations" / f"step_{numbers[0]}.h5", before)
    found = only(*runs)
    assert (found.same_layer, found.neighbours) == pytest.approx((0, 0), abs=1e-9)


# Why nothing is compared


LAYERS = {"layer_0": gaussian(0), "layer_1": gaussian(1)}


def reason(*runs: RunRecord) -> str:
    """Why there is nothing to compare."""
    with pytest.raises(UndefinedError) as caught:
        compare_seeds(runs)
    return str(caught.value)


def test_it_takes_two_seeds(write: WriteRun) -> None:
    assert reason(write(LAYERS)) == "it takes two seeds"
    assert reason(write(LAYERS, seed=3), write(LAYERS, seed=3)) == "it takes two seeds"


def test_it_takes_snapshots_of_every_seed(write: WriteRun) -> None:
    assert reason(write(LAYERS), write({})) == "run_1 has no snapshots"


def test_it_takes_snapshots_of_one_split(write: WriteRun) -> None:
    runs = (write(LAYERS, phase="val"), write(LAYERS, phase="test"))
    assert reason(*runs) == "the snapshots of the runs are of different splits"


@pytest.mark.parametrize(
    "facts",
    [
        (),
        (MetricInfo("mine", "of_a_plugin", question="different", evidence="similarity"),),
        (MetricInfo("linear_cka", "linear_cka", question="different"),),
        (MetricInfo("old", "linear_cka", "", "", "different", "similarity", options={"gone": 1}),),
    ],
)
def test_it_takes_a_metric_of_similarity(write: WriteRun, facts: tuple[MetricInfo, ...]) -> None:
    runs = [write(LAYERS, facts=facts) for _ in range(2)]
    assert reason(*runs) == "no installed metric of similarity was measured"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"layer_0": gaussian(0)}, {"layer_0": gaussian(0)}),
        (LAYERS, {"block_0": gaussian(0), "block_1": gaussian(1)}),
        (LAYERS, {"layer_0": np.ones((60, 3)), "layer_1": np.ones((60, 3))}),
        ({name: np.full_like(values, np.nan) for name, values in LAYERS.items()}, LAYERS),
    ],
    ids=["one layer", "other layers", "layers that do not vary", "layers without numbers"],
)
def test_it_takes_values_both_ways(
    write: WriteRun, first: dict[str, Floats], second: dict[str, Floats]
) -> None:
    assert reason(write(first), write(second)) == "no metric of similarity has a value both ways"


def test_a_damaged_snapshot_is_named(write: WriteRun) -> None:
    runs = [write(LAYERS) for _ in range(2)]
    path = runs[1].directory / "activations" / "step_00000010.h5"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"step_00000010.h5' cannot be read"):
        compare_seeds(runs)
