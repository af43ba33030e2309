"""A bounded part of `tests.fuzz.hdf5`: some damaged snapshots."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.fuzz.hdf5 import SENTENCE, VALUES, outcomes


def test_damaged_files_end_in_values_or_in_one_sentence(tmp_path: Path) -> None:
    found = dict(outcomes(tmp_path, range(120), at_once=30))
    assert {seed: text for seed, text in found.items() if text not in (VALUES, SENTENCE)} == {}
    counts = Counter(found.values())
    assert counts[VALUES] > 20
    assert counts[SENTENCE] > 40
