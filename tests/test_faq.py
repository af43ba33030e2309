"""The numbers of `docs/faq.md` are those that its code computes."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TEXT = (Path(__file__).parents[1] / "docs" / "faq.md").read_text(encoding="utf-8")
CODE = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))


def test_every_value_is_what_the_code_gives() -> None:
    names: dict[str, Any] = {}
    told = 0
    lines = CODE.splitlines()
    for node in ast.parse(CODE).body:
        if not isinstance(node, ast.Expr):
            exec(compile(ast.Module([node], []), "docs/faq.md", "exec"), names)
            continue
        value = eval(compile(ast.Expression(node.value), "docs/faq.md", "eval"), names)
        for found, text in zip(
            np.atleast_1d(value), _values(lines[node.end_lineno - 1]), strict=True
        ):
            digits = len(text.partition(".")[2])
            assert float(found) == pytest.approx(float(text), abs=0.5001 * 10**-digits), node.lineno
            told += 1
    assert told == 26


def _values(line: str) -> list[str]:
    return line.rpartition("  # ")[2].replace("True", "1").split(", ")
