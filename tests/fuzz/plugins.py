"""Every plugin that misbehaves in a process of its own, and what comes of it.

    python -m tests.fuzz.plugins [NAME…]

A plugin may cost its own values alone: the command ends by itself with an exit code that says so,
names the plugin, and leaves the others' values and whole, small files.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import attrs

from tests.hostile_plugins import CHANGES, CHANGING, SANE, UNNOTICED, answering, changing, raising

LIMIT = 120
"""Seconds that a command may take."""

LARGEST = 2_000_000
"""Bytes that any file of a run, and what is printed, may have."""

_COMMAND = (
    *("-m", "cmp_core", "run", "--no-snapshots", "--metrics", "accuracy", "--plots", "[]"),
    *(x for key in ("epochs=2", "N=16", "layers=2", "device=cpu") for x in ("--set", key)),
)
_ALONE = {
    "thread": "event or threading.Thread(target=threading.Event().wait).start()",
    "closes_output": "sys.stdout.close()",
    "closes_errors": "sys.stderr.close()",
    "child": "event or __import__('multiprocessing').Process("
    "target=__import__('time').sleep, args=(1000,)).start()",
}
"""What cannot be tried within a process that goes on."""


@attrs.frozen
class Result:
    """What came of one plugin."""

    name: str
    code: int | None
    seconds: float
    problems: tuple[str, ...]


def main() -> None:
    """Try all plugins, or those that are named, and print a table."""
    texts = raising() | answering() | changing()
    texts |= {f"changes_{name}": CHANGING.format(act=act) for name, act in _ALONE.items()}
    asked = sys.argv[1:] or list(texts)
    with tempfile.TemporaryDirectory() as folder:
        clean = _tried("clean", None, Path(folder), {})
        expected = _values(Path(folder) / "clean")
        print(f"{'clean':<28} {clean.code!s:>4} {clean.seconds:6.1f} s", flush=True)
        results = []
        for name in asked:
            result = _tried(name, texts[name], Path(folder), expected)
            results.append(result)
            told = "; ".join(result.problems) or "as promised"
            print(f"{name:<28} {result.code!s:>4} {result.seconds:6.1f} s  {told}", flush=True)
    codes = Counter(str(result.code) for result in results)
    wrong = sum(bool(result.problems) for result in results)
    print(f"{len(results)} plugins, {wrong} with problems; exit codes {dict(codes)}")


def _tried(name: str, text: str | None, folder: Path, expected: dict[str, Any]) -> Result:
    own = folder / name
    own.mkdir()
    plugin: tuple[str, ...] = ()
    if text is not None:
        file = f"tried_{name}.py"  # such as no library has
        (own / file).write_text(text)
        plugin = ("-p", file)
    start = perf_counter()
    process = subprocess.Popen(
        [sys.executable, *_COMMAND, *plugin],
        cwd=own,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Result(name, None, perf_counter() - start, ("it hangs",))
    problems = tuple(_problems(name, process.returncode, own, output, errors, expected))
    return Result(name, process.returncode, perf_counter() - start, problems)


def _problems(
    name: str, code: int, folder: Path, output: bytes, errors: bytes, expected: dict[str, Any]
) -> Iterator[str]:
    bare = name.removeprefix("changes_")
    change = CHANGES[bare][1] if name != bare and bare in CHANGES else None
    is_quiet = name == "clean" or bare in {*SANE, *UNNOTICED, *_ALONE} or name == "long_reason"
    wanted = 0 if is_quiet or change else 3
    if code != wanted:
        last = errors.decode(errors="replace").strip().splitlines()[-1:] or [""]
        yield f"exit code {wanted} expected: {last[0][:80]}"
    if b"Traceback" in errors:
        yield "traceback on the terminal"
    if re.search(rb"[^\n\t\x20-\xff]", output + errors):
        yield "control characters on the terminal"
    if not is_quiet and name.encode() not in errors:
        yield "the plugin is not named"
    if change and change.encode() not in errors:
        yield f"no warning about {change}"
    if len(output) + len(errors) > LARGEST:
        yield f"{(len(output) + len(errors)) / 1e6:.1f} MB on the terminal"
    if b"report.html" not in output:
        yield "the last screen is lost"
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > LARGEST:
            yield f"{path.name} has {path.stat().st_size / 1e6:.1f} MB"
    try:
        if name != "clean" and _values(folder) != expected:
            yield "other values"
    except (ValueError, IndexError) as error:
        yield f"the log: {type(error).__name__}"


def _values(folder: Path) -> dict[str, Any]:
    """Return the log of the run in a folder without what bad plugins and clocks add."""
    (path,) = folder.rglob("log.jsonl")

    def refuse(token: str) -> None:
        raise ValueError(f"{token} is not strict JSON")

    def kept(entry: Any) -> Any:
        if not isinstance(entry, dict):
            return entry
        rest = {k: kept(v) for k, v in entry.items() if not k.startswith(("bad_", "timestamp"))}
        return {k: v for k, v in rest.items() if v != {}}

    lines = path.read_text().splitlines()
    return {str(i): kept(json.loads(x, parse_constant=refuse)) for i, x in enumerate(lines)}


if __name__ == "__main__":
    main()
