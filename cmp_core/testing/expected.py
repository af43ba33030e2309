"""Checks that are expected to fail, each with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cmp_core.errors import UsageError, unknown
from cmp_core.testing.check import Check


def known_failures(checks: Sequence[Check], expected: Mapping[str, str]) -> dict[int, str]:
    """Return which checks are expected to fail, by their place among all, each with the reason.

    Args:
        checks: all of them.
        expected: reasons by the name of a check, which stands for that of every subject, or by
            `subject: name`.

    Raises:
        UsageError: no check has a name, or a reason is empty.
    """
    names = {name for check in checks for name in (check.name, str(check))}
    for name, reason in expected.items():
        if name not in names:
            raise UsageError(f"expected to fail: {unknown('check', name, names)}")
        if not reason.strip():
            raise UsageError(f"expected to fail: '{name}' needs a reason, in words")
    reasons = {
        place: expected.get(str(check), expected.get(check.name))
        for place, check in enumerate(checks)
    }
    return {place: reason for place, reason in reasons.items() if reason is not None}
