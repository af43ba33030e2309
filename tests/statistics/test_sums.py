"""Tests of `cmp_core.statistics.sums`: splits in chunks against twins that see them at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor

from cmp_core.events.activations import LayerActivations
from cmp_core.events.rows import Row
from cmp_core.measurement.metric import definition_of
from cmp_core.statistics.split import SplitAccumulator, SplitStatistics
from cmp_core.testing import example_event, measure_split, select
from cmp_metrics.eigenspectrum import eigenspectrum_metric
from cmp_metrics.f1_score import F1Score
from cmp_metrics.gaussian_entropy import gaussian_entropy_metric
from cmp_metrics.label_information import LabelInformation
from cmp_metrics.linear_cka import linear_cka_metric
from cmp_metrics.participation_ratio import participation_ratio_metric
from cmp_metrics.probe_accuracy import probe_accuracy_metric
from cmp_metrics.ridge_r2 import RidgeR2
from cmp_metrics.within_class_variance import within_class_variance_metric
from tests.oracles import metrics as oracles
from tests.splits import new_split

N = 300
WIDTHS = {"narrow": (12, 9, 7), "wide": (310, 8, 305)}
ALL_WANTED = frozenset({"own", "next", "labels"})
FITTED = ("ridge_r2", "probe_accuracy", "f1_score", "label_information")
Array = NDArray[np.float64]


@attrs.frozen
class Data:
    """A split and, by layer, its activations as the twins take them."""

    event: LayerActivations
    layers: Mapping[str, Array]
    labels: NDArray[np.int64]


@cache
def data(widths: str, dtype: torch.dtype) -> Data:
    """Return layers at an offset of ten, and labels that they tell something about.

    The event has its samples in another order than the twins, which have them by sample id.
    """
    event = example_event(n=N, widths=WIDTHS[widths], classes=4, part="chunk")
    g = torch.Generator().manual_seed(1)
    first = event.layers[0].activations
    scores = first @ torch.randn(first.shape[1], 4, generator=g, dtype=torch.float64)
    scores += scores.std() * torch.randn(N, 4, generator=g, dtype=torch.float64)
    layers = tuple(attrs.evolve(x, activations=x.activations + 10) for x in event.layers)
    event = attrs.evolve(event, layers=layers, labels=(scores - scores.mean(0)).argmax(1))
    event = event.map_tensors(lambda x: x.to(dtype) if x.is_floating_point() else x)
    arrays = {x.name: x.activations.double().numpy() for x in event.all_layers}
    assert event.labels is not None
    return Data(select(event, shuffled(2)), arrays, event.labels.numpy())


def shuffled(seed: int) -> Tensor:
    return torch.randperm(N, generator=torch.Generator().manual_seed(seed))


Twin = Callable[[Data, str, str | None], Any]


def of_layer(twin: Callable[..., Any]) -> Twin:
    return lambda split, layer, other: twin(split.layers[layer])


def of_labels(twin: Callable[..., Any]) -> Twin:
    return lambda split, layer, other: twin(split.layers[layer], split.labels)


def of_pair(twin: Callable[..., Any]) -> Twin:
    return lambda split, layer, other: twin(split.layers[layer], split.layers[str(other)])


def predicted(split: Data, layer: str, other: str | None) -> float:
    """The folds of a split are stratified by its labels, whatever is predicted."""
    return oracles.ridge_r2(split.layers[layer], split.layers[str(other)], labels=split.labels)


CASES: dict[str, tuple[Any, Twin]] = {
    "participation_ratio": (participation_ratio_metric, of_layer(oracles.participation_ratio)),
    "eigenspectrum": (eigenspectrum_metric, of_layer(lambda x: oracles.eigenspectrum(x)[:64])),
    "gaussian_entropy": (gaussian_entropy_metric, of_layer(oracles.gaussian_entropy)),
    "linear_cka": (linear_cka_metric, of_pair(oracles.linear_cka)),
    "within_class_variance": (
        within_class_variance_metric,
        of_labels(oracles.within_class_variance),
    ),
    "ridge_r2": (RidgeR2, predicted),
    "probe_accuracy": (probe_accuracy_metric, of_labels(oracles.probe_accuracy)),
    "f1_score": (F1Score, of_labels(oracles.f1_score)),
    "label_information": (LabelInformation, of_labels(oracles.label_information)),
}
BETWEEN = ("linear_cka", "ridge_r2")


@cache
def expected(name: str, widths: str, dtype: torch.dtype, layer: str, other: str | None) -> Any:
    return CASES[name][1](data(widths, dtype), layer, other)


def measured(name: str, event: LayerActivations, size: int, order: Tensor) -> list[Row]:
    metric = definition_of(CASES[name][0])()
    return [row for row in measure_split(metric, event, size, order) if row.value is not None]


def assert_reads_as_the_twin(
    name: str, widths: str, dtype: torch.dtype, size: int, order: Tensor
) -> None:
    # Relative to the largest entry of a vector: the last eigenvalues are known to its rounding.
    relative, absolute = (1e-9, 1e-12) if dtype == torch.float64 else (1e-4, 1e-6)
    rows = measured(name, data(widths, dtype).event, size, order)
    layers = ["layer_0", "layer_1", "layer_2"]
    wanted = {"linear_cka": layers[1:], "ridge_r2": layers[:2]}.get(name, ["input", *layers])
    if widths == "wide" and name in FITTED:  # least squares take more samples than units
        wanted = [] if name == "ridge_r2" else ["input", "layer_1"]
    assert [row.layer for row in rows if not row.pair] == wanted
    for row in rows:
        value = np.asarray(expected(name, widths, dtype, row.layer, row.other))
        allowed = relative * np.abs(value).max() + absolute
        np.testing.assert_allclose(row.value, value, rtol=0, atol=allowed, err_msg=row.layer)
        assert row.n == N


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("widths", "dtype", "size"),
    [
        *(("narrow", torch.float64, size) for size in (1, 7, 128, N)),
        *(("narrow", torch.float32, size) for size in (7, 128, N)),
        ("wide", torch.float64, 128),
        ("wide", torch.float32, 128),
    ],
)
def test_a_split_in_chunks_reads_as_its_twin_at_once(
    name: str, widths: str, dtype: torch.dtype, size: int
) -> None:
    assert_reads_as_the_twin(name, widths, dtype, size, shuffled(size))


@pytest.mark.parametrize("name", CASES)
def test_a_first_chunk_unlike_the_others_costs_no_digits(name: str) -> None:
    """Sums are kept about the first chunk's mean; here it is of the smallest activations."""
    order = data("narrow", torch.float64).event.layers[0].activations.sum(dim=1).argsort()
    assert_reads_as_the_twin(name, "narrow", torch.float64, 7, order)


def test_all_pairs_of_layers_are_there_once_each_way() -> None:
    rows = measured("linear_cka", data("narrow", torch.float64).event, 64, shuffled(0))
    pairs = {(row.layer, row.other): row.value for row in rows if row.pair}
    assert len(pairs) == 9
    assert all(value == pairs[other, layer] for (layer, other), value in pairs.items())
    assert pairs["layer_0", "layer_0"] == pytest.approx(1, rel=1e-12)


# Sums


def new_sums(event: LayerActivations) -> SplitAccumulator:
    return new_split(ALL_WANTED, event)


def add(sums: SplitAccumulator, event: LayerActivations, where: Tensor) -> SplitAccumulator:
    chunk = select(event, where)
    sums.update(chunk.all_layers, chunk.sample_ids, chunk.labels)
    return sums


def computed(sums: SplitAccumulator) -> list[float]:
    statistics = SplitStatistics(sums)
    first, second = statistics["layer_0"], statistics["layer_1"]
    values = [
        first.squared_norm(),
        first.squared_trace(),
        first.hsic(second),
        second.hsic(first),
        second.shrunk_log_det(),
    ]
    return [float(value) for value in values]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("widths", WIDTHS)
def test_shards_merge_in_any_order_and_go_on(widths: str, seed: int) -> None:
    event = data(widths, torch.float64).event
    whole = computed(add(new_sums(event), event, torch.arange(N)))
    *shards, rest = torch.split(shuffled(seed), [3, 97, 60, 80, 60])
    a, b, c, d = (add(new_sums(event), event, shard) for shard in shards)
    empty = new_sums(event)
    for merged in (
        a.merge(b).merge(c).merge(d),
        d.merge(c.merge(b.merge(a))),
        empty.merge(c).merge(a.merge(empty)).merge(d.merge(b)),
    ):
        assert computed(add(merged, event, rest)) == pytest.approx(whole, rel=1e-9)


def sizes(value: object, n: int) -> list[int]:
    """Return the sizes of all tensors in a value but for those of one number per sample."""
    if isinstance(value, Tensor):
        return [] if value.shape == (n,) else [value.numel()]
    if isinstance(value, Mapping):
        return [size for part in value.values() for size in sizes(part, n)]
    if isinstance(value, tuple):
        return [size for part in value for size in sizes(part, n)]
    if attrs.has(type(value)):
        fields = (getattr(value, field.name) for field in attrs.fields(type(value)))
        return [size for part in fields for size in sizes(part, n)]
    return []


def test_memory_does_not_grow_with_the_samples() -> None:
    """But for the ids and labels that the folds are made of, one number each per sample."""
    totals = []
    for n in (100, 1700):
        event = example_event(n=n, widths=(6, 5), part="chunk")
        sums = new_sums(event)
        for where in torch.arange(n).split(64):
            add(sums, event, where)
        totals.append(sizes(vars(sums.sums), n))
    assert totals[0] == totals[1]
    assert sum(totals[0]) > 6 * 6 + 5 * 5 + 6 * 5, "the sums were not found"


# Leakage


def random_split(n: int, widths: tuple[int, ...], classes: int = 10) -> LayerActivations:
    """Return layers that are independent of each other and of the labels."""
    rng = np.random.default_rng(0)
    event = example_event(n=n, widths=widths, classes=classes, part="chunk")
    layers = tuple(
        attrs.evolve(layer, activations=torch.from_numpy(rng.normal(size=(n, p))))
        for layer, p in zip(event.layers, widths, strict=True)
    )
    return attrs.evolve(event, layers=layers)


def test_random_labels_over_a_split_read_chance() -> None:
    """In sample, 240 units would tell most of 400 samples apart."""
    n, widths = 400, (32, 240)
    event = random_split(n, widths)
    low, high = (k / n for k in binom.interval(0.999, n, 0.1))
    order = torch.arange(n)
    for row in measured("probe_accuracy", event, 128, order):
        assert low <= float(row.value) <= high, row  # type: ignore[arg-type]
    for row in measured("f1_score", event, 128, order):
        assert low - 0.02 <= float(row.value) <= high + 0.02, row  # type: ignore[arg-type]
    for row in measured("label_information", event, 128, order):
        assert abs(float(row.value)) < 0.03, row  # type: ignore[arg-type]


@pytest.mark.parametrize("name", BETWEEN)
def test_independent_layers_over_a_split_lie_in_their_null_band(name: str) -> None:
    """The band is that of the same layers with the samples of one in another order."""
    n, p = 150, 10
    event = random_split(n, (p, 15), classes=4)
    assert event.labels is not None
    layers = {layer.name: layer.activations.numpy() for layer in event.layers}
    null = []
    for seed in range(40):
        moved = layers["layer_1"][np.random.default_rng(seed).permutation(n)]
        split = Data(event, {**layers, "layer_1": moved}, event.labels.numpy())
        null.append(CASES[name][1](split, "layer_0", "layer_1"))
    (row,) = (row for row in measured(name, event, 64, torch.arange(n)) if not row.pair)
    assert min(null) <= float(row.value) <= max(null)  # type: ignore[arg-type]
    # Held out, p useless units cost about p / (samples fitted - p) of the variance.
    centre = 0 if name == "linear_cka" else -p / (0.8 * n - p)
    assert np.mean(null) == pytest.approx(centre, abs=0.03)
    assert np.ptp(null) < 0.15
