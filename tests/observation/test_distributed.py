"""Tests of observation by several processes: the values are those of a single one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset

from cmp_core import DataError, Row, metric, observe, open_snapshot
from cmp_core.distributed.processes import Processes
from cmp_core.observation.batches import Reader
from tests.observation.models import Net, hooks_on, samples
from tests.processes import in_processes

N = 101
"""Not divisible: a `DistributedSampler` pads it."""
LAYERS = ["first", "second", "logits"]
PLUGINS = ["cmp:neural_collapse", "cmp:dead_units"]  # two passes; a state of its own


class Samples(Dataset[Any]):
    """Items of (input, label), or with their ids."""

    def __init__(self, n: int, seed: int, *, has_ids: bool) -> None:
        self._inputs, self._labels = samples(n, seed)
        self._has_ids = has_ids

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, i: int) -> Any:
        item = self._inputs[i], self._labels[i]
        return (*item, i) if self._has_ids else item


def loader(kind: str, seed: int = 0, *, shuffle: bool = False) -> DataLoader[Any]:
    """A loader of this process's share, or of all samples where it is alone."""
    data: Any = Samples(N, seed, has_ids=kind in ("ids", "unequal"))
    is_started = torch.distributed.is_initialized()
    if kind == "unequal" and is_started:  # the first has 2 of 3 parts, and 10 that others have too
        rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        bounds = [0, 2 * N // 3, *(N - (size - 1 - i) for i in range(1, size - 1)), N]
        data = Subset(data, range(max(0, bounds[rank] - 10), bounds[rank + 1]))
        return DataLoader(data, batch_size=16)
    if kind == "same" or not is_started:
        return DataLoader(data, batch_size=16)
    return DataLoader(data, batch_size=16, sampler=DistributedSampler(data, shuffle=shuffle))


def network() -> Net:
    torch.manual_seed(0)
    return Net()


def measured(kind: str, out: Path, metrics: Any = "all", fits: bool = True) -> Any:
    model = network()
    wrapped = DistributedDataParallel(model) if torch.distributed.is_initialized() else model
    fit = loader(kind, 5, shuffle=True) if fits else None
    told: dict[str, Any] = {}
    with observe(wrapped, LAYERS, metrics, every=1, out=out, fit=fit, plugins=PLUGINS) as watch:
        told["before"] = watch.evaluate(loader(kind), phase="test")
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        model.eval()  # dropout would differ
        for x, y, *ids in loader(kind, 1):
            if kind in ("unequal", "same"):
                break
            loss = nn.functional.cross_entropy(wrapped(x), y)
            loss.backward()
            given = ids[0] if ids else None
            told.setdefault("steps", []).append(watch.step(labels=y, loss=loss, ids=given))
        optimizer.zero_grad()
        told["val"] = watch.evaluate(loader(kind, shuffle=True))
        told["test"] = watch.test(loader(kind))
    told["hooks"] = hooks_on(model)
    return told


def assert_same(rows: tuple[Row, ...], expected: tuple[Row, ...]) -> None:
    """Two sets of rows agree, reasons and standard errors among them."""
    assert len(rows) == len(expected)
    for row, other in zip(rows, expected, strict=True):
        where = f"{row.layer} {row.metric}"
        assert (row.layer, row.metric, row.other, row.n) == (
            other.layer,
            other.metric,
            other.other,
            other.n,
        ), where
        assert row.reason == other.reason, where
        for value, of_other in ((row.value, other.value), (row.error, other.error)):
            assert (value is None) == (of_other is None), where
            if value is not None:
                np.testing.assert_allclose(
                    np.array(value), np.array(of_other), rtol=2e-4, atol=2e-6, err_msg=where
                )


@pytest.mark.parametrize(("size", "kind"), [(2, "sampler"), (3, "sampler"), (3, "unequal")])
def test_values_are_those_of_one_process(size: int, kind: str, tmp_path: Path) -> None:
    expected = measured(kind, tmp_path / "one")
    for told in in_processes(size, measured, kind, tmp_path / "several"):
        for phase in ("before", "val", "test"):
            assert_same(told[phase], expected[phase])
        assert {row.n for row in told["test"] if row.metric == "accuracy"} == {N}
        assert told["hooks"] == 0
    one, several = tmp_path / "one", tmp_path / "several"
    assert {x.name for x in one.iterdir()} == {x.name for x in several.iterdir()}
    for name in ("test_predictions.npz", "test_influences.npz"):
        with np.load(one / name) as left, np.load(several / name) as right:
            assert set(left) == set(right)
            for column in left:
                a, b = left[column], right[column]
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4, err_msg=column)
    found = [json.loads((run / "test_results.json").read_text()) for run in (one, several)]
    assert found[0]["acc"] == found[1]["acc"]
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=1e-6)
    stored = []
    for run in (one, several):
        with open_snapshot(max((run / "activations").glob("*.h5"))) as snapshot:
            assert snapshot.fit is not None
            order = np.lexsort((snapshot.sample_ids, snapshot.fit[:]))
            stored.append(
                (snapshot.sample_ids[order], snapshot.layers["second"].activations[:][order])
            )
    np.testing.assert_array_equal(stored[0][0], stored[1][0])
    np.testing.assert_allclose(stored[0][1], stored[1][1], rtol=1e-5, atol=1e-6)


def test_a_batch_is_that_of_all_processes(tmp_path: Path) -> None:
    both = in_processes(2, measured, "ids", tmp_path / "run", ["accuracy", "linear_cka"], False)
    model = network().eval()
    inputs, labels = samples(N, 1)
    size = 32  # two shares of 16 samples, the sampler's by turns
    with observe(model, LAYERS, ["accuracy", "linear_cka"], every=1) as watch, torch.no_grad():
        expected = []
        for start in range(0, N, size):
            where = torch.arange(start, min(start + size, N))
            model(inputs[where])
            expected.append(watch.step(labels=labels[where], ids=where))
    for told in both:
        assert len(told["steps"]) == len(expected) == 4
        for rows, of_one in zip(told["steps"][:-1], expected[:-1], strict=True):
            assert_same(rows, of_one)
        # The last one has a padded sample in the second process, the first of all.
        assert {row.n for row in told["steps"][-1]} == {N - 96 + 1}
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines] == ["train"] * 4 + ["val"]


def test_samples_that_all_processes_read_count_once(tmp_path: Path) -> None:
    expected = measured("same", tmp_path / "one", ["participation_ratio", "probe_accuracy"])
    for told in in_processes(
        2, measured, "same", tmp_path / "two", ["participation_ratio", "probe_accuracy"]
    ):
        assert_same(told["test"], expected["test"])


class Overlapping(DistributedSampler[Any]):
    """Both processes have sample 8, which the first one has at its end."""

    def __iter__(self) -> Any:
        return iter([8, 1, 3, 5, 7] if self.rank else [0, 2, 4, 6, 8])


def dropped() -> tuple[list[int], int]:
    """Read shares in pairs, of which the first process drops an incomplete one."""
    data: Any = Samples(9, 0, has_ids=False)
    is_first = torch.distributed.get_rank() == 0
    loader = DataLoader(data, batch_size=2, sampler=Overlapping(data), drop_last=is_first)
    reader = Reader(loader, processes=Processes.started())
    counted: list[int] = []
    for batch in reader.batches():
        assert batch.ids is not None
        assert batch.own is not None
        counted += batch.ids[batch.own].tolist()
    return counted, len(reader.index.ids)


def test_samples_that_one_process_drops_count_where_another_reads_them() -> None:
    told = in_processes(2, dropped)
    assert [counted for counted, _ in told] == [[0, 2, 4, 6], [8, 1, 3, 5, 7]]
    assert {n for _, n in told} == {9}


def collided() -> list[str]:
    rank = torch.distributed.get_rank()
    problems = []
    data = Samples(N, 0, has_ids=False)
    empty = Subset(Samples(N, 0, has_ids=True), range(0 if rank else N))
    for loader in (
        DataLoader(Subset(data, range(rank, N, 2)), batch_size=16),
        DataLoader(empty, batch_size=16),
    ):
        with pytest.raises(DataError) as caught, observe(network(), LAYERS, ["accuracy"]) as watch:
            watch.evaluate(loader)
        problems.append(str(caught.value))
    return problems


def test_samples_of_which_nothing_tells_the_ids_are_refused() -> None:
    for unknown, empty in in_processes(2, collided):
        assert "give the loader a DistributedSampler" in unknown
        assert empty == "the loader yields no samples in process 1"


@metric("fragile", split="mean")
def fragile(view: Any) -> Any:
    """Fails in the second process alone."""
    if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
        raise ZeroDivisionError("only here")
    return view.activations.sum(dim=1)


def failing(out: Path) -> list[Any]:
    with observe(network(), LAYERS, [fragile, "accuracy"], out=out) as watch:
        rows = watch.evaluate(loader("sampler"))
        again = watch.evaluate(loader("sampler"))
    return [(x.layer, x.metric, x.reason) for x in (*rows, *again)]


def test_a_metric_that_fails_in_one_process_has_failed_in_all(tmp_path: Path) -> None:
    first, second = in_processes(2, failing, tmp_path / "run")
    for told, error in (
        (first, "error: PluginError: in another process: ZeroDivisionError: only here"),
        (second, "error: ZeroDivisionError: only here"),
    ):
        assert {reason for _, name, reason in told if name == "fragile"} == {error}
        of_output = [why for layer, name, why in told if (layer, name) == ("logits", "accuracy")]
        assert of_output == [None, None]
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert [failure["plugin"] for failure in status["plugin_errors"]] == ["metric:fragile"]
