"""How much of the next layer can be read off a layer linearly."""

from __future__ import annotations

from torch import Tensor

from cmp_core import (
    PENALTY,
    Array,
    LayerView,
    Positive,
    Register,
    UndefinedError,
    hookimpl,
    metric,
    statistics_of,
)

_UNDEFINED = "one of the layers does not vary"


def ridge_r2(x: Array, y: Array, *, penalty: float = PENALTY) -> float:
    """Return the held-out R² of predicting Y from X by ridge regression with an intercept.

    R² = 1 - Σ‖y - ŷ‖² / Σ‖y - ȳ‖² over samples and units, ŷ from the fit to the other four of five
    folds, which a hash of the row numbers makes.

    Args:
        x: (n, p).
        y: (n, q), the same samples.
        penalty: λ relative to the mean eigenvalue of X̃ᵀX̃.

    Raises:
        UndefinedError: fewer than 5 samples, or one of the two does not vary.

    Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(500, 3))
    >>> round(ridge_r2(x, x @ np.arange(6.0).reshape(3, 2), penalty=1e-9), 6)
    1.0
    """
    first, second = statistics_of(x, y)
    value = first.held_out_r2(second, penalty)
    if not value.isfinite():
        raise UndefinedError(_UNDEFINED)
    return float(value)


@metric(
    "ridge_r2",
    split="moments",
    scope="consecutive",
    unit="fraction of variance",
    question="different",
    evidence="similarity",
    bounds=(float("-inf"), 1),
    invariances={"orthogonal", "permute_samples", "permute_units", "scale"},
    needs=("next", "statistics.held_out_r2"),
    undefined=_UNDEFINED,
)
def ridge_r2_metric(view: LayerView, *, penalty: Positive = PENALTY) -> Tensor:
    """Share of the next layer's variance that a ridge regression on this layer predicts, held out.

    Directed: the other way round reads another value. Unrelated layers read 0 or less, and far less
    where the samples to learn from are about as many as the units. At few samples related layers
    read low too: with n = 128 samples of 1,024 isotropic units even an exact linear map about 0.1.
    So compare values of equal n and width only.
    """
    return view.statistics.held_out_r2(view.next.statistics, penalty)


@hookimpl
def cmp_register_metrics(register: Register) -> None:
    """Register the metric."""
    register(ridge_r2_metric)
