"""Tests of `cmp_core.statistics.split`: narrow and wide layers of one split, and those left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError
from cmp_core.events.activations import LayerActivations
from cmp_core.statistics.interface import LayerStatistics
from cmp_core.statistics.split import SplitStatistics, kept_layers
from cmp_core.testing import example_event, select
from tests.oracles import metrics as oracles
from tests.splits import new_split

N = 60
WANTED = frozenset({"own", "next", "labels"})
WIDTHS = {
    "the wide one first": (90, 8, 7),
    "the wide one in the middle": (9, 90, 8),
    "the wide one last": (9, 8, 90),
    "two wide ones": (70, 60, 5),
    "all wide": (61, 80, 60),
    "none wide": (9, 59, 7),
}


def event_of(widths: tuple[int, ...], factor: float = 1.0) -> LayerActivations:
    """Return layers at an offset; after the first chunk they are larger, as scales must bear."""
    event = example_event(n=N, widths=widths, part="chunk")
    grows = torch.where(torch.arange(N) < 9, 1.0, factor).double()[:, None]
    layers = (attrs.evolve(x, activations=(x.activations + 3) * grows) for x in event.layers)
    return attrs.evolve(event, layers=tuple(layers))


def statistics_of_chunks(
    event: LayerActivations,
    size: int = 7,
    left_out: Mapping[str, str] | None = None,
    wanted: frozenset[str] = WANTED,
) -> SplitStatistics:
    split = new_split(wanted, event, left_out)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    for where in (order.sort().values if size == N else order).split(size):
        chunk = select(event, where)
        split.update(chunk.all_layers, chunk.sample_ids, chunk.labels)
    return SplitStatistics(split)


@pytest.mark.parametrize("factor", [1.0, 1e5])
@pytest.mark.parametrize("widths", WIDTHS)
def test_every_statistic_is_that_of_the_twin_in_either_form(widths: str, factor: float) -> None:
    event = event_of(WIDTHS[widths], factor)
    statistics = statistics_of_chunks(event)
    for layer, following in zip(event.layers, [*event.layers[1:], None], strict=True):
        x, own = layer.activations.numpy(), statistics[layer.name]
        assert_near(own.mean(), x.mean(axis=0))
        assert_near(own.unit_variances(), x.var(axis=0))
        assert_near(own.variance(), x.var(axis=0).sum())
        assert_near(own.squared_norm(), oracles.hsic(x, x), tolerance=1e-6)
        assert_near(own.squared_trace(), oracles.squared_trace(x), tolerance=1e-6)
        assert_near(own.eigenvalues(), oracles.eigenspectrum(x))
        entropy = (own.shrunk_log_det() + x.shape[1] * np.log(2 * np.pi * np.e)) / 2
        assert_near(entropy, oracles.gaussian_entropy(x))
        if following is not None:
            y = following.activations.numpy()
            after = statistics[following.name]
            assert_near(own.hsic(after), oracles.hsic(x, y), tolerance=1e-6)
            assert_near(after.hsic(own), oracles.hsic(x, y), tolerance=1e-6)


def assert_near(found: Tensor, wanted: Any, tolerance: float = 1e-8) -> None:
    size = float(np.abs(wanted).max())
    assert found.numpy() == pytest.approx(wanted, rel=tolerance, abs=tolerance * size)


@pytest.mark.parametrize("widths", WIDTHS)
def test_chunks_change_nothing(widths: str) -> None:
    event = event_of(WIDTHS[widths])
    whole, chunks = statistics_of_chunks(event, N), statistics_of_chunks(event)
    for name in whole.names:
        for ask in (LayerStatistics.variance, LayerStatistics.shrunk_log_det):
            assert float(ask(chunks[name])) == pytest.approx(float(ask(whole[name])), rel=1e-9)


def test_the_samples_of_wide_layers_and_their_neighbours_are_kept_and_no_others() -> None:
    widths = {"a": 9, "b": 9, "c": 60, "d": 9, "e": 9}
    assert kept_layers(widths, 60, WANTED) == ["b", "c", "d"]
    assert kept_layers(widths, 60, frozenset({"own"})) == ["c"]
    assert kept_layers(widths, 60, frozenset()) == kept_layers(widths, 61, WANTED) == []
    event = event_of((9, 8, 90))
    split = new_split(WANTED, event)
    split.update(event.all_layers, event.sample_ids, event.labels)
    assert list(split.samples) == ["layer_1", "layer_2"]
    assert ("layer_2", "layer_2") not in split.sums.pairs()


def test_nothing_is_kept_where_nothing_is_wanted() -> None:
    event = attrs.evolve(event_of((90, 80)), reference=None)
    statistics = statistics_of_chunks(event, wanted=frozenset())
    with pytest.raises(UsageError, match="there are no sums over the split"):
        statistics["layer_0"].variance()


def test_what_is_handed_out_of_a_chunk_is_a_copy() -> None:
    event = event_of((90, 8))
    split = new_split(WANTED, event)
    split.update(event.all_layers, event.sample_ids, event.labels)
    before = split.samples["layer_0"].activations.clone()
    event.layers[0].activations.zero_()
    assert split.samples["layer_0"].activations.equal(before)


@pytest.mark.parametrize("widths", WIDTHS)
def test_a_layer_left_out_says_why_and_costs_its_own_values_alone(widths: str) -> None:
    event = event_of(WIDTHS[widths])
    all_of_them = statistics_of_chunks(event)
    statistics = statistics_of_chunks(event, left_out={"layer_1": "too wide"})
    for ask in (
        lambda s: s["layer_1"].variance(),
        lambda s: s["layer_1"].scatter(),
        lambda s: s["layer_0"].hsic(s["layer_1"]),
        lambda s: s["layer_1"].hsic(s["layer_2"]),
    ):
        with pytest.raises(UndefinedError, match="too wide"):
            ask(statistics)
    for name in ("layer_0", "layer_2"):
        for method in ("variance", "squared_norm", "shrunk_log_det"):
            found, wanted = (getattr(s[name], method)() for s in (statistics, all_of_them))
            assert float(found) == pytest.approx(float(wanted), rel=1e-12)
