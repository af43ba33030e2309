"""How much a layer tells about its input, once a little noise is added."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmp_core import (
    Array,
    LayerStatistics,
    LayerView,
    Positive,
    PositiveInt,
    UndefinedError,
    UsageError,
    as_matrices,
    centred,
    metric,
    rescaled,
    statistics_of,
)

_UNDEFINED = "no unit varies, so there is no noise to compare with"
_SATURATED = 0.95
"""Share of the ceiling log n above which a value tells about n rather than about the layer."""


def mutual_information(activations: Array, *, snr: float = 4.0) -> dict[str, float]:
    """Return bounds of I(X; T + σZ) in nats for the activations T of distinct inputs X.

    The noise is Gaussian with σ² = tr Σ / snr in every unit: relative to the *total* variance.

    - `kt`: the upper bound -mean_i log mean_j exp(-‖tᵢ-tⱼ‖² / 2σ²), at most log n;
    - `lower`: the same with 8σ² for 2σ²;
    - `gaussian`: the upper bound ½ log det(I + Σ/σ²), that of a Gaussian of the same covariance;
    - an empty name: the smaller upper bound;
    - `saturated`: 1 where that is within 5 % of the ceiling log n, else 0.

    Args:
        activations: (n, p); more dimensions are flattened.
        snr: total variance over the noise variance of a unit, above 0.

    Raises:
        UndefinedError: no samples, or no unit varies.

    Kolchinsky & Tracey 2017, arXiv:1706.02419; why noise: Saxe et al. 2018, Goldfeld et al. 2019,
    arXiv:1810.05728.

    >>> import numpy as np
    >>> far_apart = 1e3 * np.eye(8)
    >>> mutual_information(far_apart, snr=1e6)["kt"]  # log 8
    2.0794...
    """
    (statistics,) = statistics_of(activations)
    bounds = {name: float(value) for name, value in _bounds(statistics, snr).items()}
    if not math.isfinite(bounds[""]):
        raise UndefinedError(_UNDEFINED)
    return bounds


def pc1_binned(x: Array, y: Array, *, bins: int = 20) -> float:
    """Return a one-dimensional proxy of I(X; Y) in nats: first principal components, in bins.

    The plug-in value of the joint histogram, in `bins` equal bins each, minus its exact mean over
    all pairings of the same values, so independent data read about 0, at times below.

    Args:
        x: (n, p); more dimensions are flattened.
        y: (n, q), the same samples.
        bins: per component.

    Raises:
        UndefinedError: one of the two does not vary.

    The mean over pairings: Vinh, Epps & Bailey 2010, JMLR 11.

    >>> import numpy as np
    >>> x = np.arange(1000.0)[:, None]
    >>> round(pc1_binned(x, -x, bins=10), 2)  # log 10, less the 0.04 that chance gives
    2.26
    """
    from sklearn.metrics import mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

    a, b = (_binned(_first_component(side), bins) for side in map(rescaled, as_matrices(x, y)))
    table = contingency_matrix(a, b, sparse=True)
    plain = mutual_info_score(None, None, contingency=table)
    return float(plain - expected_mutual_information(table, len(a)))


def _influence(
    view: LayerView,
    *,
    snr: Positive = 4.0,
    estimator: Literal["noisy", "pc1_binned"] = "noisy",
    bins: PositiveInt = 20,
) -> dict[str, Tensor]:
    """Return how much each sample moves the bounds of `mutual_information_metric`, (n,) each.

    With the total variance v = mean ‖x̃ᵢ‖², sample i moves ½ log det(I + A), A = Σ snr/v, by
    ½ (snr/v x̃ᵢᵀ(I+A)⁻¹x̃ᵢ - tr((I+A)⁻¹A) ‖x̃ᵢ‖²/v).
    """
    if estimator == "pc1_binned":
        return {}  # it is a proxy, and has no error
    statistics = view.statistics
    kt, lower = -statistics.kernel_density_influences(1 / snr, 4 / snr)
    rows = centred(rescaled(view.activations))
    lengths = rows.square().sum(dim=1)
    variance = lengths.mean()
    scaled, matrix = snr / variance, statistics.scatter()
    identity = torch.eye(len(matrix), dtype=rows.dtype, device=rows.device)
    factor = torch.linalg.cholesky_ex(identity + matrix * (scaled / len(rows)))[0]
    if len(matrix) == len(rows):  # the Gram matrix
        leverage = (matrix * torch.cholesky_inverse(factor)).sum(dim=1)
    else:
        leverage = torch.linalg.solve_triangular(factor, rows.T, upper=False).square().sum(dim=0)
    gaussian = scaled * (leverage - leverage.mean() * lengths / variance) / 2
    bounds = _bounds(statistics, snr)
    smaller = torch.where(bounds["kt"] < bounds["gaussian"], kt, gaussian)
    return {"": smaller, "lower": lower, "kt": kt, "gaussian": gaussian}


@metric(
    "mutual_information",
    split="subset",
    unit="nats",
    question="compressing",
    invariances={"orthogonal", "permute_samples", "permute_units", "scale"},
    needs=("statistics.mean_log_kernel_density",),
    undefined=_UNDEFINED,
    influence=_influence,
)
def mutual_information_metric(
    view: LayerView,
    *,
    snr: Positive = 4.0,
    estimator: Literal["noisy", "pc1_binned"] = "noisy",
    bins: PositiveInt = 20,
) -> Mapping[str, Tensor | float]:
    """Upper bound in nats of the information about the input that survives noise of a fixed share.

    The network itself is deterministic, so without noise the information is infinite or the
    logarithm of the number of samples. Values depend on `snr` and, near the ceiling log n
    (`saturated`), on n. With `estimator: pc1_binned` the only value is the proxy `pc1_binned`.
    """
    if estimator == "pc1_binned":
        return {"pc1_binned": pc1_binned(view.inputs, view.activations, bins=bins)}
    return _bounds(view.statistics, snr)


def _bounds(statistics: LayerStatistics, snr: float) -> dict[str, Tensor]:
    if not snr > 0:
        raise UsageError(f"snr: expected a number above 0, got {snr}")
    kt, lower = -statistics.mean_log_kernel_density(1 / snr, 4 / snr)
    gaussian = statistics.channel_log_det(snr) / 2
    smaller = torch.minimum(kt, gaussian)
    is_near = (smaller > _SATURATED * math.log(statistics.n)).to(smaller.dtype)
    saturated = torch.where(smaller.isnan(), torch.nan, is_near)
    return {"": smaller, "lower": lower, "kt": kt, "gaussian": gaussian, "saturated": saturated}


def _first_component(activations: Tensor) -> NDArray[np.float64]:
    from scipy.linalg import eigh

    rows = centred(activations.cpu().double()).numpy()
    n, p = rows.shape
    if n < 2 or not np.isfinite(rows).all():
        raise UndefinedError("components need two samples or more, and finite activations")
    matrix = rows.T @ rows if p <= n else rows @ rows.T
    last = len(matrix) - 1
    values, vectors = eigh(matrix, subset_by_index=(last, last))
    if not values[0] > 0:
        raise UndefinedError(_UNDEFINED)
    component: NDArray[np.float64] = rows @ vectors[:, 0] if p <= n else vectors[:, 0]
    return component


def _binned(values: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    edges = np.histogram_bin_edges(values, bins)
    return np.digitize(values, edges[1:-1])
