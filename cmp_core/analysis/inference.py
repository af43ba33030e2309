"""The statistics behind the verdicts, on plain arrays. The unit of replication is the seed.

Layers of one network are not independent, nor are its samples, so a test over layers finds trends
where there are none. What is tested here is one number per seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Verdict = Literal["yes", "no", "inconclusive"]

LEVEL = 0.05
"""Significance level of all tests; intervals cover 1 − LEVEL."""

RESAMPLES = 2000


def slope(values: Floats) -> float:
    """Return the least-squares slope of values (L,) over depth 0, 1, …, L−1.

    >>> slope(np.array([0.5, 0.7, 0.9]))
    0.2
    """
    depth = np.arange(len(values)) - (len(values) - 1) / 2
    return float(depth @ values / (depth @ depth))


@attrs.frozen
class MeanTest:
    """Whether the mean of one number per seed differs from 0.

    Attributes:
        effect: the mean.
        n: seeds.
        low, high: 95 % t-interval; NaN for one seed, or where the seeds do not vary.
        p: of the two-sided one-sample t-test, or where the seeds do not vary of the sign-flip
            test; NaN for one seed.
        p_sign_flip: of the sign-flip test, exact up to 13 seeds, which assumes symmetry only and
            cannot be below 2^(1−n); NaN for one seed.
        p_equivalence: of two one-sided tests (TOST) that the mean is within ± the margin, by t or
            where the seeds do not vary by sign flips; NaN for one seed.
        standardized: the mean over the standard deviation of the seeds (Cohen's d); NaN for one
            seed, or where they do not vary.
    """

    effect: float
    n: int
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    p_sign_flip: float = math.nan
    p_equivalence: float = math.nan
    standardized: float = math.nan


def mean_test(values: Floats, margin: float) -> MeanTest:
    """Test one number per seed, (n,), against 0 and against a margin.

    >>> result = mean_test(np.array([1.0, 2.0, 3.0]), margin=0.5)
    >>> result.effect, round(result.p, 4), result.p_sign_flip  # t = 2·√3, two degrees of freedom
    (2.0, 0.0742, 0.25)
    """
    from scipy import stats

    n, mean = len(values), float(values.mean())
    if n < 2:
        return MeanTest(mean, n)
    flips = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=2**13, rng=0
    )
    p_sign_flip = float(flips.pvalue)
    if np.ptp(values) <= 1e-9 * margin:
        # Counts of samples often tie in two or three seeds: t would be infinite, but no proof.
        inside = 0.5**n if abs(mean) < margin else 1.0
        return MeanTest(mean, n, p=p_sign_flip, p_sign_flip=p_sign_flip, p_equivalence=inside)
    test = stats.ttest_1samp(values, 0)
    interval = test.confidence_interval(1 - LEVEL)
    above = stats.ttest_1samp(values, -margin, alternative="greater")
    below = stats.ttest_1samp(values, margin, alternative="less")
    return MeanTest(
        effect=mean,
        n=n,
        low=float(interval.low),
        high=float(interval.high),
        p=float(test.pvalue),
        p_sign_flip=p_sign_flip,
        p_equivalence=float(max(above.pvalue, below.pvalue)),
        standardized=mean / float(values.std(ddof=1)),
    )


def decide(test: MeanTest, margin: float) -> Verdict:
    """Return whether an effect is there, is not there, or cannot be told.

    yes: above 0 at the 5 % level and at least the margin; no: below 0 at that level, or shown to
    be within the margin of 0. Of one seed the effect itself is compared with the margin, which
    describes this seed and says nothing about others.
    """
    if test.n < 2:
        return "yes" if test.effect >= margin else "no"
    if test.p < LEVEL and test.effect >= margin:
        return "yes"
    if test.p_equivalence < LEVEL or (test.p < LEVEL and test.effect < 0):
        return "no"
    return "inconclusive"


def agreement(verdicts: Sequence[Verdict]) -> Verdict:
    """Return what all verdicts say; without agreement, or without any, it is inconclusive.

    >>> agreement(["yes", "yes"]), agreement(["yes", "no"])
    ('yes', 'inconclusive')
    """
    return verdicts[0] if len(set(verdicts)) == 1 else "inconclusive"


def kendall_tau(values: Floats) -> float:
    """Return the mean over seeds of Kendall's τ between values (n, L) and depth, in [−1, 1].

    NaN where a seed's values are all equal.
    """
    from scipy import stats

    depth = np.arange(values.shape[1])
    taus = [stats.kendalltau(depth, row).statistic for row in values]
    return float(np.mean(taus))


def page_p(values: Floats) -> float:
    """Return the p-value of Page's L test for values (n, L) that rise with depth, one-sided.

    It takes the layers of a seed to be exchangeable under no trend; where their noise is
    correlated it finds trends too often. NaN below 2 seeds or 3 layers.

    Page 1963, doi:10.1080/01621459.1963.10500843.
    """
    from scipy import stats

    if values.shape[0] < 2 or values.shape[1] < 3:
        return math.nan
    return float(stats.page_trend_test(values).pvalue)


def bootstrap(hits: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return slopes over depth and Kendall's τ of resampled seeds and samples, (RESAMPLES,) each.

    Args:
        hits: (seeds, n, L): whether a layer is right about a sample. A resample draws seeds and,
            for all of them together, samples, with replacement.
    """
    seeds, n, layers = hits.shape
    draw = np.random.default_rng(0)
    by_sample = hits.transpose(1, 0, 2).reshape(n, seeds * layers).astype(np.float64)
    slopes, taus = np.empty(RESAMPLES), np.empty(RESAMPLES)
    depth = np.arange(layers)
    rises = np.sign(depth[None, :] - depth[:, None])
    for i in range(RESAMPLES):
        counts = np.bincount(draw.integers(n, size=n), minlength=n)
        accuracy = (counts @ by_sample / n).reshape(seeds, layers)
        chosen = accuracy[draw.integers(seeds, size=seeds)]
        slopes[i] = slope(chosen.mean(0))
        # Kendall's τ-b of each seed; equal accuracies count as half-ways.
        signs = np.sign(chosen[:, None, :] - chosen[:, :, None])
        untied = np.sqrt((signs**2).sum((1, 2)) * (layers * (layers - 1)))
        taus[i] = np.mean((signs * rises).sum((1, 2)) / np.where(untied > 0, untied, np.inf))
    return slopes, taus


def interval(resampled: Floats) -> tuple[float, float]:
    """Return the 95 % percentile interval."""
    low, high = np.quantile(resampled, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Return the samples that only the first, and only the second gets right, and the exact p.

    >>> mcnemar(np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 1], bool))
    (1, 1, 1.0)
    """
    from scipy import stats

    lost, won = int((first & ~second).sum()), int((second & ~first).sum())
    p = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    return lost, won, float(p)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979), in the same order.

    >>> [round(x, 6) for x in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)
    scaled = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(x) for x in adjusted]


def kappa(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return Cohen's κ of two layers' errors: 1 if they err on the same samples, 0 by chance.

    NaN where one of them is right about all samples, or wrong about all.

    >>> kappa(np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool))
    0.0
    """
    from sklearn.metrics import cohen_kappa_score

    if first.all() or second.all() or not first.any() or not second.any():
        return math.nan
    return float(cohen_kappa_score(first, second))
