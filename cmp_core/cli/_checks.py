"""What `cmp plugins check` runs and prints."""

from __future__ import annotations

import io
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs
import torch
from rich.console import Console

from cmp_core import workflow
from cmp_core.config.load import load_config
from cmp_core.console import say, track
from cmp_core.errors import UsageError, text_of
from cmp_core.plugins.discovery import BLOCK
from cmp_core.plugins.loader import load_plugins
from cmp_core.testing import Check, checks_of
from cmp_core.testing.expected import known_failures
from cmp_core.text import type_name

_SELECTED_BY = {"dataset": "dataset", "model": "model", "learning rule": "learning_rule"}
"""Kinds that a key of the configuration selects."""

_SMALL: Mapping[str, object] = {
    "N": 16,
    "layers": 2,
    "epochs": 1,
    "batch_size": 256,
    "device": "cpu",
    "metrics": [],
    "plots": [],
    "snapshots": None,
    "on_plugin_error": "raise",
}
"""A run that a plugin must get through; what it registers itself is added to metrics and plots."""

_CAUSES = 5
"""How far the cause of a failure is followed."""

_EVENTS = (
    "example_event and damaged_event are in cmp_core.testing; unless told otherwise they have 50 "
    "samples of 3 classes, and layers of 6 and 5 units"
)


@attrs.frozen
class _Subject:
    """A plugin that is checked.

    Attributes:
        name, origin: of the plugin.
        source: its file, none where it has none.
        checks: that apply to what it registers.
    """

    name: str
    origin: str
    source: str | None
    checks: Sequence[Check]


def check_plugins(specs: Sequence[str], expected: Mapping[str, str] | None = None) -> int:
    """Check what some plugins register, print what failed, and return the exit code.

    Args:
        specs: the plugins, as `-p` takes them.
        expected: reasons by the name of a check that is expected to fail.

    Raises:
        UsageError: a plugin cannot be loaded, or no check has a name that is expected to fail.
    """
    torch.set_num_threads(1)  # the inputs are tiny, and threads that wait for each other are slow
    subjects = [_subject(spec) for spec in specs]
    checks = [check for subject in subjects for check in subject.checks]
    reasons = known_failures(checks, expected or {})
    is_whole, first = True, 0
    for subject in subjects:
        places = range(first, first + len(subject.checks))
        is_whole &= _check(subject, [reasons.get(place) for place in places])
        first = places.stop
    return 0 if is_whole else 1


def _subject(spec: str) -> _Subject:
    if spec.startswith(BLOCK):
        raise UsageError(f"{spec} leaves a plugin out: there is nothing to check")
    loaded = load_plugins([spec])
    (name,) = loaded.named
    entries = [(kind, what, entry.factory) for kind, what, entry in loaded.registry.of(name)]
    checks = [
        check
        for kind, _, factory in entries
        if kind in ("metric", "plot")
        for check in checks_of(factory)
    ]
    checks += _runs(spec, name, [(kind, what) for kind, what, _ in entries])
    source = getattr(loaded.manager.get_plugin(name), "__file__", None)
    return _Subject(name, loaded.origins[name], source, checks)


def _check(subject: _Subject, reasons: Sequence[str | None]) -> bool:
    """Run the checks of a plugin, print what came out, and return whether all is as expected.

    Args:
        subject: the plugin.
        reasons: for each check why it is expected to fail, or none.
    """
    checks = subject.checks
    outcomes = [(check, _outcome(check)) for check in track(checks, "checking")]
    told = list(zip(outcomes, reasons, strict=True))
    failed = [(check, error) for (check, error), why in told if error is not None and why is None]
    known = [(check, why) for (check, error), why in told if error is not None and why is not None]
    stale = [(check, why) for (check, error), why in told if error is None and why is not None]
    passed = f"{len(checks) - len(failed) - len(known)} of {len(checks)} checks passed"
    also = f", {len(known)} failed as expected" if known else ""
    say(f"{subject.name} ({subject.origin}): {passed}{also}")
    for check, why in known:
        say(f"expected to fail: {check} ({why})")
    for check, why in stale:
        say(f"\nFAILED {check}\n  it passes, and was expected to fail: {why}")
    causes: dict[tuple[str, ...], list[Check]] = {}
    for check, error in failed:
        causes.setdefault(tuple(_explained(error, subject.source)), []).append(check)
    for lines, of_it in causes.items():
        say("")
        for check in of_it:
            say(f"FAILED {check}")
        for line in (*lines, *([f"tried on {of_it[0].tried}"] if of_it[0].tried else ())):
            say(f"  {line}")
    if any("_event(" in check.tried for check, _ in failed):
        say(f"\n{_EVENTS}")
    return not failed and not stale


def _outcome(check: Check) -> AssertionError | None:
    try:
        check()
    except AssertionError as error:
        return error
    return None


def _runs(spec: str, name: str, entries: Sequence[tuple[str, str]]) -> Iterator[Check]:
    """Yield a short run for everything that takes a run of its own, or one for all."""
    own = [(_SELECTED_BY[kind], what) for kind, what in entries if kind in _SELECTED_BY]
    for key, what in own or [("dataset", "digits")]:
        run = partial(_run, spec, **{key: what})
        yield Check(name, "takes part in a run of one epoch", run, f"cmp run --set {key}={what}")


def _run(spec: str, **settings: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(None, (), (spec,), **{**_SMALL, **settings, "out": folder})
        workflow.run(config, console=Console(file=io.StringIO()))


def _explained(error: BaseException, source: str | None) -> Iterator[str]:
    """Yield what went wrong, and where in the plugin's file."""
    cause: BaseException = error
    for _ in range(_CAUSES):
        cause = cause.__cause__ or cause
    kind = "" if isinstance(cause, AssertionError) else f"{type_name(cause)}: "
    yield from f"{kind}{text_of(cause)}".splitlines()
    frames = traceback.extract_tb(cause.__traceback__)
    for frame in [frame for frame in frames if frame.filename == source][-1:]:
        yield f"in {Path(frame.filename).name}, line {frame.lineno}: {frame.line}"
