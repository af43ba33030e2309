"""Tests of `cmp_core.reporting.answers`: JSON says what the page and the screen say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cmp_core import load_run
from cmp_core.analysis.questions import QUESTIONS, answer
from cmp_core.reporting.answers import dump_answers
from cmp_core.testing import write_example_run


def refuse(token: str) -> None:
    raise AssertionError(f"{token} is not strict JSON")


def dumped(folder: Path, seeds: int) -> tuple[dict[str, Any], list[Any]]:
    runs = [load_run(write_example_run(folder, seed=seed)) for seed in range(seeds)]
    answers = [answer(runs, question) for question in QUESTIONS]
    text = dump_answers({"greedy": answers})
    return json.loads(text, parse_constant=refuse)["greedy"], answers


def test_the_file_says_what_the_answers_say(tmp_path: Path) -> None:
    content, answers = dumped(tmp_path, 3)
    assert list(content) == list(QUESTIONS)
    for found in answers:
        told = content[found.question]
        assert (told["word"], told["seeds"], told["notes"]) == (found.word, 3, list(found.notes))
        for finding, row in zip(found.findings, told["evidence"], strict=True):
            item = finding.evidence
            assert (row["metric"], row["word"]) == (item.info.label, finding.word)
            assert (row["effect"]["low"], row["effect"]["high"]) == item.effect.interval
            assert row["learned"]["effect"] == item.learned.effect
            assert row["p"] == finding.p
            assert (row["p"] < 0.05) == (row["word"] != "inconclusive")
            if item.direction != "similarity" and row["word"] == "yes":
                assert row["effect"]["low"] > row["margin"]
            assert len(row["steps"]) == len(finding.steps)


def test_one_seed_has_no_word(tmp_path: Path) -> None:
    content, _ = dumped(tmp_path, 1)
    for told in content.values():
        assert told["word"] is None
        assert all(row["word"] is None and row["p"] is None for row in told["evidence"])
        assert all(row["effect"]["low"] is not None for row in told["evidence"])


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    run = write_example_run(tmp_path)
    (run / "test_influences.npz").unlink()
    text = dump_answers({"greedy": [answer([load_run(run)], "predictive")]})
    (row, *_) = json.loads(text, parse_constant=refuse)["greedy"]["predictive"]["evidence"]
    assert row["effect"]["low"] is None
    assert row["effect"]["effect"] is not None
