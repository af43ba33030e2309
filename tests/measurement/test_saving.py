"""Tests of `cmp_core.measurement.saving`: a run with a metric added is the run that measured it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from cmp_core import RunRecord, RunSet, answers_of, compare, load_run, run, write_snapshot
from cmp_core.config.schema import Selection, Snapshots
from cmp_core.errors import UsageError
from cmp_core.measurement.recompute import recompute
from tests.small_runs import small, stored

ADDED = ["participation_ratio", "linear_cka", "probe_accuracy"]
LOGGED = ["accuracy", "ridge_r2"]  # which is fitted, so that fitting samples are stored


def trained(folder: Path, phase: str, metrics: list[str], seed: int = 0) -> Path:
    """The directory of a run whose snapshots hold all samples of a split."""
    selected = tuple(Selection(name, name) for name in metrics)
    options = {"snapshots": Snapshots(phase, fit="all"), "metrics": selected, "seed": seed}
    return run(small(folder, layers=3, epochs=2, **options)).directory


def with_twin(folder: Path, phase: str, seed: int = 0) -> tuple[Path, Path]:
    """A run to which metrics were added, and one that has measured them itself."""
    few = trained(folder / "few", phase, LOGGED, seed)
    results = recompute([few], ADDED, workers=1, save=True)
    assert [result.error for result in results] == [None] * len(stored(few))
    return few, trained(folder / "all", phase, [*ADDED, *LOGGED], seed)


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return with_twin(tmp_path_factory.mktemp("validated"), "val")


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return with_twin(tmp_path_factory.mktemp("tested"), "test")


def assert_same_values(found: RunRecord, expected: RunRecord, phase: str) -> None:
    keys = [key for key in expected.log.series if key[0] == phase]
    assert len(keys) >= 16
    for key in keys:
        one, other = found.log.series[key], expected.log.series[key]
        for what in ("epochs", "values", "n", "n_fit", "halves"):
            assert getattr(one, what) == pytest.approx(getattr(other, what), 1e-4, nan_ok=True), key
        known = np.isfinite(other.errors)  # a log has them at its ends alone
        assert one.errors[known] == pytest.approx(other.errors[known], rel=1e-3)
    for one, other in zip(
        found.pairs(phase, "linear_cka"), expected.pairs(phase, "linear_cka"), strict=True
    ):
        assert one.value == pytest.approx(other.value, rel=1e-4)
    reasons = {k: v for k, v in expected.log.missing.items() if k[0] == phase}
    assert {k: v for k, v in found.log.missing.items() if k[0] == phase} == reasons
    assert found.metric_info == expected.metric_info
    assert found.problems == ()


def test_values_are_those_of_the_run_that_has_measured_them(
    validated: tuple[Path, Path], tested: tuple[Path, Path]
) -> None:
    assert_same_values(*map(load_run, validated), "val")
    assert_same_values(*map(load_run, tested), "test")


def test_nothing_that_the_run_wrote_is_changed_and_twice_is_once(
    validated: tuple[Path, Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(validated[0], tmp_path / "copy"))
    before = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}
    assert len(list(recompute([copy, copy / "."], ADDED, workers=1, save=True))) == 3
    after = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}
    added = before.pop("recomputed.jsonl"), after.pop("recomputed.jsonl")
    assert after == before
    assert len(set(map(len, map(bytes.splitlines, added)))) == 1


def test_answers_take_what_was_added_as_evidence(tested: tuple[Path, Path]) -> None:
    (own,), (expected,) = (answers_of([path]).values() for path in tested)
    for one, other in zip(own, expected, strict=True):
        found = {item.info.label: item for item in one.evidence}
        assert found.keys() == {item.info.label for item in other.evidence}
        for item in other.evidence:
            mine = found[item.info.label]
            for effect, twin in ((mine.effect, item.effect), (mine.learned, item.learned)):
                assert effect is not None
                assert twin is not None
                assert effect.effect == pytest.approx(twin.effect, rel=1e-4)
                assert effect.error == pytest.approx(twin.error, rel=1e-3)
    notes = [note for one in own for note in one.notes]
    assert "participation_ratio was recomputed from stored samples, n = 359" in notes


def test_runs_with_added_metrics_are_compared_sample_by_sample(
    tested: tuple[Path, Path], tmp_path: Path
) -> None:
    pairs = zip(tested, with_twin(tmp_path, "test", seed=1), strict=True)
    own, expected = (compare(RunSet(tuple(map(load_run, x)), ("a", "b")))[0] for x in pairs)
    for metric in ADDED[:2]:
        one, other = own.at(metric, "layer_1"), expected.at(metric, "layer_1")
        assert one is not None
        assert other is not None
        assert np.isfinite(other.estimate.error)
        assert one.estimate.effect == pytest.approx(other.estimate.effect, rel=1e-3)
        assert one.estimate.error == pytest.approx(other.estimate.error, rel=1e-3)
    (note,) = [note for note in own.notes if "recomputed from stored samples, n = 359" in note]
    assert "linear_cka" in note


def test_a_snapshot_that_cannot_be_read_costs_itself_alone(
    finished_run: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "copy"))
    broken = stored(copy)[1]
    broken.write_bytes(b"not at all")
    results = list(recompute([copy], ["participation_ratio"], workers=1, save=True))
    assert [result.error is None for result in results] == [True, False, True]
    series = load_run(copy).series("val", "layer_0", "participation_ratio")
    assert series is not None
    assert series.epochs.tolist() == [0, 2]


def test_a_snapshot_of_other_layers_is_not_saved(finished_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "copy"))
    write_snapshot(copy / "activations" / "zz.h5", {"alien": np.ones((9, 3))})
    *own, other = recompute([copy], ["participation_ratio"], workers=1, save=True)
    assert all(result.error is None for result in own)
    assert other.error is not None
    assert "alien: no layers of the run; not saved" in other.error
    assert "alien" not in load_run(copy).layers


def test_where_a_metric_has_no_value_at_any_layer_nothing_is_added(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "copy"))
    bare = {"layer_0": np.eye(9), "layer_1": np.eye(9)}  # no anchors, so no margin
    write_snapshot(copy / "activations" / "zz.h5", bare, np.arange(9) % 3, phase="val", epoch=7)
    # Follows training batches, so that files have no values of it.
    metrics = ["margin", "gaussian_entropy_ema"]
    assert len(list(recompute([copy], metrics, workers=1, save=True))) == 4
    (warning,) = capsys.readouterr().err.split("warning: ")[1:]
    assert warning == (
        f"nothing was added to '{copy}' of metrics without a value at any layer: "
        "margin (1 of 4 snapshots), gaussian_entropy_ema (4 of 4 snapshots)\n"
    )
    found = load_run(copy)
    assert found.series("val", "layer_1", "margin").epochs.tolist() == [0, 1, 2]
    assert "gaussian_entropy_ema" not in found.metric_info
    added = (copy / "recomputed.jsonl").read_bytes()
    assert len(list(recompute([copy], metrics[1:], workers=1, save=True))) == 4
    assert (copy / "recomputed.jsonl").read_bytes() == added


def test_what_cannot_be_saved_is_told_before_anything_is_measured(
    finished_run: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "copy"))
    for paths, metrics, message in (
        ([copy], None, "save: expected the metrics to add to the run, got none"),
        ([copy], ["accuracy"], "has logged accuracy itself.*{name: accuracy, label: accuracy_st"),
        ([copy, stored(copy)[0]], ["margin"], "save: values are added to runs alone; .* is a file"),
        ([copy / "activations"], ["margin"], "save: values .* is not a run directory"),
    ):
        with pytest.raises(UsageError, match=message):
            recompute(paths, metrics, save=True)
    relabelled = {"name": "accuracy", "label": "accuracy_stored"}
    assert len(list(recompute([copy], [relabelled], workers=1, save=True))) == 3
    found = load_run(copy)
    assert found.value("val", "layer_1", "accuracy_stored", 2) == found.value(
        "val", "layer_1", "accuracy", 2
    )
    (copy / "recomputed.jsonl").write_text("{")
    with pytest.raises(UsageError, match="line 1: it is not whole JSON"):
        recompute([copy], ["margin"], save=True)
