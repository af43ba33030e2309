"""Configurations of a stranger: none takes the machine's time or memory, or prints a page."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cmp_core.config.load import load_config, parse_yaml
from cmp_core.config.schema import LONGEST_SHOWN, shown
from cmp_core.errors import ConfigError, UsageError
from tests.config.wrong import problems


def _bomb(levels: int, key: str) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join([*lines, f"{key}: *a{levels - 1}"])


HOSTILE = {
    "aliases of aliases": (_bomb(9, "margins"), "expected at most 100,000 values"),
    "for selections": (_bomb(30, "metrics"), "expected at most 100,000 values"),
    "in itself": ("metrics: &a [*a]", "an alias stands for a value that it is inside of"),
    "a mapping in itself": ("margins: &a {b: {c: *a}}", "inside of"),
    "deep": ("metrics: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    "long": ("dataset: " + "x" * 2_000_000, "at most 1,000,000 characters"),
    "many keys": ("".join(f"k{i}: 1\n" for i in range(300)), "… and 280 more"),
    "a long value": ("dataset: [" + "x" * 500_000 + "]", "dataset: expected a text, got ['xx"),
    "a long name": ("x" * 900 + ": 1", "unknown key 'xxx"),
    "a number in base 16": ("N: 0x" + "f" * 5000, "N: expected a whole number from 1 to"),
    "a number in base 10": ("N: " + "9" * 5000, "Exceeds the limit"),
    "wide": ("N: 1000000000000", "N: expected a whole number from 1 to 1,000,000"),
    "many layers": ("layers: 100000000", "layers: expected a whole number from 1 to 10,000"),
    "epochs": ("epochs: 1000000000000\nsnapshots: {schedule: all}", "epochs: expected"),
    "device": ("device: cuda:" + "9" * 400, "device: expected auto"),
    "null in a path": ('out: "a\\0b"', "out: expected a path in UTF-8"),
    "half a character": ('data_dir: "a\\ud800b"', "data_dir: expected a path in UTF-8"),
    "no path": ('out: ""', "out: expected a path in UTF-8, not empty"),
    "an object": ("out: !!python/object/apply:os.system [touch executed]", "is not valid YAML"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_answered_by_a_short_sentence(tmp_path: Path, name: str) -> None:
    text, expected = HOSTILE[name]
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    begun = time.process_time()
    with pytest.raises(UsageError) as told:
        load_config(path)
    assert time.process_time() - begun < 20  # of hours, or for ever
    assert expected in str(told.value)
    assert len(str(told.value)) < 20_000
    assert max(map(len, str(told.value).splitlines())) < 1_500
    assert not (tmp_path / "executed").exists()
    assert not Path("executed").exists()


def test_aliases_that_people_write_are_read() -> None:
    text = "one: &one {name: margin}\ntwo: [*one, *one]"
    assert parse_yaml(text, "here")["two"] == [{"name": "margin"}] * 2


@pytest.mark.parametrize("value", [10**400, "a" * 10**6, [[1] * 9] * 10**5, {"k": "v" * 10**6}])
def test_of_a_long_value_the_beginning_is_shown(value: object) -> None:
    text = shown(value)
    assert len(text) == LONGEST_SHOWN
    assert text.endswith("…")


def test_a_list_of_lists_without_end_is_shown() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert shown(endless).startswith("[[[[")


def test_of_many_mistakes_the_first_are_listed_and_all_are_kept() -> None:
    found = problems(**{f"k{i}": 1 for i in range(30)})
    assert len(found) == 30
    assert str(ConfigError(found)).splitlines()[-1] == "  … and 10 more"
    assert str(ConfigError(found)).startswith("the configuration has 30 mistakes:")
