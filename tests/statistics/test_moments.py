"""Tests of `cmp_core.statistics.moments`: sums of products add up, about any pivots."""

from __future__ import annotations

import functools

import numpy as np
import torch
from hypothesis import assume, given, settings, strategies as st
from numpy.typing import NDArray

from cmp_core.statistics.moments import Products, ShiftedSamples, is_wide

Array = NDArray[np.float64]


steady = settings(derandomize=True, deadline=None, max_examples=30)


@st.composite
def samples(draw: st.DrawFn) -> tuple[Array, Array, list[Array]]:
    """Draw two layers of the same samples, offset and scaled, and shards in a random order."""
    n, p, q = (draw(st.integers(low, high)) for low, high in ((2, 30), (1, 5), (1, 5)))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    x, y = rng.normal(size=(n, p)), rng.normal(size=(n, q))
    x = (x + draw(st.sampled_from([0.0, 30.0]))) * draw(st.sampled_from([1e-6, 1.0, 1e6]))
    y = np.maximum(y, 0) - draw(st.sampled_from([0.0, 30.0]))
    shard = rng.integers(0, draw(st.integers(1, 6)), n)
    return x, y, [np.flatnonzero(shard == s) for s in rng.permutation(np.unique(shard))]


def of(x: Array, y: Array, where: Array) -> Products:
    return Products.of(torch.from_numpy(x[where]), torch.from_numpy(y[where]))


def definitions(x: Array, y: Array) -> dict[str, Array]:
    """Return the sums as they are defined, about the pivots that x and y are counted from."""
    k, l = (x**2).sum(1), (y**2).sum(1)  # noqa: E741
    return {
        "x_sum": x.sum(0),
        "y_sum": y.sum(0),
        "cross": x.T @ y,
        "x_total": k.sum(),
        "y_total": l.sum(),
        "k_y": k @ y,
        "l_x": l @ x,
        "lengths": k @ l,
    }


def assert_are_those_of(found: Products, x: Array, y: Array, where: Array | None = None) -> None:
    """Compare the products of some samples, at the size of the terms that all samples add."""
    sizes = definitions(np.abs(x - x.mean(0)), np.abs(y - y.mean(0)))
    x, y = (x, y) if where is None else (x[where], y[where])
    wanted = definitions(x - x.mean(0), y - y.mean(0))
    own = found.about(torch.from_numpy(x.mean(0)), torch.from_numpy(y.mean(0)))
    assert own.n == len(x)
    for name, value in wanted.items():
        atol = 1e-9 * np.max(sizes[name])
        np.testing.assert_allclose(getattr(own, name), value, rtol=0, atol=atol, err_msg=name)
    atol = 1e-9 * np.max(sizes["cross"])
    np.testing.assert_allclose(found.centred_cross(), wanted["cross"], rtol=0, atol=atol)
    atol = 1e-9 * sizes["y_total"]
    np.testing.assert_allclose(found.y_scatter, wanted["y_total"], rtol=0, atol=atol)
    np.testing.assert_allclose(found.x_mean, x.mean(0), rtol=1e-9, atol=1e-9 * np.abs(x).max())


@steady
@given(samples())
def test_products_of_shards_add_up_in_any_order(drawn: tuple[Array, Array, list[Array]]) -> None:
    x, y, shards = drawn
    parts = [of(x, y, where) for where in shards]
    assert_are_those_of(Products.sum(parts), x, y)
    nested = functools.reduce(lambda total, part: Products.sum([part, total]), parts)
    assert_are_those_of(nested, x, y)
    for part, where in zip(parts, shards, strict=True):  # a sum changes no part
        assert_are_those_of(part, x, y, where)


@steady
@given(samples(), st.sampled_from([0.0, 2.0, -10.0]))
def test_products_take_in_chunks_about_any_pivot(
    drawn: tuple[Array, Array, list[Array]], distance: float
) -> None:
    x, y, shards = drawn
    x_rows, y_rows = (
        [ShiftedSamples.of(torch.from_numpy(side[where]) - pivot, pivot) for where in shards]
        for side in (x, y)
        for pivot in [torch.from_numpy(side.mean(0) + distance * side.std())]
    )
    products = Products.of_samples(x_rows[0], y_rows[0])
    for rows in zip(x_rows[1:], y_rows[1:], strict=True):
        products.update(*rows)
    assert_are_those_of(products, x, y)


def test_the_products_of_a_wide_layer_with_itself_are_whole() -> None:
    x = np.random.default_rng(0).normal(size=(60, 300))
    pivot = torch.zeros(300).double()
    first, second = (ShiftedSamples.of(torch.from_numpy(part), pivot) for part in (x[:20], x[20:]))
    products = Products.of_samples(first, first)
    products.update(second, second)
    assert_are_those_of(products, x, x)


@steady
@given(samples())
def test_taking_away_undoes_adding(drawn: tuple[Array, Array, list[Array]]) -> None:
    x, y, shards = drawn
    *kept, last = shards
    assume(kept)
    total = Products.sum([of(x, y, where) for where in shards])
    assert_are_those_of(total - of(x, y, last), x, y, np.concatenate(kept))
    assert_are_those_of(total, x, y)


def test_a_layer_is_wide_with_as_many_units_as_samples() -> None:
    assert is_wide(5, 5)
    assert not is_wide(6, 5)
