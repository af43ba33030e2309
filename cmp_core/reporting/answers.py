"""The answers as strict JSON: the same words and numbers that the screen and the page have."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from cmp_core.analysis.comparison import Comparison
from cmp_core.analysis.crossed import Estimate
from cmp_core.analysis.questions import Answer, Finding


def dump_answers(
    answers: Mapping[str, Sequence[Answer]], comparisons: Sequence[Comparison] = ()
) -> str:
    """Return the answers of each group of replicates, by its label, as JSON.

    Effects are in the units of `MetricEvidence.effect`, null where there is none. A group that is
    compared with the first has its `differences` as well, in the metrics' units.
    """
    content: dict[str, dict[str, Any]] = {
        label: {answer.question: _answer(answer) for answer in own}
        for label, own in answers.items()
    }
    for comparison in comparisons:
        content[comparison.second]["differences"] = _comparison(comparison)
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "title": answer.title,
        "word": answer.word,
        "seeds": answer.seeds,
        "p": _number(answer.p),
        "p_adjusted": _number(answer.adjusted_p),
        "evidence": [_finding(finding) for finding in answer.findings],
        "pairs": [
            {"first": first, "second": second, "word": None if answer.is_descriptive else word}
            for first, second, word in answer.pairs
        ],
        "kappas": [
            {"first": first, "second": second, "kappa": _number(value)}
            for first, second, value in answer.kappas
        ],
        "notes": list(answer.notes),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    item = finding.evidence
    is_tested = item.is_tested
    return {
        "metric": item.info.label,
        "evidence": item.direction,
        "unit": item.info.unit,
        "word": finding.word if is_tested else None,
        "margin": item.margin,
        "p": _number(finding.p) if is_tested else None,
        "phase": item.phase,
        "n": item.n,
        "n_fit": item.n_fit,
        "layers": list(item.places),
        "effect": _estimate(item.effect),
        "untrained": _estimate(item.untrained_effect),
        "learned": _estimate(item.learned),
        "nothing_gained_after": finding.knee,
        "steps": [
            {
                "first": step.first,
                "second": step.second,
                "word": step.word if is_tested else None,
                "p": _number(step.p),
                **(_estimate(step.estimate) or {}),
            }
            for step in finding.steps
        ],
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "from": comparison.first,
        "design": comparison.design,
        "rows": [
            {
                "metric": one.metric,
                "layer": one.layer,
                "unit": one.unit,
                "first": one.first,
                "second": one.second,
                "p_adjusted": _number(one.p),
                **(_estimate(one.estimate) or {}),
            }
            for one in comparison.differences
        ],
        "notes": list(comparison.notes),
    }


def _estimate(estimate: Estimate | None) -> dict[str, float | None] | None:
    if estimate is None:
        return None
    low, high = estimate.interval
    return {
        "effect": _number(estimate.effect),
        "error": _number(estimate.error),
        "low": _number(low),
        "high": _number(high),
        "freedom": _number(estimate.freedom),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
