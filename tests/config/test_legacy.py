"""Tests of `cmp_core.config.legacy`: configurations of older scripts."""

from __future__ import annotations

import pytest

from cmp_core.config.legacy import contradictions, dataset_name
from cmp_core.config.load import build_config, dump_config
from cmp_core.errors import ConfigError
from tests.config.wrong import problems

KNOWN = ("cifar10", "cifar100", "digits", "fashion_mnist", "image_folder", "mnist")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("fashion-mnist", "fashion_mnist"),
        ("FashionMNIST", "fashion_mnist"),
        ("fmnist", "fashion_mnist"),
        ("CIFAR-10", "cifar10"),
        ("image-folder", "image_folder"),
        ("mnist", "mnist"),
        ("svhn", "svhn"),
    ],
)
def test_other_spellings_of_a_dataset_are_its_name(given: str, name: str) -> None:
    assert dataset_name(given, KNOWN) == name


def test_a_name_of_its_own_stays_and_one_of_two_is_not_guessed() -> None:
    assert dataset_name("m-nist", [*KNOWN, "m-nist"]) == "m-nist"
    assert dataset_name("M_NIST", [*KNOWN, "m-nist"]) == "M_NIST"


def test_sizes_that_follow_from_the_dataset_are_compared_with_it() -> None:
    config = build_config({"dataset": "digits", "num_classes": 10, "input_dim": 784})
    assert list(contradictions(config, num_classes=10, input_dim=784)) == []
    (told,) = contradictions(config, num_classes=10, input_dim=64)
    assert told.startswith("input_dim: dataset 'digits' has 64, got 784; ")


def test_they_are_stored_where_they_are_stated_alone() -> None:
    assert "num_classes: 7" in dump_config(build_config({"num_classes": 7}))
    assert "input_dim" not in dump_config(build_config({"num_classes": 7}))


def test_they_are_whole_numbers_and_keys_that_decide_results_are_not_dropped() -> None:
    told = problems(num_classes="10", input_dim=0, lambda_reg=0.001, theta=2.0)
    assert [one.partition(":")[0] for one in told] == [
        "lambda_reg",
        "theta",
        "num_classes",
        "input_dim",
    ]
    with pytest.raises(ConfigError, match="num_classes: expected a whole number, got true"):
        build_config({"num_classes": True})
