"""Tests of `cmp_core.plotting.fonts`, with a font that has what matplotlib's own lacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from cmp_core.plotting import fonts
from cmp_core.plotting.plot import Plot, PlotView, plot
from cmp_core.plotting.render import FORMATS, figure_of, render
from cmp_core.runs.record import load_run
from cmp_core.runs.replicates import RunSet
from tests.synthetic_runs import write_run


def write_font(path: Path, name: str, characters: str) -> Path:
    """Write a font whose glyphs are all the same triangle."""
    pen = TTGlyphPen(None)
    for act, point in ((pen.moveTo, (0, 0)), (pen.lineTo, (900, 0)), (pen.lineTo, (400, 900))):
        act(point)
    pen.closePath()
    glyphs = [".notdef", *(f"u{ord(one):x}" for one in characters)]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(glyphs)
    font.setupCharacterMap({ord(one): f"u{ord(one):x}" for one in characters})
    font.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": name, "styleName": "Regular"})
    font.setupOS2(sTypoAscender=900)
    font.setupPost()
    font.save(path)
    return path


@pytest.fixture(autouse=True)
def _few_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever is installed, there are matplotlib's own fonts alone."""
    own = [font for font in fontManager.ttflist if font.name.startswith("DejaVu")]
    monkeypatch.setattr(fontManager, "ttflist", own)
    fonts.warn_of_lacking.cache_clear()
    yield
    fontManager._findfont_cached.cache_clear()


@pytest.fixture
def view(tmp_path: Path) -> PlotView:
    return PlotView(RunSet((load_run(write_run(tmp_path, depth=2)),)))


def titled(text: str) -> Plot:
    """A plot with a title in any script."""

    @plot("titled", file="titled")
    def titled(view: PlotView) -> Any:
        figure = Figure((3, 1))
        figure.suptitle(text)
        return figure

    return titled.plot_definition()  # type: ignore[attr-defined,no-any-return]


def test_characters_are_drawn_in_installed_fonts_that_have_them(
    tmp_path: Path, view: PlotView, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, characters in (("Han", "中文猫"), ("Small", "文"), ("Nagari", "क")):
        fontManager.addfont(write_font(tmp_path / f"{name}.ttf", name, characters))
    with figure_of(titled("class 中文 क"), view) as figure:
        import matplotlib as mpl

        assert mpl.rcParams["font.family"] == ["sans-serif", "Han", "Nagari"]
        assert fonts.lacking_characters(figure) == set()
        figure.draw_without_rendering()
    for form in FORMATS:
        assert render(titled("class 中文 क"), view, form)
    assert capsys.readouterr() == ("", "")


def test_what_no_font_has_is_said_once(
    view: PlotView, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    for form in ("png", "svg"):
        assert render(titled("猫 and 文 日"), view, form)
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("warning: no installed font has 文, 日, 猫: drawn as boxes; install one")
    assert not recwarn.list


def test_of_many_characters_the_first_ones_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    fonts.warn_of_lacking(frozenset(map(chr, range(0x4E00, 0x4E00 + 13))))
    assert "一, 丁, 丂, 七, 丄, 丅, 丆, 万, 丈, 三 and 3 more: drawn" in capsys.readouterr().err


def test_fonts_that_cannot_be_drawn_with_are_passed_by(tmp_path: Path) -> None:
    gone = write_font(tmp_path / "gone.ttf", "Gone", "中")
    last = write_font(tmp_path / "last.ttf", "Last Resort", "中")
    for path in (gone, last):
        fontManager.addfont(path)
    gone.unlink()
    assert fonts.characters_of(str(last)) == {"中"}
    assert fonts.families_for({"中"}) == ()


def test_latin_text_needs_no_further_fonts(view: PlotView) -> None:
    import matplotlib as mpl

    with figure_of(titled("größe − α · ∞"), view) as figure:
        assert mpl.rcParams["font.family"] == ["sans-serif"]
        assert fonts.lacking_characters(figure) == set()


def test_names_along_axes_count(view: PlotView) -> None:
    """They are texts of ticks, which are not there before they are asked for."""

    @plot("named", file="named")
    def named(view: PlotView) -> Any:
        figure = Figure((3, 1))
        axes = figure.subplots()
        axes.set_xticks([0, 1], ["猫", "b"])
        axes.plot([0, 1], [0, 1], label="文")
        axes.legend()
        return figure

    with figure_of(named.plot_definition(), view) as figure:  # type: ignore[attr-defined]
        assert fonts.lacking_characters(figure) == {"猫", "文"}
