"""Tests of `cmp_core.analysis.tables`: answers and comparisons as notebooks show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmp_core import Comparison, answers_of, compare, open_snapshot, write_snapshot
from cmp_core.analysis import words
from cmp_core.analysis.comparison import Difference
from cmp_core.analysis.crossed import Estimate
from tests.reporting.reading import Page
from tests.synthetic_runs import write_run

BAD = "<script>f()</script>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of an experiment, and another one."""
    folder = tmp_path_factory.mktemp("runs")
    told: list[dict[str, object]] = [{"seed": 0}, {"seed": 1}, {"model": "mlp"}]
    return [write_run(folder, **own) for own in told]


def test_answers_show_what_each_metric_says(runs: list[Path]) -> None:
    found = answers_of(runs)
    html = found._repr_html_()
    assert list(found) == ["greedy", "mlp"]
    rows = Page(html).rows
    for own in found.values():
        for answer in own:
            assert f"{answer.title} {answer.short_verdict}" in html
            assert repr(answer) == f"<Answer {answer.title} {answer.short_verdict}>"
            for finding in answer.findings:
                item = finding.evidence
                says = "–" if answer.seeds == 1 else finding.word
                cells = words.effect(item, item.effect), words.interval(item, item.effect)
                assert [item.info.label, says, *cells, words.effect(item, item.learned)] in rows
    assert sum(row[0] != "metric" for row in rows) == sum(
        len(answer.findings) for own in found.values() for answer in own
    )


def test_a_comparison_shows_a_row_for_each_metric(runs: list[Path]) -> None:
    (found,) = compare(runs)
    header, *rows = Page(found._repr_html_()).rows
    assert header == ["difference", *found.layers, "output"]
    assert [row[0].removesuffix(", points") for row in rows] == list(found.units)
    assert repr(found) == f"<Comparison mlp − greedy: {found.design}>"


def test_names_are_no_markup() -> None:
    one = Difference(BAD, BAD, "", 0.0, 0.5, Estimate(0.5))
    html = Comparison(BAD, BAD, BAD, (one,), (BAD,))._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 6


def test_a_snapshot_shows_its_layers(tmp_path: Path) -> None:
    layers = {"<b>conv": np.zeros((6, 2, 3), dtype=np.float32), "fc": np.eye(6)}
    path = write_snapshot(tmp_path / "mine.h5", layers, np.arange(6) % 2)
    with open_snapshot(path) as snapshot:
        html = snapshot._repr_html_()
        types = [str(layer.activations.dtype) for layer in snapshot.layers]
    assert Page(html).rows == [
        ["layer", "shape", "type"],
        ["<b>conv", "6 × 2 × 3", types[0]],
        ["fc", "6 × 6", types[1]],
    ]
    assert "&lt;b&gt;conv" in html
    assert "mine.h5: test, epoch 0, step 0" in html
