"""Answers and numbers in words, for the report and the last screen."""

from __future__ import annotations

import math

from cmp_core.analysis.questions import Answer, MetricEvidence


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


def p_value(p: float) -> str:
    """Return a p-value; of very small ones only how small.

    >>> p_value(0.0412), p_value(1e-9), p_value(0.9999)
    ('.041', '< .001', '1')
    """
    if not math.isfinite(p):
        return "–"
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0") if p < 0.9995 else "1"


def effect(item: MetricEvidence, value: float) -> str:
    """Return a change, as `MetricEvidence.changes` has it, in the units that people think in."""
    if not math.isfinite(value):
        return "–"
    if item.info.evidence == "rises":
        if item.info.unit == "fraction":
            return f"{round(100 * value, 1) + 0.0:+.1f} points".replace("-", "−")
        return f"{_signed(value)} {item.info.unit}".rstrip()
    if item.info.evidence == "falls":
        # Beyond e^700 a share is no float any more.
        return f"{_signed(100 * math.expm1(min(-value, 700.0)))} %"
    return _signed(value)


def interval(item: MetricEvidence) -> str:
    """Return the interval of a metric's effect."""
    low, high = item.test.low, item.test.high
    if not math.isfinite(low):
        return "–"
    if item.info.evidence == "falls":
        low, high = high, low
    return f"{effect(item, low)} to {effect(item, high)}"


def untrained(item: MetricEvidence) -> str:
    """Return the same of the untrained network; for similarities its mean of 1 − value."""
    if item.untrained_changes is None:
        return "–"
    mean = float(item.untrained_changes.mean())
    return number(mean, 2) if item.info.evidence == "similarity" else effect(item, mean)


def finding(item: MetricEvidence) -> str:
    """Return what a metric says, in a few words.

    For example `probe_accuracy +1.2 points`, or `linear_cka differs by 0.12 (untrained 0.05)`.
    """
    before = "" if item.untrained_changes is None else f" (untrained {untrained(item)})"
    if item.info.evidence != "similarity":
        return f"{item.info.label} {effect(item, item.test.effect)}{before}"
    differs = number(float((1 - item.values).mean()), 2)
    return f"{item.info.label} differs by {differs}{before}"


def sentence(answer: Answer) -> str:
    """Return the findings of an answer in a line; why there is none where there is none."""
    if not answer.evidence:
        return answer.notes[-1]
    return ", ".join(map(finding, answer.evidence))


def _signed(value: float) -> str:
    text = number(value, 2)
    return text if text.startswith("−") else f"+{text}"
