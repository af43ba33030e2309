"""Tests of `cmp_core.data.splits`: the batches of a split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from cmp_core.config.schema import Config
from cmp_core.data.raw import Images, RawData, Stream
from tests.data.samples import load, numbers

rng = np.random.default_rng(0)


def test_samples_keep_their_ids_and_labels() -> None:
    data = load(Config(), numbers())
    for split in (data.train, data.val, data.test):
        order = rng.permutation(len(split.ids))
        batches = list(split.batches(order, 7))
        ids = torch.cat([batch.sample_ids for batch in batches])
        assert ids.tolist() == split.ids[order].tolist()
        for batch in batches:
            assert batch.inputs[:, 0, 0, 0].tolist() == batch.sample_ids.tolist()
            assert (batch.sample_ids % 4).tolist() == batch.labels.tolist()


def test_an_empty_order_gives_no_batches() -> None:
    data = load(Config(), numbers())
    assert list(data.train.batches(np.arange(0), 7)) == []


def test_normalisation_is_per_channel() -> None:
    raw = numbers(channels=2)
    raw = RawData(raw.train, None, raw.class_names, mean=(10.0, 20.0), std=(2.0, 4.0))
    batch = next(load(Config(), raw).val.batches(np.arange(3), 3))
    expected = (batch.sample_ids - 10) / 2, (batch.sample_ids - 20) / 4
    for channel in range(2):
        assert batch.inputs[:, channel, 0, 0].tolist() == pytest.approx(expected[channel].tolist())


def test_a_torch_dataset_of_a_plugin_gives_the_same_batches() -> None:
    raw = numbers()
    assert not isinstance(raw.train, Stream)
    dataset: Any = TensorDataset(raw.train.pixels, raw.train.labels)
    streamed = RawData(Stream(dataset, raw.train.labels), None, raw.class_names)
    order = np.array([5, 3, 60, 2, 1])
    for workers in (0, 2):
        data = load(Config(num_workers=workers), streamed)
        for a, b in zip(
            data.train.batches(order, 2),
            load(Config(), raw).train.batches(order, 2),
            strict=True,
        ):
            assert a.inputs.equal(b.inputs)
            assert a.labels.equal(b.labels)
            assert a.sample_ids.equal(b.sample_ids)


def test_only_training_images_are_augmented() -> None:
    raw = numbers()
    raw = RawData(raw.train, None, raw.class_names, augment=True)
    data = load(Config(), raw)
    g = torch.Generator().manual_seed(0)
    plain = torch.cat([b.inputs for b in data.train.batches(np.arange(70), 70)])
    moved = torch.cat([b.inputs for b in data.train.batches(np.arange(70), 70, g)])
    assert not plain.equal(moved)
    assert (plain == plain[:, :, :1, :1]).all()


@pytest.mark.parametrize("kind", [torch.float64, torch.int64, torch.int32])
def test_an_offset_is_taken_off_before_digits_are_lost(kind: torch.dtype) -> None:
    values = torch.arange(40 * 4).view(40, 1, 2, 2) % 7 + 10**9
    raw = RawData(Images(values.to(kind), np.arange(40) % 4), None, tuple("abcd"), None, None)
    batch = next(load(Config(), raw).train.batches(np.arange(20), 20)).inputs
    assert batch.dtype == torch.float32
    plain = RawData(
        Images((values - 10**9).float(), np.arange(40) % 4), None, tuple("abcd"), None, None
    )
    wanted = next(load(Config(), plain).train.batches(np.arange(20), 20)).inputs
    assert batch.numpy() == pytest.approx(wanted.numpy(), abs=1e-6)
