"""What metrics have said of a split's reference, which is measured once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from cmp_core.events.results import MetricResult


@attrs.define(eq=False)
class MeasuredReference:
    """The results at the reference of a split whose samples are the same in every pass over it.

    The input has no neighbours, and no weights change it: what a metric says of it rests on these
    samples alone.
    """

    _results: Mapping[str, list[MetricResult]] | None = None
    _has_errors: bool = False

    def is_known(self, *, errors: bool) -> bool:
        """Return whether there are results, with standard errors where these are wanted."""
        return self._results is not None and (self._has_errors or not errors)

    def keep(
        self, answers: Mapping[str, Any], metrics: Iterable[str], layer: str, *, errors: bool
    ) -> None:
        """Keep what a pass has given for the reference, which all metrics have got through.

        Args:
            answers: of all plugins, by name.
            metrics: names of those that are metrics.
            layer: name of the reference.
            errors: whether they have standard errors.
        """
        self._has_errors = errors
        self._results = {
            name: [result for result in answers[name] if result.layer == layer]
            for name in metrics
            if name in answers
        }

    def added_to(self, answers: Mapping[str, Any], *, errors: bool) -> dict[str, Any]:
        """Return the answers of a pass without the reference, with those for it in front."""
        assert self._results is not None  # it is known
        added = dict(answers)
        for name, results in self._results.items():
            if name in answers:
                kept = [r if errors else attrs.evolve(r, influence=None) for r in results]
                added[name] = kept + answers[name]
        return added
