"""Tests of `cmp_core.text`: nothing of anybody's text steers a terminal."""

from __future__ import annotations

import unicodedata

import pytest

from cmp_core.text import counted, described, in_one_line, in_short, is_name, printable, type_name


def test_nothing_that_steers_or_has_no_encoding_is_left() -> None:
    everything = "".join(map(chr, range(0x3000))) + "".join(map(chr, range(0xD800, 0xE000)))
    shown = printable(everything)
    shown.encode()
    left = {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert left == {"Cc"}  # newline and tab
    assert {x for x in shown if unicodedata.category(x) == "Cc"} == {"\n", "\t"}
    assert not {"R", "L"} & {
        kind[0] for x in shown if (kind := unicodedata.bidirectional(x)) in ("RLO", "LRO", "LRE")
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2J", r"a\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("\x00\x7f", r"\x00\x7f"),
        ("\u202eabc\u2066", r"\u202eabc\u2066"),
        ("\ud800", r"\ud800"),
        ("größer − 🙂\tx\n", "größer − 🙂\tx\n"),
    ],
)
def test_it_is_shown_by_its_code(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_line_is_cut_also_of_ten_million_characters() -> None:
    assert in_one_line("x" * 10**7) == "x" * 199 + "…"
    assert in_one_line("\x1b" * 10**7, 20) == (r"\x1b" * 20)[:19] + "…"
    assert in_one_line(" " * 10**7) == ""


class Odd:
    def __repr__(self) -> str:
        raise SystemExit(0)


def test_a_value_is_described_whatever_its_repr_does() -> None:
    assert described(Odd()) == "Odd"
    assert described("x" * 10**6, 10) == f"str '{'x' * 8}…"


def test_the_name_of_a_class_is_its_own() -> None:
    class Meta(type):
        @property
        def __name__(cls) -> str:
            raise SystemExit(0)

    class Bad(metaclass=Meta):
        pass

    assert type_name(Bad()) == "Bad"
    assert type_name(type("a\n\x1b" + "b" * 10**6, (), {})()) == "a"


@pytest.mark.parametrize("name", ["a", "top 5", "größe", "x" * 100])
def test_what_is_a_name(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".", "a\n", "\t", "\x1b", "x" * 101, 1, None])
def test_what_is_none(name: object) -> None:
    assert not is_name(name)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], ""),
        (["layer_0", "layer_1"], "layer_0, layer_1"),
        (["a.1.relu", "a.2.relu", "a.3.relu", "b.4.relu"], "a.1.relu–a.3.relu, b.4.relu"),
        (["layer_2", "layer_1", "layer_0"], "layer_2, layer_1, layer_0"),
        (list("abcdefgh"), "a, b, c, d, e, f and 2 more"),
        ([f"x{9 * i}" for i in range(1006)], "x0, x9, x18, x27, x36, x45 and 1,000 more"),
        (["²", "³", "1" * 5000, ""], f"², ³, {'1' * 5000}, "),
    ],
)
def test_many_names_are_told_in_short(names: list[str], told: str) -> None:
    assert in_short(names) == told


def test_a_count_of_one_is_singular() -> None:
    told = [counted(count, what) for what in ("epoch", "class", "batch") for count in (0, 1, 1000)]
    assert told == [
        *("0 epochs", "1 epoch", "1,000 epochs"),
        *("0 classes", "1 class", "1,000 classes"),
        *("0 batches", "1 batch", "1,000 batches"),
    ]
