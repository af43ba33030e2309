"""Calibrated CKA: how similar two layers are, beyond what wrongly paired samples give.

A metric in one file. Use it with `cmp run -p cmp:calibrated_cka`, or copy it and change it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cmp_core import (
    Array,
    LayerView,
    UndefinedError,
    as_matrices,
    centred,
    metric,
    rescaled,
)

_UNDEFINED = "a layer does not vary, or is like itself however its samples are paired"
_LEAST = 20
"""Samples of which one is 5 %."""
_TIE = 1e-12


def calibrated_cka(x: Array, y: Array) -> dict[str, float]:
    """Return the debiased linear CKA of two layers, and where it stands among wrong pairings.

    The samples are put on a circle, in an order of fixed seed, and Y is moved round it by 1, …, m
    places, m = n - 1: permutations that pair no sample with itself. Were the layers independent,
    the right pairing would be like any other. As these shifts and 0 are a group, the test is exact
    at any n, and the same with X and Y exchanged; random permutations would cost n times as much.

    - an empty name: the calibrated score (s - q) / (1 - q): above 0 beyond chance, 1 for layers
      that differ by a rotation and a scale. Gröger et al. clip it at 0; here it is not clipped;
    - `cka`: s, the value of `linear_cka`;
    - `threshold`: q, the ⌈.95 n⌉-th smallest of s and the m shifted values;
    - `p`: (1 + number of shifted values ≥ s) / (1 + m), so never below 1/n. It is not corrected for
      the number of pairs of layers. p ≤ .05 just where s > q.

    Args:
        x: (n, p).
        y: (n, q), the same samples in the same order. The memory needed grows with n².

    Raises:
        UndefinedError: fewer than 20 samples, of which none can be in the highest 5 %; a layer
            without variance; or a threshold of 1.

    Gröger, Wen & Brbić 2026, arXiv:2602.14486; groups of permutations: Hemerik & Goeman 2018,
    doi:10.1007/s11749-017-0571-1.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> values = calibrated_cka(x, -x)
    >>> [round(values[name], 2) for name in ("", "cka", "p")]
    [1.0, 1.0, 0.01]
    """
    x, y = as_matrices(x, y)
    values = {name: float(value) for name, value in _calibrated(x, y, torch.arange(len(x))).items()}
    if not math.isfinite(values[""]):
        raise UndefinedError(_UNDEFINED)
    return values


@metric(
    "calibrated_cka",
    split="subset",
    scope="pair",
    question="different",
    bounds=(float("-inf"), 1),
    invariances={"orthogonal", "permute_samples", "permute_units", "scale", "symmetric"},
    slow=True,
    undefined=_UNDEFINED,
)
def calibrated_cka_metric(first: LayerView, second: LayerView) -> dict[str, Tensor]:
    """Linear CKA with the previous layer, rescaled so that 0 is the 95 % quantile of chance.

    Over a split on the fixed subset; further `cka`, `threshold` and `p`. A small p says that the
    layers have something in common, not that they have much: neighbouring layers nearly always do.
    """
    return _calibrated(first.activations, second.activations, first.sample_ids)


def _calibrated(x: Tensor, y: Tensor, sample_ids: Tensor) -> dict[str, Tensor]:
    n = len(x)
    if n < _LEAST:
        raise UndefinedError(f"at least {_LEAST} samples are needed, there are {n}")
    seeded = torch.Generator().manual_seed(0)
    circle = sample_ids.argsort()[torch.randperm(n, generator=seeded).to(sample_ids.device)]
    values = _shifted_products(*(_kernel(rescaled(side)[circle]) for side in (x, y)))
    score = values[0]
    threshold = values.sort().values[n - n // _LEAST - 1]
    room = torch.where(threshold < 1 - _TIE, 1 - threshold, torch.nan)
    return {
        "": (score - threshold) / room,
        "cka": score,
        "threshold": threshold,
        "p": torch.where(
            score.isnan(), torch.nan, (values >= score - _TIE).to(values.dtype).mean()
        ),
    }


def _kernel(activations: Tensor) -> Tensor:
    """Return the Gram matrix (n, n) of which the debiased CKA is a plain inner product.

    That is the U-centred one of Székely & Rizzo 2014, of Frobenius norm 1: its diagonal is 0, and
    so are the sums of its rows.
    """
    rows = centred(activations)
    n = len(rows)
    gram = (rows @ rows.T).fill_diagonal_(0)
    size = torch.linalg.matrix_norm(gram)
    sums = gram.sum(dim=1) / (n - 2)
    kernel = gram.sub_(sums - sums.sum() / (n - 1)).sub_(sums[:, None]).fill_diagonal_(0)
    norm = torch.linalg.matrix_norm(kernel)
    is_rounding = norm <= 100 * torch.finfo(norm.dtype).eps * size
    return kernel.div_(torch.where(is_rounding, torch.nan, norm))


def _shifted_products(a: Tensor, b: Tensor) -> Tensor:
    """Return Σ_ij a[i, j] b[i+k, j+k] for k = 0, …, n-1, (n,), indices taken modulo n.

    A diagonal of either, the entries of one distance j - i along the circle, is a vector of n, and
    each pair of diagonals a circular correlation: n² log n operations by Fourier transforms, where
    n pairings one by one would take n³. As both are symmetric, half of the diagonals do.
    """
    n, half = len(a), len(a) // 2 + 1
    f, g = (
        torch.fft.rfft(torch.cat([m, m[:, :half]], dim=1).as_strided((half, n), (1, n + half + 1)))
        for m in (a, b)
    )
    weights = f.new_full((half,), 2)
    weights[0] = 1
    weights[-1] = 2 - (n + 1) % 2  # with n even, the diagonal n/2 is its own mirror image
    products: Tensor = torch.fft.irfft(weights @ f.conj().mul_(g), n=n)
    return products
