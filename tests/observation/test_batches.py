"""Tests of `cmp_core.observation.batches`: forms of batches, and loaders that are read again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from cmp_core.errors import CmpError, DataError
from cmp_core.observation.batches import Reader, unpacked
from tests.observation.models import loader, samples

X, Y = samples(6)
IDS = torch.arange(10, 16)


@pytest.mark.parametrize(
    ("batch", "arguments", "keywords", "has_labels", "has_ids"),
    [
        (X, 1, [], False, False),
        ((X,), 1, [], False, False),
        ((X, Y), 1, [], True, False),
        ([X, Y, IDS], 1, [], True, True),
        (((X, X), Y), 2, [], True, False),
        (({"a": X, "b": X}, Y), 0, ["a", "b"], True, False),
        ({"x": X, "label": Y}, 1, [], True, False),
        ({"input_ids": X, "attention_mask": X, "labels": Y, "id": IDS}, 0,
         ["input_ids", "attention_mask"], True, True),
        ((X, Y.double().numpy()), 1, [], True, False),
    ],
)  # fmt: skip
def test_batches_of_many_forms(
    batch: Any, arguments: int, keywords: list[str], has_labels: bool, has_ids: bool
) -> None:
    found = unpacked(batch)
    assert len(found.arguments) == arguments
    assert list(found.keywords) == keywords
    assert all(torch.equal(tensor, X) for tensor in found.tensors)
    assert (found.labels is not None, found.ids is not None) == (has_labels, has_ids)
    if found.labels is not None:
        assert torch.equal(found.labels, Y)
    moved = found.to(torch.device("meta"))
    assert all(tensor.device.type == "meta" for tensor in moved.tensors)


@pytest.mark.parametrize("batch", [(X, Y, IDS, X), 5, "text", None, ()])
def test_a_batch_of_another_form_is_told(batch: Any) -> None:
    with pytest.raises(DataError, match="give unpack="):
        unpacked(batch)


def test_positions_are_ids_and_every_reading_is_the_same() -> None:
    reader = Reader(loader(60, 25))
    assert reader.index.ids.tolist() == list(range(60))
    assert reader.index.sizes == (25, 25, 10)
    for _ in range(2):
        batches = list(reader.batches())
        assert torch.cat([batch.ids for batch in batches if batch.ids is not None]).tolist() == (
            list(range(60))
        )
        assert torch.equal(torch.cat([batch.arguments[0] for batch in batches]), samples(60)[0])


def test_a_shuffled_loader_is_refused_unless_it_tells_ids() -> None:
    with pytest.raises(DataError, match="another order"):
        list(Reader(loader(shuffle=True)).batches())
    assert len(list(Reader(loader(shuffle=True)).batches(in_order=False))) == 3
    x, y = samples(60)
    data = TensorDataset(x, y, torch.arange(60) * 7)
    reader = Reader(DataLoader(data, batch_size=20, shuffle=True))
    assert sorted(reader.index.ids.tolist()) == list(range(0, 420, 7))
    for batch in reader.batches():
        assert batch.ids is not None
        assert torch.equal(batch.arguments[0], x[batch.ids // 7])


def test_what_is_augmented_at_random_is_refused() -> None:
    class Noisy(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            return (((x + torch.rand(1)), y) for x, y in super().__iter__())

    with pytest.raises(DataError, match="random transforms"):
        list(Reader(Noisy([(X, Y)])).batches())


def test_samples_that_are_gone_at_the_second_reading_are_told() -> None:
    batches = [(X, Y), (X, Y)]
    reader = Reader(batches)
    assert len(reader.index.ids) == 12
    batches.pop()
    with pytest.raises(DataError, match="gives 6 samples at its second reading, and gave 12"):
        list(reader.batches())


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "yields no samples"),
        (iter([(X, Y)]), "got an iterator"),
        ([(X, Y[:4])], "expected 6 labels, as there are inputs, got 4"),
        ([(X, Y), (X,)], "1 of 2 batches have labels"),
        ([(X, Y, IDS), (X, Y, IDS)], "expected 12 different sample ids, got 6"),
        ([({"a": "text"}, Y)], "expected tensors as inputs"),
        ([(X, X)], r"got shape .*; give unpack=, a function of the batch that leaves labels out"),
        ([(X, -Y - 1)], "expected labels from 0 on"),
    ],
)
def test_wrong_batches_are_told(batches: Any, message: str) -> None:
    with pytest.raises(CmpError, match=message):
        _ = Reader(batches).index


def test_batches_may_be_unpacked_by_a_function() -> None:
    reader = Reader([{"image": X, "meta": "text", "class": Y}], lambda b: (b["image"], b["class"]))
    (batch,) = reader.batches()
    assert batch.labels is not None
    assert np.array_equal(batch.labels, Y)
