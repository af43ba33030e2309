"""Tests of `cmp_core.measurement.jackknife`: standard errors against formulas, refits and draws."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from cmp_core.events.activations import LayerActivations
from cmp_core.events.rows import Row
from cmp_core.measurement.jackknife import influences, of_mean, standard_error
from cmp_core.measurement.metric import Metric, definition_of
from cmp_core.plugins.loader import load_plugins
from cmp_core.testing import example_event
from cmp_core.testing.events import select
from cmp_core.testing.measure import measurer_of
from cmp_metrics.mutual_information import mutual_information
from tests.oracles import metrics as oracles
from tests.oracles.sampling import groups_of

REGISTRY = load_plugins(["cmp:effective_rank", "cmp:two_nn"]).registry
Array = NDArray[np.float64]


def metric(name: str) -> Metric:
    return definition_of(REGISTRY.get("metric", name).factory)()


def rows_of(event: LayerActivations, subject: Metric, size: int = 64) -> list[Row]:
    def read(_: int) -> Any:
        return (select(event, where) for where in torch.arange(event.n).split(size))

    assert event.labels is not None
    ids, labels = event.sample_ids.numpy(), event.labels.numpy()
    return list(measurer_of(subject).split(ids, labels, read, errors=True))


def the_row(event: LayerActivations, name: str, layer: str = "layer_0") -> Row:
    rows = rows_of(event, metric(name))
    (row,) = (r for r in rows if (r.layer, r.metric, r.pair) == (layer, name, False))
    return row


def by_hand(values: Sequence[float], value: float, sizes: Array) -> float:
    """The delete-a-group jackknife of Busing et al. 1999, equations for unequal groups."""
    n, g = sizes.sum(), len(sizes)
    h = n / sizes
    pseudo = h * value - (h - 1) * np.array(values)
    centre = g * value - ((1 - sizes / n) * np.array(values)).sum()
    return float(np.sqrt(((pseudo - centre) ** 2 / (h - 1)).mean()))


# Formulas


def test_the_error_of_a_mean_is_that_of_the_textbook() -> None:
    row = the_row(example_event(n=150, part="chunk"), "accuracy")
    event = example_event(n=150, part="chunk")
    hits = (event.layers[0].scores.argmax(1) == event.labels).numpy()  # type: ignore[union-attr]
    assert row.error == pytest.approx(hits.std(ddof=1) / np.sqrt(150), rel=1e-6)
    assert row.influence is not None
    np.testing.assert_allclose(row.influence, hits - hits.mean(), atol=1e-6)


def test_samples_without_a_value_move_nothing() -> None:
    values = torch.tensor([1.0, 4.0, float("nan"), 7.0], dtype=torch.float64)
    found = of_mean(values)
    assert found[2] == 0
    ratio = np.array([-3, 0, 0, 3]) * 4 / 3
    np.testing.assert_allclose(found, ratio)


def test_leaving_out_groups_of_a_mean_gives_their_sums() -> None:
    rng = np.random.default_rng(0)
    x, group = rng.normal(size=100), rng.integers(0, 20, 100)
    sizes = np.bincount(group, minlength=20)
    without = [{"": torch.tensor(x[group != g].mean())} for g in range(20)]
    shares = torch.from_numpy(sizes / 100)
    found = influences({"": torch.tensor(x.mean())}, without, shares)[""]
    wanted = [20 / 100 * (x[group == g] - x.mean()).sum() for g in range(20)]
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert float(standard_error(found)) == pytest.approx(np.std(wanted, ddof=1) / np.sqrt(20))


# Against values without each group, measured anew


def without_groups(event: LayerActivations) -> tuple[list[Tensor], Array]:
    group = np.array(groups_of(event.sample_ids.tolist()))
    kept = [torch.from_numpy(np.flatnonzero(group != g)) for g in range(20)]
    return kept, np.bincount(group, minlength=20)


CASES = {
    "participation_ratio": lambda x, y: oracles.participation_ratio(x),
    "gaussian_entropy": lambda x, y: oracles.gaussian_entropy(x),
    "linear_cka": oracles.linear_cka,
    "effective_rank": lambda x, y: effective_rank(x),
}


def effective_rank(x: Array) -> float:
    shares = oracles.eigenspectrum(x)
    return float(np.exp(stats.entropy(shares)))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("widths", [(12, 9), (250, 9), (250, 240)])
def test_an_error_of_moments_is_that_of_refits(name: str, widths: tuple[int, ...]) -> None:
    """Of sums, of Gram matrices, and of a pair of either."""
    event = example_event(n=210, widths=widths, part="chunk")
    event = select(event, torch.randperm(210, generator=torch.Generator().manual_seed(0)))
    kept, sizes = without_groups(event)
    layer = "layer_1" if name == "linear_cka" else "layer_0"
    row = the_row(event, name, layer)
    x, y = (x.activations.numpy() for x in event.layers)
    assert row.value == pytest.approx(CASES[name](x, y), rel=1e-6)
    values = [CASES[name](x[where], y[where]) for where in kept]
    assert row.error == pytest.approx(by_hand(values, float(row.value), sizes), rel=0.02)  # type: ignore[arg-type]


def test_an_error_of_a_state_is_that_of_counts_without_each_group() -> None:
    event = example_event(n=210, widths=(12, 9), part="chunk")
    kept, sizes = without_groups(event)
    x, labels = event.layers[0].activations.numpy(), event.labels.numpy()  # type: ignore[union-attr]
    predicted = oracles.probe_scores(x, labels).argmax(1)

    def f1(where: Any) -> float:
        from sklearn.metrics import f1_score

        return float(f1_score(labels[where], predicted[where], average="macro"))

    row = the_row(event, "f1_score")
    wanted = by_hand([f1(where) for where in kept], f1(slice(None)), sizes)
    assert row.error == pytest.approx(wanted, rel=0.02)


def test_a_subset_is_measured_again_without_each_group() -> None:
    event = example_event(n=210, widths=(12, 9), part="chunk")
    kept, sizes = without_groups(event)
    two_nn = definition_of(REGISTRY.get("metric", "two_nn").factory)
    values = []
    for where in kept:
        rows = rows_of(select(event, where), two_nn())
        values.append(next(float(r.value) for r in rows if r.layer == "layer_0"))  # type: ignore[arg-type]
    row = the_row(event, "two_nn")
    assert row.error == pytest.approx(by_hand(values, float(row.value), sizes), rel=0.02)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [12, 80])
def test_influences_on_the_information_are_its_derivatives_by_weights(width: int) -> None:
    """A sample that counts 51 times, among 60 that count 50 times."""
    event = example_event(n=60, widths=(width, 9), part="chunk")
    many = np.repeat(event.layers[0].activations.numpy(), 50, axis=0)
    base = mutual_information(many)
    rows = rows_of(event, metric("mutual_information"))
    found = {row.metric: row.influence for row in rows if row.layer == "layer_0"}
    for i in (0, 7):
        more = mutual_information(np.concatenate([many, many[50 * i : 50 * i + 1]]))
        for name in ("kt", "lower", "gaussian"):
            influence = found[f"mutual_information_{name}"]
            assert influence is not None
            slope = (more[name] - base[name]) * (len(many) + 1)
            assert influence[i] == pytest.approx(slope, rel=0.03, abs=0.002)  # a step of 1 in 50


# What has no error


def test_few_samples_have_none() -> None:
    assert the_row(example_event(n=39, part="chunk"), "accuracy").error is None
    assert the_row(example_event(n=40, part="chunk"), "accuracy").error is not None


def test_values_are_the_same_with_errors_and_without() -> None:
    event = example_event(n=150, part="chunk")
    for name in REGISTRY.names("metric"):
        with_errors = rows_of(event, metric(name))
        plain = list(
            measurer_of(metric(name)).split(
                event.sample_ids.numpy(),
                event.labels.numpy(),
                lambda _: iter([event]),  # type: ignore[union-attr]
            )
        )
        for one, other in zip(with_errors, plain, strict=True):
            assert (one.layer, one.metric, one.reason) == (other.layer, other.metric, other.reason)
            if one.value is not None:
                np.testing.assert_allclose(one.value, other.value, rtol=1e-9, atol=1e-12)


def test_where_sums_of_groups_do_not_fit_the_values_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    event = attrs.evolve(example_event(n=150, widths=(60, 50), part="chunk"), reference=None)
    monkeypatch.setattr("cmp_core.measurement.measurer.memory_of", lambda device: 600_000)
    row = the_row(event, "participation_ratio")
    assert row.value is not None
    assert row.error is None
    assert the_row(event, "accuracy").error is not None


# Coverage


def test_intervals_of_the_errors_cover_the_truth() -> None:
    """95 % of them, of samples of 500 that are drawn 200 times."""
    names = ("accuracy", "participation_ratio", "linear_cka", "gaussian_entropy")
    population = example_event(n=100_000, widths=(12, 9), part="chunk")
    population = attrs.evolve(population, reference=None)
    values, errors, units = defaultdict(list), defaultdict(list), {}
    for i in range(200):
        event = select(population, torch.arange(500 * i, 500 * (i + 1)))
        for name in names:
            row = the_row(event, name, "layer_1")
            assert row.influence is not None
            values[name].append(row.value)
            errors[name].append(row.error)
            units[name] = len(row.influence)
    for name in names:
        found, width = np.array(values[name]), stats.t.ppf(0.975, units[name] - 1)
        covered = np.abs(found - found.mean()) <= width * np.array(errors[name])
        assert 0.915 <= covered.mean() <= 0.985, name
