"""Arrays as people have them: of any type, scale, offset, layout, with outliers and odd labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FLOAT_TYPES = ("float64", "float32", "float16", ">f4", "longdouble")
WHOLE_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool")
LABEL_TYPES = (*WHOLE_TYPES, "float32", ">i4")
_EXPONENTS = {"float64": 250, "longdouble": 250, "float32": 100, ">f4": 100, "float16": 4}
"""Largest power of two by which activations of a type are scaled."""


@attrs.frozen(eq=False)
class Case:
    """Two layers and labels, as they are stored, and the same numbers in float64 at scale 1.

    Attributes:
        stored: two layers (n, p), as a user hands them over.
        exact: the same numbers, divided by the scale.
        exponent: stored is 2^exponent times exact.
        labels: 0 to K-1, (n,).
        named: the same classes by other names or in another type.
        outlier: how much larger the first sample is than the others.
    """

    stored: tuple[Any, Any]
    exact: tuple[Floats, Floats]
    exponent: int
    labels: NDArray[np.int64]
    named: Any
    outlier: float

    def __repr__(self) -> str:
        shapes = [layer.shape for layer in self.exact]
        return (
            f"Case({shapes}, {self.stored[0].dtype}, 2^{self.exponent}, outlier {self.outlier}, "
            f"labels {self.named.dtype} {np.unique(self.named).tolist()})"
        )


def _normal(draw: np.random.Generator, n: int, p: int) -> Floats:
    return draw.normal(size=(n, p))


def _relu(draw: np.random.Generator, n: int, p: int) -> Floats:
    return np.maximum(draw.normal(size=(n, p)), 0)


def _low_rank(draw: np.random.Generator, n: int, p: int) -> Floats:
    return draw.normal(size=(n, 2)) @ draw.normal(size=(2, p))


def _constant_units(draw: np.random.Generator, n: int, p: int) -> Floats:
    return np.where(np.arange(p) % 2, 0.1, draw.normal(size=(n, p)))


def _copies(draw: np.random.Generator, n: int, p: int) -> Floats:
    return draw.normal(size=(n, p))[np.arange(n) // 2]


def _bits(draw: np.random.Generator, n: int, p: int) -> Floats:
    return draw.integers(0, 2, size=(n, p)).astype(float)


def _constant(draw: np.random.Generator, n: int, p: int) -> Floats:
    return np.full((n, p), draw.normal())


_SHAPES: tuple[Callable[[np.random.Generator, int, int], Floats], ...] = (
    _normal,
    _relu,
    _low_rank,
    _constant_units,
    _copies,
    _bits,
    _constant,
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw two layers and labels."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 60))
    widths = draw(st.tuples(st.integers(1, 70), st.integers(1, 70)))
    kind = draw(st.sampled_from(FLOAT_TYPES + WHOLE_TYPES))
    labels = rng.permutation(n) % draw(st.integers(1, 8))
    outlier = draw(st.sampled_from((1.0, 1.0, 1e2, 1e4)))
    layers: list[Floats] = []
    for p in widths:
        values = draw(st.sampled_from(_SHAPES))(rng, n, p)
        # Labels that the layer tells something about, as a probe would find nothing else.
        values = values + np.eye(8, p)[labels] * draw(st.sampled_from((0.0, 2.0)))
        values[0] *= outlier
        layers.append(values + draw(st.sampled_from((0.0, 0.0, 3.0, 1e3))))
    exponent = draw(st.integers(-_EXPONENTS[kind], _EXPONENTS[kind])) if kind in FLOAT_TYPES else 0
    order = draw(st.sampled_from(("C", "F", "reversed", "strided", "read-only")))
    first, second = (_laid_out(_stored(x, kind, exponent), order) for x in layers)
    exact = _exact(first, exponent), _exact(second, exponent)
    return Case((first, second), exact, exponent, labels, _named(draw, labels), outlier)


def _exact(stored: NDArray[Any], exponent: int) -> Floats:
    return np.ldexp(stored.astype(np.float64), -exponent)


def _stored(values: Floats, kind: str, exponent: int) -> NDArray[Any]:
    if kind in FLOAT_TYPES:
        limit = 2.0**11 if kind == "float16" else np.inf
        return np.ldexp(np.clip(values, -limit, limit), exponent).astype(kind)
    if kind == "bool":
        return values > 0
    limits = np.iinfo(kind)
    return np.clip(np.round(10 * values), max(limits.min, -(2**40)), min(limits.max, 2**40)).astype(
        kind
    )


def _laid_out(values: NDArray[Any], order: str) -> NDArray[Any]:
    """Return the same numbers in another layout of the memory."""
    if order == "F":
        return np.asfortranarray(values)
    if order == "reversed":
        return np.ascontiguousarray(values[::-1, ::-1])[::-1, ::-1]
    if order == "strided":
        return np.repeat(values, 2, axis=1)[:, ::2]
    values = values.copy()
    values.flags.writeable = order != "read-only"
    return values


def _named(draw: st.DrawFn, labels: NDArray[np.int64]) -> NDArray[Any]:
    """Return labels of another type, or classes of other names in the same order."""
    names = draw(st.sampled_from(("as they are", "type", "ids")))
    if names == "ids":
        ids = draw(st.lists(st.integers(0, 2**63 - 1), min_size=8, max_size=8, unique=True))
        return np.sort(np.array(ids, np.int64))[labels]
    if names == "type":
        kind = draw(st.sampled_from(LABEL_TYPES))
        return labels.astype(kind) if kind != "bool" or labels.max() < 2 else labels
    return labels
