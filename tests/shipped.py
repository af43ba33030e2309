"""The shipped examples that register something: listeners may need a library that is missing."""

from __future__ import annotations

from cmp_core.plugins.discovery import example_folder

_DECLARATIONS = ("@metric(", "@plot(", "cmp_register_")

EXAMPLES = [
    f"cmp:{path.stem}"
    for path in sorted(example_folder().glob("[!_]*.py"))
    if any(found in path.read_text(encoding="utf-8") for found in _DECLARATIONS)
]
