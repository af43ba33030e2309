"""Tests of `cmp_core.runs.tables`; `test_record` has those of the rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cmp_core import load_run
from tests.reporting.reading import Page


def write(folder: Path, *lines: Any, params: str = "model: mlp\nseed: 3", test: Any = None) -> Any:
    (folder / "params.yaml").write_text(params)
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if test is not None:
        (folder / "test_results.json").write_text(json.dumps(test))
    return load_run(folder)


def val(epoch: int, **metrics: Any) -> dict[str, Any]:
    return {"phase": "val", "epoch": epoch, "acc": 0.5, "metrics": metrics}


def test_a_run_shows_its_test(tmp_path: Path) -> None:
    test = {"epoch": 1, "metrics": {"fc": {"m": 0.123456}, "out": {"m": 2.0, "k": 1e-7}}}
    run = write(tmp_path, val(1, fc={"m": 9.0}), val(2, fc={"m": 8.0}), test=test)
    html = run._repr_html_()
    assert Page(html).rows == [["layer", "m", "k"], ["fc", "0.1235", "–"], ["out", "2", "1e-07"]]
    assert f"{run.name}: mlp on ?, seed 3; test of the weights of epoch 1" in html


def test_a_run_without_a_test_shows_its_last_epoch(tmp_path: Path) -> None:
    html = write(tmp_path, val(1, fc={"m": 9.0}), val(2, fc={"m": 8.0}))._repr_html_()
    assert Page(html).rows == [["layer", "m"], ["fc", "8"]]
    assert "validation, epoch 2" in html


def test_a_run_without_values_says_what_cannot_be_read(tmp_path: Path) -> None:
    html = write(tmp_path)._repr_html_()
    assert "<table>" not in html
    assert "holds no training step and no epoch that can be read" in html


def test_names_are_no_markup(tmp_path: Path) -> None:
    bad = "<script>f()</script>"
    html = write(tmp_path, val(1, **{bad: {bad: 1.0}}), params=f"model: {bad}")._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;f()&lt;/script&gt;") == 3
