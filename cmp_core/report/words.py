"""Answers and numbers in words, for the report and the last screen."""

from __future__ import annotations

import math

from cmp_core.analysis.comparison import Difference
from cmp_core.analysis.crossed import LEVEL, Estimate
from cmp_core.analysis.evidence import MetricEvidence
from cmp_core.analysis.questions import Answer, Finding, Step


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as people write it, `–` where there is none.

    >>> number(0.98765), number(-840.25), number(1.5e-7), number(99.6, 2), number(float("nan"))
    ('0.988', '−840', '1.5e−07', '100', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value + 0.0:.{digits}g}"  # + 0.0: no sign on zero
    if 100 <= abs(float(text)) < 1e6:
        text = f"{value:.0f}"
    return text.replace("-", "−")


def with_error(value: float, error: float | None) -> str:
    """Return a number and, in brackets, its standard error in units of the last digits.

    >>> with_error(0.96231, 0.00194), with_error(-267.54, 0.652), with_error(35120.0, 448.0)
    ('0.9623(19)', '−267.54(65)', '35120(448)')
    >>> with_error(0.5, None), with_error(1.0, 0.0)
    ('0.5', '1')
    """
    if error is None or not (math.isfinite(value) and 0 < error < math.inf):
        return number(value, 4)
    digits = max(0, 1 - math.floor(math.log10(error)))
    if digits > 9:  # an exponent reads better than so many zeros
        return f"{number(value, 4)} ± {number(error, 2)}"
    return f"{value:.{digits}f}({error * 10**digits:.0f})".replace("-", "−")


def estimate(found: Estimate | None) -> str:
    """Return a value and, in brackets, its standard error; `–` where there is none."""
    return "–" if found is None else with_error(found.effect, found.error)


def difference(found: Difference | None) -> str:
    """Return a difference with its sign and standard error, and a star where p < .05.

    For example `−0.0136(47)*`; of fractions in points, `−1.36(47)*`. Empty for none.
    """
    if found is None:
        return ""
    scale = 100 if found.unit == "fraction" else 1
    text = with_error(scale * found.estimate.effect, scale * found.estimate.error)
    sign = "" if text.startswith("−") or not found.estimate.effect else "+"
    return f"{sign}{text}{'*' if found.p < LEVEL else ''}"


def p_value(p: float) -> str:
    """Return a p-value; of very small ones only how small.

    >>> p_value(0.0412), p_value(1e-9), p_value(0.9999)
    ('.041', '< .001', '1')
    """
    if not math.isfinite(p):
        return "–"
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0") if p < 0.9995 else "1"


def effect(item: MetricEvidence, value: float, half_width: float = 1.0) -> str:
    """Return an effect, as `MetricEvidence.effect` has it, in the units that people think in.

    A narrow interval gets one more digit, or its ends would not tell on which side of 0 they are.
    """
    if not math.isfinite(value):
        return "–"
    if item.direction == "rises":
        if item.info.unit == "fraction":
            digits = 2 if half_width < 0.005 else 1
            return f"{round(100 * value, digits) + 0.0:+.{digits}f} points".replace("-", "−")
        return f"{_signed(value)} {item.info.unit}".rstrip()
    if item.direction == "falls":
        return f"{_signed(_percent(value))} %"
    return _signed(value)


def margin(item: MetricEvidence) -> str:
    """Return the smallest effect that matters, as people say it, such as `1 point`."""
    if item.direction == "falls":
        return f"a fall of {number(-_percent(item.margin), 2)} %"
    if item.direction == "rises" and item.info.unit == "fraction":
        points = 100 * item.margin
        return f"{number(points, 2)} point{'' if points == 1 else 's'}"
    unit = item.info.unit if item.direction == "rises" else ""
    return f"{number(item.margin, 2)} {unit}".rstrip()


def margins(answer: Answer) -> str:
    """Return the smallest effects that matter, such as `1 point is the smallest that matters`."""
    told = {item.info.label: margin(item) for item in answer.evidence}
    if len(set(told.values())) == 1:
        return f"{next(iter(told.values()))} is the smallest that matters"
    each = ", ".join(f"of {label} {text}" for label, text in told.items())
    return f"the smallest that matters is {each}"


def interval(item: MetricEvidence, estimate: Estimate | None) -> str:
    """Return the 95 % interval of an effect, in the same units; `–` where there is none."""
    if estimate is None or not math.isfinite(estimate.half_width):
        return "–"
    low, high = estimate.interval
    if item.direction == "falls":
        low, high = high, low
    first, second = (effect(item, end, estimate.half_width) for end in (low, high))
    return f"{first.removesuffix(' %').removesuffix(' points')} to {second}"


def estimated(item: MetricEvidence, estimate: Estimate) -> str:
    """Return an effect with its interval; of one seed with half of its width, if it has one.

    For example `+1.9 points (+1.1 to +2.7 points)`, or `+1.9 ± 0.8 points`.
    """
    told = effect(item, estimate.effect, estimate.half_width)
    if not math.isfinite(estimate.half_width):
        return told
    if estimate.seeds > 1:
        return f"{told} ({interval(item, estimate)})"
    size, _, unit = told.partition(" ")
    half = estimate.half_width
    if item.direction == "rises" and item.info.unit == "fraction":
        half = 100 * half
    elif item.direction == "falls":
        half = (_percent(estimate.effect - half) - _percent(estimate.effect + half)) / 2
    return f"{size} ± {number(half, 2)} {unit}".rstrip()


def finding(found: Finding) -> str:
    """Return what a metric says, in a few words.

    For example `probe_accuracy +1.2 ± 0.3 points, learned +3.1 ± 0.5 points`. Of differences that
    of each pair is told, on which the answer rests; what was learned is the mean over the pairs.
    """
    item = found.evidence
    learned = ""
    if item.learned is not None:
        learned = f", learned {estimated(item, item.learned)}"
    if item.direction == "similarity":
        pairs = ", ".join(_pair(item, step) for step in found.steps)
        return f"{item.info.label} differs by {pairs}{learned}"
    knee = f"; nothing is gained after {found.knee}" if found.knee else ""
    return f"{item.info.label} {estimated(item, item.effect)}{learned}{knee}"


def _pair(item: MetricEvidence, step: Step) -> str:
    """Return the difference of two neighbouring layers, and what it says."""
    told = estimated(item, step.estimate)
    return f"{told} {step.word}" if step.estimate.seeds > 1 else told


def sentence(answer: Answer) -> str:
    """Return the findings of an answer in a line; why there is none where there is none."""
    if not answer.findings:
        return answer.notes[-1]
    return "; ".join(map(finding, answer.findings))


def verdict(answer: Answer) -> str:
    """Return the word of an answer, or why there is none."""
    return answer.word or ("one seed" if answer.findings else "no evidence")


def _percent(value: float) -> float:
    """Return a fall of the logarithm as a change in percent."""
    return 100 * math.expm1(min(-value, 700.0))  # beyond e^700 a share is no float any more


def _signed(value: float) -> str:
    text = number(value, 2)
    return text if text.startswith("−") else f"+{text}"
