"""What a run directory says about its metrics, so that whoever reads its values needs no plugin."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import attrs

from cmp_core.runs.json_file import parse_object

Question = Literal["predictive", "compressing", "different"]
Evidence = Literal["rises", "falls", "similarity"]


@attrs.frozen
class MetricInfo:
    """A measured metric in words.

    Attributes:
        label: under which its values are logged; further values append `_` and a name.
        metric: its registered name.
        summary: one sentence.
        unit: of the headline value; empty for a pure number.
        question: the research question that it helps to answer, or none.
        evidence: how it takes part in the verdict, see `MetricDefinition`, or none.
        margin: the smallest effect that matters, where it is not the usual one of its evidence.
        bounds: smallest and largest possible value.
        neighbour: which neighbour of the layer the value is about as well, or none.
        comparable: whether values of different models are on one scale.
        options: those that were given; the others have their defaults.
    """

    label: str
    metric: str
    summary: str = ""
    unit: str = ""
    question: Question | None = None
    evidence: Evidence | None = None
    margin: float | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)
    neighbour: Literal["previous", "next"] | None = None
    comparable: bool = False
    options: Mapping[str, Any] = attrs.field(factory=dict)


def owner_of(value: str, labels: Iterable[str]) -> str | None:
    """Return the label of the metric that a value is of, itself or with a name appended, or none.

    >>> owner_of("ridge_r2_half", ["ridge", "ridge_r2"]), owner_of("margin", ["ridge"])
    ('ridge_r2', None)
    """
    owners = [label for label in labels if value == label or value.startswith(f"{label}_")]
    return max(owners, key=len, default=None)


def is_fraction(unit: str) -> bool:
    """Return whether values are shares of something, which are on one scale everywhere.

    >>> is_fraction("fraction of variance"), is_fraction("nats")
    (True, False)
    """
    return unit.split(" ")[0] == "fraction"


def is_margin(value: object, evidence: Evidence | None, unit: str) -> bool:
    """Return whether a value is a smallest effect that matters: above 0, and of shares below 1.

    >>> is_margin(0.02, "rises", "fraction"), is_margin(2, "rises", "fraction")
    (True, False)
    >>> is_margin(1.5, "rises", "nats"), is_margin(1.5, "falls", "nats")
    (True, False)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    is_share = evidence != "rises" or is_fraction(unit)
    return 0 < value < (1 if is_share else math.inf)


def dump_metric_info(facts: Iterable[MetricInfo]) -> str:
    """Return the facts as the text of `metrics.json`: strict JSON, null for infinity.

    >>> facts = (MetricInfo("margin", "margin", bounds=(-2, math.inf)),)
    >>> load_metric_info(dump_metric_info(facts))["margin"] == facts[0]
    True
    """
    content = {fact.label: metric_info_fields(fact) for fact in facts}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def metric_info_fields(fact: MetricInfo) -> dict[str, Any]:
    """Return what `metrics.json` says under a label."""
    fields = attrs.asdict(fact, filter=lambda field, _: field.name != "label")
    return fields | {"bounds": [x if math.isfinite(x) else None for x in fact.bounds]}


def load_metric_info(text: str) -> dict[str, MetricInfo]:
    """Return the facts of a `metrics.json` by label; unknown fields are left for later versions.

    Raises:
        ValueError: the text is not such a file.
    """
    return as_metric_info(parse_object(text))


def as_metric_info(content: Mapping[str, Any]) -> dict[str, MetricInfo]:
    """Return facts by label from the content of a `metrics.json`.

    Raises:
        ValueError: it is not such content.
    """
    known = {field.name for field in attrs.fields(MetricInfo)}
    facts = {}
    try:
        for label, fields in content.items():
            low, high = fields.get("bounds", (None, None))
            bounds = (-math.inf if low is None else low, math.inf if high is None else high)
            kept = {name: value for name, value in fields.items() if name in known}
            if "comparable" not in kept:  # earlier versions have not stored it
                unit, evidence = fields.get("unit", ""), fields.get("evidence")
                kept["comparable"] = is_fraction(str(unit)) or evidence is not None
            facts[label] = MetricInfo(label=label, **kept | {"bounds": bounds})
    except (AttributeError, TypeError) as error:
        raise ValueError(f"expected {{label: {{metric: …}}}}: {error}") from error
    for fact in facts.values():
        _check(fact)
    return facts


def _check(facts: MetricInfo) -> None:
    expected = {
        "metric": ("a text", isinstance(facts.metric, str)),
        "summary": ("a text", isinstance(facts.summary, str)),
        "unit": ("a text", isinstance(facts.unit, str)),
        "question": _one_of(facts.question, *get_args(Question), None),
        "evidence": _one_of(facts.evidence, *get_args(Evidence), None),
        "margin": (
            "a number above 0, of shares below 1",
            facts.margin is None or is_margin(facts.margin, facts.evidence, facts.unit),
        ),
        "bounds": ("numbers", all(isinstance(bound, (int, float)) for bound in facts.bounds)),
        "neighbour": _one_of(facts.neighbour, "previous", "next", None),
        "comparable": ("true or false", isinstance(facts.comparable, bool)),
        "options": ("{name: value}", isinstance(facts.options, Mapping)),
    }
    for name, (what, is_right) in expected.items():
        if not is_right:
            found = json.dumps(getattr(facts, name))
            raise ValueError(f"{facts.label}.{name}: expected {what}, got {found}")


def _one_of(value: Any, *known: Any) -> tuple[str, bool]:
    return f"one of {', '.join(map(json.dumps, known))}", value in known
