"""Answers and numbers in words, for the report and the last screen."""

from __future__ import annotations

import math
import re

from cmp_core.analysis.comparison import Difference
from cmp_core.analysis.crossed import LEVEL, Estimate
from cmp_core.analysis.evidence import MetricEvidence
from cmp_core.analysis.questions import Answer, Finding, Step
from cmp_core.text import plural


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


def within(value: float, half_width: float | None) -> str:
    """Return a number and half of the width of its 95 % interval, if it has one.

    >>> within(0.96231, 0.00194), within(-267.54, 0.652), within(35120.0, 448.0)
    ('0.9623 ± 0.0019', '−267.54 ± 0.65', '35120 ± 448')
    >>> within(0.5, None), within(1.0, 0.0), within(0.5, 2e-12)
    ('0.5', '1', '0.5 ± 2e−12')
    >>> within(0.999999997, 1.4e-9)
    '1 ± 1.4e−09'
    """
    if half_width is None or not (math.isfinite(value) and 0 < half_width < math.inf):
        return number(value, 4)
    digits = max(0, 1 - math.floor(math.log10(half_width)))
    if digits > 6:  # an exponent reads better than so many zeros
        return f"{number(value, 4)} ± {number(half_width, 2)}"
    return f"{value:.{digits}f} ± {half_width:.{digits}f}".replace("-", "−")


def estimate(found: Estimate | None) -> str:
    """Return a value with half of its 95 % interval, see `within`; `–` where there is none."""
    return "–" if found is None else within(found.effect, found.half_width)


def difference(found: Difference | None) -> str:
    """Return a difference with its sign and half of its 95 % interval, and a star where p < .05.

    For example `−0.0136 ± 0.0047*`; of fractions in points, `−1.36 ± 0.47*`. Empty for none.
    """
    if found is None:
        return ""
    scale = 100 if found.unit == "fraction" else 1
    text = within(scale * found.estimate.effect, scale * found.estimate.half_width)
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


def effect(item: MetricEvidence, found: Estimate | None) -> str:
    """Return an effect in the units that people think in, such as `+1.9 points`; `–` for none."""
    if found is None or not math.isfinite(found.effect):
        return "–"
    return f"{_written(item, found)[0]}{_unit(item)}"


def interval(item: MetricEvidence, found: Estimate | None) -> str:
    """Return the 95 % interval of an effect, in the same units; `–` where there is none."""
    if found is None or not math.isfinite(found.half_width):
        return "–"
    _, low, high = _written(item, found)
    return f"{low} to {high}{_unit(item)}"


def estimated(item: MetricEvidence, found: Estimate) -> str:
    """Return an effect with its 95 % interval, if it has one: `+1.9 (+1.1 to +2.7) points`."""
    if not math.isfinite(found.half_width):
        return effect(item, found)
    middle, low, high = _written(item, found)
    return f"{middle} ({low} to {high}){_unit(item)}"


def _written(item: MetricEvidence, found: Estimate) -> tuple[str, str, str]:
    """Return an effect and the ends of its interval, with two digits of half of its width.

    There are more where an end would not tell on which side of 0 or of the margin it is.
    """
    low, high = sorted(_shown(item, end) for end in found.interval)
    shown = _shown(item, found.effect), low, high
    half = (high - low) / 2
    if not 0 < half < math.inf or max(map(abs, shown)) >= 1e6:
        digits = 1 if item.direction == "rises" and item.info.unit == "fraction" else None
        told, first, second = (_signed(x, digits) for x in shown)
        return told, first, second
    digits = max(0, 1 - math.floor(math.log10(half)))
    references = 0.0, _shown(item, item.margin)
    while digits < 9 and any(
        _side(round(end, digits), x) != _side(end, x) for end in (low, high) for x in references
    ):
        digits += 1
    told, first, second = (_signed(x, digits) for x in shown)
    return told, first, second


def _side(value: float, of: float) -> int:
    return (value > of) - (value < of)


def _shown(item: MetricEvidence, value: float) -> float:
    """Return an effect as it is shown: fractions in points, falls as a change in percent."""
    if item.direction == "falls":
        return 100 * math.expm1(min(-value, 700.0))  # beyond e^700 a share is no float any more
    return 100 * value if item.direction == "rises" and item.info.unit == "fraction" else value


def _unit(item: MetricEvidence) -> str:
    if item.direction == "falls":
        return " %"
    if item.direction == "similarity" or not item.info.unit:
        return ""
    return " points" if item.info.unit == "fraction" else f" {item.info.unit}"


def _signed(value: float, digits: int | None) -> str:
    """Return a number with its sign, of so many decimals or of two digits."""
    if digits is None:
        text = number(value, 2)
    else:
        text = f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")
    return text if text.startswith("−") else f"+{text}"


def margin(item: MetricEvidence) -> str:
    """Return the smallest effect that matters, as people say it, such as `1 point`."""
    if item.direction == "falls":
        return f"a fall of {number(-_shown(item, item.margin), 2)} %"
    if item.direction == "rises" and item.info.unit == "fraction":
        points = 100 * item.margin
        return f"{number(points, 2)} {plural('point', points)}"
    unit = item.info.unit if item.direction == "rises" else ""
    return f"{number(item.margin, 2)} {unit}".rstrip()


def margins(answer: Answer) -> str:
    """Return the smallest effects that matter, such as `1 point is the smallest that matters`."""
    told = {item.info.label: margin(item) for item in answer.evidence}
    if len(set(told.values())) == 1:
        return f"{next(iter(told.values()))} is the smallest that matters"
    each = ", ".join(f"of {label} {text}" for label, text in told.items())
    return f"the smallest that matters is {each}"


def finding(found: Finding) -> str:
    """Return what a metric says, in a few words.

    For example `probe_accuracy +1.2 (+0.9 to +1.5) points, learned +3.1 (+2.6 to +3.6) points`, or
    of several seeds `probe_accuracy yes: +1.2 (+1.1 to +1.3) points, …`. Of similarities each pair
    is told, on which the answer rests; what was learned is the mean over the pairs.
    """
    item = found.evidence
    word = f" {found.word}:" if item.is_tested else ""
    parts = [f"{item.info.label}{word} {estimated(item, item.effect)}"]
    if item.direction == "similarity":
        pairs = ", ".join(_pair(item, step) for step in found.steps)
        parts = [f"{item.info.label}{word or ':'} {pairs}"]
    if item.learned is not None:
        mean = "mean " if item.direction == "similarity" and len(item.places) > 1 else ""
        parts.append(f"{mean}learned {estimated(item, item.learned)}")
    told = ", ".join(parts)
    if found.undecided is not None and not found.is_undecided_itself:
        told += f"; {undecided(found)}"
    return f"{told}; nothing is gained after {found.knee}" if found.knee else told


def undecided(found: Finding) -> str:
    """Return which effect is not told from the margin, of a finding that is inconclusive.

    For example `layer_1 above layer_0 is not decided: +0.5 (−2.0 to +3.1) points`.
    """
    step = found.undecided
    assert step is not None  # the finding is inconclusive
    told = estimated(found.evidence, step.estimate)
    return f"{step.second} above {step.first} is not decided: {told}"


def _pair(item: MetricEvidence, step: Step) -> str:
    """Return the difference of two neighbouring layers, and what it says."""
    word = f" {step.word}" if item.is_tested else ""
    return f"{_between(step)}{word} {estimated(item, step.estimate)}"


def _between(step: Step) -> str:
    """Return the names of two layers, such as `0–1` for `layer_0` and `layer_1`."""
    names = step.first, step.second
    usual = "layer_"
    if all(name.startswith(usual) for name in names):
        names = step.first.removeprefix(usual), step.second.removeprefix(usual)
    return "–".join(names)


def sentence(answer: Answer) -> str:
    """Return the findings of an answer in a line; why there is none where there is none."""
    if not answer.findings:
        return answer.notes[-1]
    return "; ".join(map(finding, answer.findings))


def verdict(answer: Answer) -> str:
    """Return the word of an answer, or why there is none."""
    if not answer.findings:
        return "no evidence"
    return answer.word or ("another program's metrics" if answer.is_foreign else "one seed")


def unbroken(text: str) -> str:
    r"""Return a sentence with no-break spaces where a line may not end.

    Such are those beside `±`, after a number or an interval, so that its unit stays with it, within
    the brackets of an interval and before them, and in a p-value.

    >>> told = unbroken("margin yes: +1.2 (+0.9 to +1.5) points, p < .001")
    >>> told.replace("\N{NO-BREAK SPACE}", "_")
    'margin yes: +1.2_(+0.9_to_+1.5)_points, p_<_.001'
    """
    kept = _TOGETHER.sub(lambda found: found[0].replace(" ", _NO_BREAK), text)
    return _AFTER_NUMBER.sub(_NO_BREAK, kept)


_NO_BREAK = "\N{NO-BREAK SPACE}"
_TOGETHER = re.compile(r" \([+−][^()]*\)( [^\s(]+)?| ± \S+|\bp (< )?\.\d+")
_AFTER_NUMBER = re.compile(r"(?<=\d) (?=[^\s–(])")
