"""An effect over seeds that are tested on the same samples, with its interval.

Runs that differ by seed alone share the test samples: the design is crossed, seeds × samples, as
readers × cases are in radiology (Obuchowski & Rockette 1995; Hillis 2007, doi:10.1002/sim.2532). A
test over the seeds alone takes the samples for all there are, and its intervals are too narrow.
"""

from __future__ import annotations

import math

import attrs
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Seeds = tuple[Floats, Floats | None]
"""Effects (S,) of S seeds, and how much each of U samples moves them (S, U), or none."""

LEVEL = 0.05
"""Intervals cover 1 - LEVEL; a difference is called one where p is below LEVEL."""


@attrs.frozen
class Estimate:
    """An effect, its standard error over seeds and samples, and t-distribution.

    Attributes:
        effect: mean over seeds.
        error: standard error; NaN where nothing tells it.
        freedom: degrees of freedom.
        seeds: how many.
        between_seeds: variance of an effect between seeds, without that of samples; NaN for one.
        between_samples: variance of the mean effect that stems from the samples, which more seeds
            leave as it is; NaN where samples are not known.
    """

    effect: float
    error: float = math.nan
    freedom: float = math.nan
    seeds: int = 1
    between_seeds: float = math.nan
    between_samples: float = math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval; NaN where there is none."""
        half = self.half_width
        return self.effect - half, self.effect + half

    @property
    def half_width(self) -> float:
        """Half of the width of the 95 % interval."""
        return _quantile(self.freedom) * self.error

    def p(self, value: float) -> float:
        """Return the two-sided p-value of the effect being `value`; NaN without an interval.

        Below .05 exactly where the interval does not hold the value.
        """
        from scipy.special import stdtr

        if not self.error > 0:
            return math.nan if math.isnan(self.error) else float(self.effect == value)
        t = abs(self.effect - value) / self.error
        return float(2 * stdtr(min(self.freedom, _MOST_FREEDOM), -t))

    def half_width_of(self, seeds: int, samples: float = 1.0) -> float:
        """Return about the half-width with as many seeds, and a multiple of the samples."""
        variance = self.between_seeds / seeds + self.between_samples / samples
        freedom = max(1.0, seeds - 1.0) if self.between_samples < variance / 2 else 60.0
        return _quantile(freedom) * math.sqrt(variance)


_MOST_FREEDOM = 1e12
"""Of more, Student's t is the normal distribution to the last digits; not all SciPys take more."""


def _quantile(freedom: float) -> float:
    from scipy.special import stdtrit  # importing scipy.stats takes half of a second

    if not freedom > 0:
        return math.nan
    return float(stdtrit(min(freedom, _MOST_FREEDOM), 1 - LEVEL / 2))


def estimate(effects: Floats, influences: Floats | None) -> Estimate:
    """Return the mean of effects (S,) of S seeds, with its error.

    With the influences dₛᵢ of U samples (or groups of samples) on the effect of each seed, (S, U),
    and Dₛᵢ = effectₛ + dₛᵢ, the mean squares of seeds, of samples and of the rest are
    MS_S = U varₛ(D̄ₛ), MS_n = S varᵢ(D̄ᵢ) and MS_e, and

    - var = [MS_S + max(MS_n - MS_e, 0)] / (S U);
    - 1/freedom = [MS_S²/(S-1) + MS_n²/(U-1) + MS_e²/((S-1)(U-1))] / [MS_S + max(MS_n - MS_e, 0)]²,
      of which the last two terms are left out where MS_n ≤ MS_e; at least S - 1 (Satterthwaite's
      approximation, of which Hillis has the first term).

    Effects that tie, as counts of few samples may, tell no MS_S: it is then taken to be MS_e, which
    it exceeds in expectation.

    Of one seed the error is that of the samples, sd(d)/√U with U - 1 degrees of freedom: it says
    nothing about other seeds. Without influences it is that of the seeds, whose samples may differ;
    none where they tie.

    >>> found = estimate(np.array([1.0, 2.0, 3.0]), None)
    >>> found.effect, round(found.error, 4), found.freedom  # 1/√3
    (2.0, 0.5774, 2)
    """
    seeds, effect = len(effects), float(effects.mean())
    if influences is None:
        if seeds < 2 or _is_tied(effects):
            return Estimate(effect, seeds=seeds)
        variance = float(effects.var(ddof=1))
        return Estimate(effect, math.sqrt(variance / seeds), seeds - 1, seeds, variance, 0.0)
    by_sample, ms_rest = _by_sample(influences)
    units = len(by_sample)
    ms_samples = seeds * float(by_sample.var(ddof=1))
    if seeds < 2:
        variance = ms_samples / units
        return Estimate(effect, math.sqrt(variance), units - 1, 1, math.nan, variance)
    ms_seeds = ms_rest if _is_tied(effects) else units * float(effects.var(ddof=1))
    of_samples = max(ms_samples - ms_rest, 0.0)
    total = ms_seeds + of_samples
    uncertainty = ms_seeds**2 / (seeds - 1)
    if of_samples:
        uncertainty += ms_samples**2 / (units - 1) + ms_rest**2 / ((seeds - 1) * (units - 1))
    return Estimate(
        effect=effect,
        error=math.sqrt(total / (seeds * units)),
        freedom=max(seeds - 1, total**2 / uncertainty) if uncertainty else math.inf,
        seeds=seeds,
        between_seeds=ms_seeds / units,
        between_samples=of_samples / (seeds * units),
    )


def estimate_difference(first: Seeds, second: Seeds) -> Estimate:
    """Return the mean effect of the second runs minus that of the first, whose seeds are others.

    Args:
        first, second: effects (S,) of two seeds or more, and the influences (S, U) of the samples
            that both are tested on; influences count if both have them.

    With S and T seeds, MS_S, MS_e and MS_T, MS_f the mean squares of the sides, as in `estimate`,
    and d̄ᵢ the difference of the mean influences of sample i,

    - var = MS_S/(S U) + MS_T/(T U) + max(varᵢ(d̄ᵢ)/U - MS_e/(S U) - MS_f/(T U), 0);
    - freedom by Satterthwaite's approximation over these terms, at least min(S, T) - 1.

    Without influences that is Welch's t-test over seeds; no error where those of both sides tie.

    >>> found = estimate_difference((np.array([1.0, 3.0]), None), (np.array([2.0, 6.0]), None))
    >>> found.effect, found.error, round(found.freedom, 4)  # √(2/2 + 8/2); 5²/(1² + 4²)
    (2.0, 2.23606797749979, 1.4706)
    """
    (a, of_a), (b, of_b) = first, second
    effect, fewest = float(b.mean() - a.mean()), min(len(a), len(b))
    if fewest < 2 or ((of_a is None or of_b is None) and _is_tied(a) and _is_tied(b)):
        return Estimate(effect, seeds=fewest)
    terms = [(float(side.var(ddof=1)) / len(side), len(side) - 1) for side in (a, b)]
    total = sum(term for term, _ in terms)
    if of_a is not None and of_b is not None:
        (mean_a, rest_a), (mean_b, rest_b) = _by_sample(of_a), _by_sample(of_b)
        units = len(mean_a)
        rests = [
            (rest / (len(side) * units), (len(side) - 1) * (units - 1))
            for side, rest in ((a, rest_a), (b, rest_b))
        ]
        terms = [
            (rest if _is_tied(side) else term, freedom)
            for side, (term, freedom), (rest, _) in zip((a, b), terms, rests, strict=True)
        ]
        both = float((mean_b - mean_a).var(ddof=1)) / units
        of_samples = max(both - sum(rest for rest, _ in rests), 0.0)
        total = sum(term for term, _ in terms) + of_samples
        if of_samples:
            terms += [(both, units - 1), *rests]
    uncertainty = sum(term**2 / freedom for term, freedom in terms)
    freedom = max(fewest - 1, total**2 / uncertainty) if uncertainty else math.inf
    return Estimate(effect, math.sqrt(total), freedom, fewest)


def _is_tied(effects: Floats) -> bool:
    """Return whether effects are the same number, which tells nothing about their variance."""
    return bool(np.ptp(effects) <= 1e-9 * np.abs(effects).max())


def _by_sample(influences: Floats) -> tuple[Floats, float]:
    """Return the mean influence of each sample (U,), and the mean square of the rest; NaN for one.

    Args:
        influences: (S, U).
    """
    centred = influences - influences.mean(axis=1, keepdims=True)
    by_sample = centred.mean(axis=0)
    seeds, units = centred.shape
    rest = float(((centred - by_sample) ** 2).sum())
    return by_sample, rest / ((seeds - 1) * (units - 1)) if seeds > 1 else math.nan
