"""The conformance kit: what every metric and every plot must hold, run against any of them.

In a test file of one's own:

    from cmp_core.testing import each_check

    @each_check(my_metric)
    def test_my_metric_conforms(check):
        check()

or anywhere `check_metric(my_metric)`, or `cmp plugins check my_metric.py`. Metrics are measured by
the engine itself, on random and on damaged activations, so the kit finds what a run would find;
plots are drawn of example runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from cmp_core.errors import UsageError
from cmp_core.testing.check import Check as Check
from cmp_core.testing.events import (
    damaged_event as damaged_event,
    example_event as example_event,
    select as select,
)
from cmp_core.testing.expected import known_failures
from cmp_core.testing.measure import (
    measure as measure,
    measure_batch as measure_batch,
    measure_split as measure_split,
)
from cmp_core.testing.metric_checks import (
    check_metric as check_metric,
    metric_checks as metric_checks,
)
from cmp_core.testing.plot_checks import check_plot as check_plot, plot_checks as plot_checks
from cmp_core.testing.runs import write_example_run as write_example_run


def checks_of(factory: Any) -> list[Check]:
    """Return the checks that apply to a metric or a plot.

    Args:
        factory: what is under `@metric` or `@plot`.

    Raises:
        UsageError: it is neither.
    """
    if hasattr(factory, "metric_definition"):
        return metric_checks(factory)
    if hasattr(factory, "plot_definition"):
        return plot_checks(factory)
    name = getattr(factory, "__name__", repr(factory))
    raise UsageError(f"'{name}' is not under @metric or @plot: there is nothing to check")


def each_check(*factories: Any, expect_fail: Mapping[str, str] | None = None) -> Any:
    """Return a pytest decorator that runs a test once for every check, as its argument `check`.

    Args:
        factories: metrics and plots, as `checks_of` takes them.
        expect_fail: reasons by the name of a check that is expected to fail; where it passes, the
            test fails (pytest's strict xfail).

    Raises:
        UsageError: pytest is not installed, or no check has a name that is expected to fail.
    """
    try:
        import pytest
    except ModuleNotFoundError as error:
        raise UsageError(
            "each_check makes tests for pytest, which is not installed: pip install pytest; "
            "cmp plugins check runs the same checks without it"
        ) from error

    fails = partial(pytest.mark.xfail, raises=AssertionError, strict=True)
    checks = [check for factory in factories for check in checks_of(factory)]
    reasons = known_failures(checks, expect_fail or {})
    cases = [
        pytest.param(check, marks=fails(reason=reasons[place]) if place in reasons else ())
        for place, check in enumerate(checks)
    ]
    return pytest.mark.parametrize("check", cases, ids=str)
