"""Tests of `cmp_core.report`: the page as a browser reads it, and the words in it."""

from __future__ import annotations

import base64
import json
import math
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
from matplotlib.figure import Figure

from cmp_core import PlotView, load_run, plot
from cmp_core.analysis.questions import QUESTIONS, Answer, MetricEvidence, answer
from cmp_core.cli import cli
from cmp_core.errors import PluginError, UndefinedError
from cmp_core.measurement.selection import with_installed_metric_info
from cmp_core.plotting.plot import Plot, select_plots
from cmp_core.plugins.failures import Failure
from cmp_core.plugins.loader import load_plugins
from cmp_core.report import report_html, words
from cmp_core.runs.metric_info import MetricInfo, dump_metric_info
from cmp_core.runs.replicates import RunSet
from tests.synthetic_runs import write_old_run, write_run

ACCURACY = MetricInfo("accuracy", "accuracy", "", "fraction", "predictive", "rises")
PR = MetricInfo("participation_ratio", "participation_ratio", "", "", "compressing", "falls")
CKA = MetricInfo(
    "linear_cka", "linear_cka", question="different", evidence="similarity", neighbour="previous"
)

FACTS = {facts.label: facts for facts in (ACCURACY, PR, CKA)}

Values = Mapping[str, Sequence[float | None]]
"""A metric's values at the layers in order, none where one is missing."""

VOID = {"meta", "img", "source", "br"}
FETCHING = {"src", "srcset", "href", "data", "poster", "background", "action"}


class Page(HTMLParser):
    """A page: its tags with their attributes, its text, and its tables as rows of cells.

    Every tag that is opened is closed, in the right order.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.style = self.pre = ""
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self._texts: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []
        self.text = " ".join("".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        self._texts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self._texts.append(" ")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
            return
        self._texts.append(data)
        if "pre" in self._open:
            self.pre += data
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] = " ".join((self.rows[-1][-1] + data).split())

    def attributes(self, tag: str, name: str) -> list[str]:
        """The values of an attribute of all tags of a name."""
        return [str(attributes[name]) for found, attributes in self.tags if found == tag]

    def rows_of(self, head: str) -> list[list[str]]:
        """The rows that begin with a cell, without it."""
        return [row[1:] for row in self.rows if row and row[0] == head]

    def between(self, start: str, end: str) -> str:
        """The text from one to another."""
        return self.text.partition(start)[2].partition(end)[0]


def read(*paths: Path, labels: Sequence[str] = ()) -> RunSet:
    runs = [with_installed_metric_info(load_run(path)) for path in paths]
    return RunSet(tuple(runs), tuple(labels))


def page(*paths: Path, labels: Sequence[str] = ()) -> Page:
    """The page about some runs, without pictures."""
    html, failures = report_html(read(*paths, labels=labels), ())
    assert failures == []
    return Page(html)


def all_plots() -> list[Plot]:
    return select_plots(load_plugins(built_ins=("cmp_plots",)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, which tests do not change."""
    folder = tmp_path_factory.mktemp("report")
    for seed in range(3):
        write_run(folder, seed=seed)
    write_run(folder, model="mlp", depth=6)
    write_old_run(folder)
    return folder


@pytest.fixture(scope="module")
def illustrated(folder: Path) -> str:
    """The page of one run, with its pictures."""
    html, failures = report_html(read(folder / "greedy_4_0"), all_plots())
    assert failures == []
    return html


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies a run, so that it can be changed."""

    def copied(name: str, to: str = "copy") -> Path:
        return Path(shutil.copytree(folder / name, tmp_path / to))

    return copied


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def write_seed(
    folder: Path,
    seed: int | None,
    values: Values,
    untrained: Values | None = None,
    test: Values | None = None,
) -> Path:
    """Write a run of three layers whose values are known, on validation and maybe in the test."""
    directory = folder / f"seed_{seed}"
    directory.mkdir()
    layers = [f"layer_{i}" for i in range(3)]

    def by_layer(values: Values) -> dict[str, Any]:
        return {
            layer: {metric: v for metric, row in values.items() if (v := row[i]) is not None}
            for i, layer in enumerate(layers)
        }

    config = {"model": "greedy", "dataset": "digits", "seed": seed}
    (directory / "params.yaml").write_text(json.dumps(config))
    (directory / "environment.json").write_text(json.dumps({"layers": layers}))
    (directory / "metrics.json").write_text(
        dump_metric_info(FACTS[metric] for metric in {**values, **(test or {})})
    )
    lines = [
        {"phase": "val", "epoch": epoch, "acc": 0.5 + epoch / 10, "val_loss": 1.0, "n": 100}
        | {"metrics": by_layer(told)}
        for epoch, told in enumerate((untrained or {}, values))
    ]
    (directory / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if test is not None:
        results = {"acc": 0.9, "n": 200, "epoch": 1, "metrics": by_layer(test)}
        (directory / "test_results.json").write_text(json.dumps(results))
    return directory


def a_plot(name: str, draw: Callable[[PlotView], Any]) -> Plot:
    """A plot that answers the questions, by a function."""
    declared: Any = plot(name, file=name, answers=True)(draw)
    return Plot(declared.plot_definition, name)


# The file


def test_the_page_is_one_file_that_fetches_nothing(illustrated: str) -> None:
    found = Page(illustrated)
    assert illustrated.startswith("<!doctype html>\n<html lang=")
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "svg"} & {
        tag for tag, _ in found.tags
    }
    fetched = [
        value
        for _, attributes in found.tags
        for name, value in attributes.items()
        if name in FETCHING
    ]
    assert len(fetched) == 6  # a light and a dark picture for each question
    assert all(str(value).startswith("data:image/svg+xml;base64,") for value in fetched)
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert "url(" not in illustrated
    assert "@import" not in illustrated
    for value in fetched:
        svg = base64.b64decode(str(value).partition(",")[2]).decode()
        assert "<svg" in svg
        assert "<script" not in svg
        assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', svg))
        assert all(link.startswith("#") for link in re.findall(r"url\(([^)]*)\)", svg))


def test_the_policy_forbids_the_rest_before_anything_is_read(folder: Path) -> None:
    found = page(folder / "greedy_4_0")
    names = [tag for tag, _ in found.tags]
    policies = [
        (place, attributes["content"])
        for place, (tag, attributes) in enumerate(found.tags)
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    ((place, policy),) = policies
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert place < names.index("title") < names.index("style") < names.index("body")


def test_the_pictures_are_light_and_dark(illustrated: str) -> None:
    found = Page(illustrated)
    media = found.attributes("source", "media")
    assert media == ["screen and (prefers-color-scheme: dark)"] * 3
    names = [tag for tag, _ in found.tags]
    places = [place for place, name in enumerate(names) if name == "picture"]
    assert [names[place : place + 3] for place in places] == [["picture", "source", "img"]] * 3
    for dark, light in zip(
        found.attributes("source", "srcset"), found.attributes("img", "src"), strict=True
    ):
        drawn = [base64.b64decode(uri.partition(",")[2]).decode() for uri in (dark, light)]
        assert ["#1b1d22" in svg for svg in drawn] == [True, False]
        assert ["#ffffff" in svg for svg in drawn] == [False, True]
    texts = found.attributes("img", "alt")
    expected = ["yes, in this run", "yes, in this run", "no, in this run"]
    for text, title, verdict in zip(texts, QUESTIONS.values(), expected, strict=True):
        assert text.startswith(f"{title} {verdict}")


def test_equal_runs_give_equal_pages_but_for_the_time(folder: Path, illustrated: str) -> None:
    again, _ = report_html(read(folder / "greedy_4_0"), all_plots())
    written = re.compile(r"written \d{4}-\d\d-\d\d \d\d:\d\d by")
    assert written.sub("", again) == written.sub("", illustrated) != illustrated


# Foreign texts


ATTACKS = ("<script>alert(1)</script>", "\"><img src=x onerror='alert(1)'>/", "'; {{ 7 * 7 }} & /<")


def plant(run: Path, text: str) -> Path:
    """Put a text wherever a run directory has names and reasons."""
    marked = json.dumps(text)[1:-1]
    for name in ("log.jsonl", "metrics.json", "test_results.json", "environment.json"):
        content = (run / name).read_text()
        for word in ("probe_accuracy", "layer_1", "it is the first layer", "fraction"):
            content = content.replace(f'"{word}"', f'"{marked}"')
        (run / name).write_text(content)
    facts = json.loads((run / "metrics.json").read_text())
    facts["margin"]["summary"] = text
    (run / "metrics.json").write_text(json.dumps(facts))
    edit(
        run / "environment.json",
        class_names=[text] * 10,
        python=text,
        packages={text: text},
        command=["cmp", text],
    )
    edit(run / "params.yaml", model=text, dataset=text, lr=text, seed=text)
    edit(run / "params.yaml", **{text: [text], "nested": {text: text}})
    with (run / "log.jsonl").open("a") as log:
        log.write("not whole\n")
    home = run.parent / text  # a slash in it makes a folder more
    home.parent.mkdir(parents=True, exist_ok=True)
    return run.rename(home)


@pytest.mark.parametrize("attack", ATTACKS)
def test_foreign_texts_are_shown_and_never_become_tags(
    copy: Callable[..., Path], attack: str, capsys: pytest.CaptureFixture[str]
) -> None:
    harmless = "wo/rd"
    drawing = a_plot("empty", lambda _: Figure((1, 1)))
    hostile, plain = (
        Page(report_html(read(plant(copy("greedy_4_0", to), text)), [drawing])[0])
        for to, text in (("one", attack), ("two", harmless))
    )

    def shape(of: Page) -> list[tuple[str, list[str]]]:
        return [(tag, list(attributes)) for tag, attributes in of.tags]

    assert shape(hostile) == shape(plain)
    assert len(hostile.rows) == len(plain.rows)
    # In commands it stands as the shell has to read it.
    counts = [
        of.text.partition("Reproduce")[0].count(text)
        for of, text in ((hostile, attack), (plain, harmless))
    ]
    assert counts[0] == counts[1] > 40
    for value in hostile.attributes("img", "alt"):
        assert value.startswith(tuple(QUESTIONS.values()))
    assert any(attack in value for value in hostile.attributes("img", "alt"))
    assert capsys.readouterr() == ("", "")


def test_a_label_is_shown_as_text(folder: Path) -> None:
    found = page(folder / "greedy_4_0", folder / "mlp_6_0", labels=["<b>bold</b>", "<i>"])
    assert found.rows_of("layer")[0] == ["<b>bold</b>", "<i>"]
    assert not {"b", "i"} & {tag for tag, _ in found.tags}


def test_half_a_surrogate_pair_spoils_no_page(copy: Callable[..., Path]) -> None:
    run = copy("greedy_4_0")
    edit(run / "params.yaml", model="a\udce9b")
    html, _ = report_html(read(run), ())
    assert "a?b" in html
    html.encode()


def test_keys_and_circles_that_json_has_not_are_shown(copy: Callable[..., Path]) -> None:
    run = copy("greedy_4_0")
    (run / "params.yaml").write_text(
        "model: greedy\nwhen: 2026-01-01\nnested: {2026-01-01: 1}\ncircle: &it [*it]\n"
        "? [a, b]\n: 3\n1: 2\nnull: 4\nratio: .nan\nlist: [a, b]\nempty:\n"
    )
    found = page(run)
    (nested,), (circle,) = found.rows_of("nested")[0], found.rows_of("circle")[0]
    assert "2026" in nested
    assert "..." in circle
    shown = {row[0]: row[1] for row in found.rows if len(row) == 2}
    assert shown["when"].strip('"') == "2026-01-01"
    assert (shown["1"], shown["None"], shown["ratio"]) == ("2", "4", "NaN")
    assert (shown["list"], shown["empty"]) == ("a, b", "null")


# The answers


def test_three_seeds_are_tested_and_the_numbers_are_right(tmp_path: Path) -> None:
    """Rises by 0.20, 0.24 and 0.28: t = 0.24·√3/0.04 with two degrees of freedom."""
    paths = [
        write_seed(tmp_path, seed, {}, test={"accuracy": [0.5, 0.6, 0.5 + rise]})
        for seed, rise in enumerate((0.20, 0.24, 0.28))
    ]
    found = page(*paths)
    effect, error = 0.24, 0.04 / math.sqrt(3)
    reach = 4.302653 * error  # of Student's t with two degrees of freedom, 97.5 %
    t, t_margin = effect / error, (effect - 0.01) / error
    p = 1 - t / math.sqrt(2 + t**2)
    p_equivalence = 0.5 + t_margin / (2 * math.sqrt(2 + t_margin**2))
    (row,) = [row for row in found.rows_of("accuracy") if len(row) == 11]
    assert (
        row
        == [
            "yes",
            "+24.0 points",
            f"+{100 * (effect - reach):.1f} points to +{100 * (effect + reach):.1f} points",
            f"{p:.3f}"[1:],
            "–",  # the untrained network was not measured
            "test, 200",
            "6",
            ".250",  # 2 of the 2³ sign flips are as far from 0
            f"{p_equivalence:.3f}"[1:],
            f"{(1 / 6) ** 3:.3f}"[1:],  # of the 6 orders of each seed's three layers one is right
            "1",
        ]
    )
    assert "Are later layers more predictive? yes over 3 seeds" in found.text
    assert "Are layers compressing? inconclusive over 3 seeds" in found.text


def test_the_page_says_what_the_answers_say(folder: Path) -> None:
    paths = [folder / f"greedy_4_{seed}" for seed in range(3)]
    found = page(*paths)
    for question, title in QUESTIONS.items():
        one = answer(read(*paths).runs, question)
        assert f"{title} {one.verdict} over 3 seeds {words.sentence(one)}" in found.text
        assert one.evidence
        for w in one.evidence:
            (row,) = [row for row in found.rows_of(w.info.label) if row[0] == w.verdict]
            expected = [
                w.verdict,
                words.effect(w, w.test.effect),
                words.interval(w),
                words.p_value(w.test.p),
                words.untrained(w),
                f"{w.phase}, {w.n}",
                words.number(w.test.standardized, 2),
                words.p_value(w.test.p_sign_flip),
                words.p_value(w.test.p_equivalence),
            ]
            trend = [words.p_value(w.page_p), words.number(w.tau, 2)]
            assert row == [*expected, *(trend if question != "different" else [])]
        for step in one.steps:
            shown = [str(step.seed), str(step.lost), str(step.won), words.p_value(step.p)]
            assert [*shown, words.number(step.kappa, 2)] in found.rows_of(
                f"{step.first} → {step.second}"
            )
        for note in one.notes:
            assert note in found.text


def test_a_halving_is_half_whatever_the_scale(tmp_path: Path) -> None:
    """Falls by log 2, 2·log 2 and 3·log 2: t = 2·√3, which is not below 5 %."""
    paths = [
        write_seed(
            tmp_path,
            seed,
            {"participation_ratio": [8, 8 / base, 8 / base**2]},
            {"participation_ratio": [4, 4, 4]},
        )
        for seed, base in enumerate((2**0.5, 2, 2**1.5))
    ]
    (row,) = [row for row in page(*paths).rows_of("participation_ratio") if len(row) == 11]
    reach = 4.302653 / math.sqrt(3)
    low, high = (f"{abs(100 * (2**-x - 1)):.0f}" for x in (2 + reach, 2 - reach))
    assert row[:6] == [
        "inconclusive",
        "−75 %",
        f"−{low} % to +{high} %",
        ".074",
        "+0 %",
        "val, 100",
    ]
    assert row[-1] == "−1"


def test_a_difference_is_told_beside_that_of_the_untrained_network(tmp_path: Path) -> None:
    trained, untrained = {"linear_cka": [None, 0.7, 0.5]}, {"linear_cka": [None, 0.9, 0.7]}
    found = page(write_seed(tmp_path, 0, trained, untrained))
    sentence = "linear_cka differs by 0.4 (untrained 0.2)"
    assert f"Are layers genuinely different? yes in this run (one seed) {sentence}" in found.text
    (row,) = [row for row in found.rows_of("linear_cka") if row[0] == "yes"]
    assert row == ["yes", "+0.2", "0.2", "val, 100"]


def test_one_seed_is_described_without_tests(folder: Path) -> None:
    found = page(folder / "greedy_4_0")
    heads = found.rows_of("metric")
    with_trend = ["verdict", "effect", "untrained (val)", "samples", "τ"]
    assert heads[:3] == [with_trend, with_trend, with_trend[:-1]]
    for title in QUESTIONS.values():
        assert re.search(
            rf"{re.escape(title)} (yes|no|inconclusive) in this run \(one seed\)", found.text
        )
    assert "over 1 seeds" not in found.text
    assert "another seed" not in found.between("All metrics", "What was run")
    assert "The same layer of another seed" not in found.text
    assert "Test accuracy of the best weights by validation. layer" in found.text
    assert not any("±" in cell for row in found.rows for cell in row)


def test_two_experiments_stand_side_by_side(folder: Path) -> None:
    names = ["greedy_4_0", "mlp_6_0", "greedy_4_1"]
    found = page(*(folder / name for name in names))
    assert "<h1>greedy and mlp on digits</h1>" in found.html
    assert "greedy: 4 layers, seeds 0, 1" in found.text
    assert "mlp: 6 layers, seed 0" in found.text
    assert found.rows_of("layer") == [["greedy", "mlp"]]
    verdicts = re.findall(r"(?:yes|no|inconclusive) (over 2|in this run)", found.text)
    assert verdicts == [*["over 2"] * 3, *["in this run"] * 3] * 2  # in short, and in full
    tested = [load_run(folder / name).test_accuracies for name in names]
    both = [tested[0]["layer_3"], tested[2]["layer_3"]]
    assert found.rows_of("layer_3")[0] == [
        f"{np.mean(both):.4f} ± {np.std(both, ddof=1):.4f}",
        f"{tested[1]['layer_3']:.4f}",
    ]
    assert found.rows_of("layers") == [["4 | 6 | 4"]]
    assert found.rows_of("dataset") == [["digits"]]


def test_layers_of_runs_of_different_depth_are_in_order(folder: Path) -> None:
    deep = [f"layer_{i}" for i in range(6)]
    for names in (["mlp_6_0", "greedy_4_0"], ["greedy_4_0", "mlp_6_0"]):
        found = page(*(folder / name for name in names))
        table = [row[0] for row in found.rows if re.fullmatch(r"layer_\d+|head", row[0])]
        assert table == [*deep, "head"]
        place = names.index("greedy_4_0")
        assert [found.rows_of(layer)[0][place] for layer in ("layer_5", "head")] == ["–", "–"]
        assert ["unit", "input", *deep, "head"] in found.rows_of("metric")
        assert ["unit", "input", *deep[:4]] in found.rows_of("metric")


def test_a_head_stands_below_the_layers_of_deeper_runs(folder: Path, tmp_path: Path) -> None:
    found = page(write_run(tmp_path, model="mlp", depth=2), folder / "greedy_4_0")
    table = [row[0] for row in found.rows if re.fullmatch(r"layer_\d|head", row[0])]
    assert table == ["layer_0", "layer_1", "layer_2", "layer_3", "head"]


def test_an_old_run_is_reported_as_far_as_it_goes(folder: Path) -> None:
    found = page(folder / "old_3")
    assert "mlp on mnist" in found.text
    assert found.rows_of("layer_2") == [["0.6100"]]  # the output is all that was tested
    assert found.rows_of("probe_accuracy")[-1][-4:] == ["–", "0.6", "0.7", "0.8"]
    assert found.rows_of("untrained") == [["", "", "–", "–", "–"]] * 2
    assert "probe_accuracy is of validation" in found.text
    assert "Environment Not recorded." in found.text
    assert "None" not in found.between("The three questions", "Missing values")


def test_an_untested_run_says_so(copy: Callable[..., Path]) -> None:
    run = copy("greedy_4_0")
    for name in ("test_results.json", "test_predictions.npz", "confusion.npy"):
        (run / name).unlink()
    found = page(run)
    assert "What came out, layer by layer Nothing was tested." in found.text
    assert "accuracy is of validation, which chose the epoch as well" in found.text
    assert "Neighbouring layers on the same test samples" not in found.text


def test_a_run_that_measured_nothing_says_so(tmp_path: Path) -> None:
    found = page(write_seed(tmp_path, 0, {}))
    assert "Nothing was tested." in found.text
    assert "No metrics were measured on validation." in found.text
    assert "Missing values None." in found.text
    assert (
        found.text.count("inconclusive in this run (one seed) no metric that counts as evidence")
        == 6
    )


def test_runs_without_a_seed_show_none(copy: Callable[..., Path]) -> None:
    run = copy("greedy_4_0")
    edit(run / "params.yaml", seed=None)
    assert page(run).rows_of("layer_0 → layer_1")[0][0] == "–"


# Values


def test_missing_values_are_listed_with_their_reasons(folder: Path) -> None:
    found = page(folder / "greedy_4_0")
    assert ["it is the first layer", "layer_0"] in found.rows_of("linear_cka")
    assert ["it is the last layer", "layer_3"] in found.rows_of("ridge_r2")


def test_a_reason_of_many_layers_is_one_row(copy: Callable[..., Path]) -> None:
    run = copy("greedy_4_0")
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for line in lines:
        if line["phase"] == "val":
            reasons = {"margin": "no anchors", "linear_cka:layer_0": "no anchors"}
            line["missing"] = dict.fromkeys(("layer_2", "input", "layer_0"), reasons)
            line["metrics"]["layer_1"]["margin"] = math.nan
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = page(run)
    assert ["no anchors", "input, layer_0, layer_2"] in found.rows_of("margin")
    assert ["NaN in the log", "layer_1"] in found.rows_of("margin")
    assert ["no anchors", "input, layer_0, layer_2"] in found.rows_of("linear_cka")


def test_the_input_and_the_untrained_network_are_references(folder: Path) -> None:
    lines = map(json.loads, (folder / "greedy_4_0" / "log.jsonl").read_text().splitlines())
    ends = {line["epoch"]: line for line in lines if line["phase"] == "val"}
    found = page(folder / "greedy_4_0")
    rows = [row for row in found.rows if len(row) == 7]  # metric, unit, input, four layers
    place = next(i for i, row in enumerate(rows) if row[:2] == ["accuracy", "fraction"])
    tested, untrained = rows[place], rows[place + 1]
    layers = [f"layer_{i}" for i in range(4)]
    assert tested[2] == words.number(ends[3]["reference"]["accuracy"])
    assert tested[3:] == [words.number(ends[3]["metrics"][x]["accuracy"]) for x in layers]
    assert untrained[:3] == ["untrained", "", ""]
    assert untrained[3:] == [words.number(ends[0]["metrics"][x]["accuracy"]) for x in layers]


def test_values_of_several_seeds_are_means(tmp_path: Path) -> None:
    paths = [
        write_seed(tmp_path, seed, {"participation_ratio": [seed + 1, 4, None]})
        for seed in range(3)
    ]
    found = page(*paths)
    assert ["", "–", "2", "4", "–"] in found.rows_of("participation_ratio")
    assert "means over 3 seeds" in found.text


# What was run


def test_one_environment_of_all_runs_is_shown_once(folder: Path) -> None:
    found = page(folder / "greedy_4_0", folder / "greedy_4_1", folder / "mlp_6_0")
    assert found.rows_of("python") == [["3.11"]]
    assert found.between("Environment", "Reproduce").split() == ["python", "3.11", "device", "cpu"]


def test_different_environments_are_shown_with_their_runs(
    folder: Path, copy: Callable[..., Path]
) -> None:
    other, bare = copy("greedy_4_1", "one"), copy("mlp_6_0", "two")
    edit(other / "environment.json", python="3.12", packages={"torch": "2.6"}, gpu=None)
    (bare / "environment.json").unlink()
    found = page(folder / "greedy_4_0", other, folder / "greedy_4_2", bare)
    shown = found.between("Environment", "Reproduce")
    assert shown.split("greedy · seed 1")[0].strip() == (
        "greedy · seed 0, greedy · seed 2 python 3.11 device cpu"
    )
    assert "greedy · seed 1 python 3.12 device cpu torch 2.6" in shown
    assert shown.endswith("mlp Not recorded. ")


def commands(of: Page) -> list[list[str]]:
    """The commands under `Reproduce`, checked by the command line itself."""
    found = [shlex.split(line) for line in of.pre.splitlines() if line]
    for program, name, *arguments in found:
        assert program == "cmp"
        cli.commands[name].make_context(name, list(arguments))
    return found


def test_the_commands_that_reproduce_are_real(copy: Callable[..., Path], folder: Path) -> None:
    run = copy("mlp_6_0", "a run; $(rm)")
    edit(run / "environment.json", command=["/usr/bin/cmp", "run", "--set", "lr=1e-3 # x"])
    found = commands(page(folder / "greedy_4_0", run, labels=["small", "a c"]))
    assert found == [
        ["cmp", "run", "-c", "greedy"],
        ["cmp", "run", "-c", str(folder / "greedy_4_0" / "params.yaml")],
        ["cmp", "run", "--set", "lr=1e-3 # x"],
        ["cmp", "run", "-c", str(run / "params.yaml")],
        ["cmp", "report", str(folder / "greedy_4_0"), str(run), "--labels", "small,a c"],
    ]


@pytest.mark.parametrize(
    ("command", "is_ours"),
    [
        (["/venv/bin/cmp-metrics", "run"], True),
        (["/venv/lib/cmp_core/__main__.py", "run"], True),
        (["cmp.exe", "run"], True),
        (["/venv/lib/pytest/__main__.py", "-n", "2"], False),
        (["ipykernel_launcher.py", "-f", "kernel.json"], False),
        ([], False),
        ("cmp run", False),
        (None, False),
        ([1, 2], False),
    ],
)
def test_only_a_command_of_ours_is_told(tmp_path: Path, command: Any, is_ours: bool) -> None:
    run = write_seed(tmp_path, 0, {})
    edit(run / "environment.json", command=command)
    told = commands(page(run))
    assert told[:-2] == ([["cmp", "run"]] if is_ours else [])


# Pictures and comparisons that fail


def test_a_plot_that_raises_costs_its_picture_alone(folder: Path) -> None:
    def raising(view: PlotView) -> NoReturn:
        raise ZeroDivisionError("no <luck>")

    def leaving(view: PlotView) -> NoReturn:
        raise SystemExit(2)

    def undefined(view: PlotView) -> NoReturn:
        raise UndefinedError("nothing to see")

    drawings = {
        "raising": raising,
        "leaving": leaving,
        "undefined": undefined,
        "textual": lambda _: "no figure",
        "good": lambda _: Figure((1, 1)),
    }
    plots = [a_plot(name, draw) for name, draw in drawings.items()]
    html, failures = report_html(read(folder / "greedy_4_0"), plots)
    assert [tag for tag, _ in Page(html).tags].count("img") == len(QUESTIONS)
    assert {(f.plugin, f.hook, f.error) for f in failures} == {
        ("raising", "the report", "ZeroDivisionError: no <luck>"),
        ("leaving", "the report", "SystemExit: 2"),
        ("textual", "the report", "PluginError: expected a matplotlib Figure, got str"),
    }
    assert all(isinstance(f, Failure) and f.disabled for f in failures)
    assert "in raising" in failures[0].traceback


def test_plots_that_answer_nothing_are_not_drawn(folder: Path) -> None:
    @plot("other", file="other")
    def other(view: PlotView) -> NoReturn:
        raise AssertionError

    definition: Any = other
    html, failures = report_html(
        read(folder / "greedy_4_0"), [Plot(definition.plot_definition, "other")]
    )
    assert (failures, html.count("<img")) == ([], 0)


def test_a_question_without_evidence_is_not_drawn(tmp_path: Path) -> None:
    asked: list[str | None] = []
    drawing = a_plot("asked", lambda view: asked.append(view.question) or Figure((1, 1)))
    report_html(read(write_seed(tmp_path, 0, {"participation_ratio": [4, 2, 1]})), [drawing])
    assert asked == ["compressing"] * 2  # in light and in dark


def with_snapshots(copy: Callable[..., Path]) -> list[Path]:
    paths = [copy(f"greedy_4_{seed}", f"snapshots_{seed}") for seed in range(2)]
    for path in paths:
        (path / "activations").mkdir()
        (path / "activations" / "step_00000001.h5").touch()
    return paths


def test_another_seed_is_a_reference_for_differences(
    copy: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = SimpleNamespace(metric="cka", neighbours=0.25, same_layer=1 / 3, n=64, phase="test")
    fake = SimpleNamespace(compare_seeds=lambda runs: (row,))
    monkeypatch.setitem(sys.modules, "cmp_core.analysis.seed_baseline", fake)
    found = page(*with_snapshots(copy))
    assert found.rows_of("cka") == [["64", "0.25", "0.333"]]
    assert "on the test samples that both have stored" in found.text


@pytest.mark.parametrize(
    "error", [PluginError("the metric raised"), UndefinedError("<nothing> to compare")]
)
def test_a_comparison_of_seeds_that_fails_costs_itself_alone(
    copy: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def compare_seeds(runs: Any) -> NoReturn:
        raise error

    fake = SimpleNamespace(compare_seeds=compare_seeds)
    monkeypatch.setitem(sys.modules, "cmp_core.analysis.seed_baseline", fake)
    found = page(*with_snapshots(copy))
    assert f"The same layer of another seed was not compared: {error}." in found.text


def test_without_torch_seeds_are_not_compared_by_their_activations(
    copy: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "cmp_core.analysis.seed_baseline", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    text = "was not compared: measuring stored activations needs torch."
    assert text in page(*with_snapshots(copy)).text


def test_runs_without_snapshots_are_not_compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        sys.modules, "cmp_core.analysis.seed_baseline", None
    )  # nothing asks for it, nor torch
    found = page(folder / "greedy_4_0", folder / "greedy_4_1")
    assert "was not compared: greedy_4_0 has no snapshots." in found.text


# Words


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 3, "–"),
        (math.nan, 3, "–"),
        (math.inf, 3, "–"),
        (-math.inf, 3, "–"),
        (0.0, 3, "0"),
        (-0.0, 3, "0"),
        (1.0, 3, "1"),
        (0.99951, 3, "1"),
        (-0.12345, 3, "−0.123"),
        (99.4, 2, "99"),
        (99.6, 2, "100"),  # not 1e+02
        (-99.6, 2, "−100"),
        (99.96, 3, "100"),
        (100.4, 3, "100"),
        (123456.7, 2, "123457"),
        (999_999.4, 3, "1e+06"),
        (1e6, 3, "1e+06"),
        (-1.5e-7, 3, "−1.5e−07"),
        (1.7e308, 3, "1.7e+308"),
        (5e-324, 3, "4.94e−324"),
    ],
)
def test_numbers_in_words(value: float | None, digits: int, text: str) -> None:
    assert words.number(value, digits) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "< .001"),
        (5e-324, "< .001"),
        (0.00099, "< .001"),
        (0.001, ".001"),
        (0.05, ".050"),
        (0.9994, ".999"),
        (0.9996, "1"),
        (1.0, "1"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_p_values_in_words(p: float, text: str) -> None:
    assert words.p_value(p) == text


def item(
    facts: MetricInfo, values: Sequence[Sequence[float]], untrained: Any = None
) -> MetricEvidence:
    rows = np.array(values, dtype=np.float64)
    places = tuple(f"layer_{i}" for i in range(rows.shape[1]))
    before = None if untrained is None else np.array(untrained, dtype=np.float64)
    return MetricEvidence(facts, "val", 100, places, rows, before, None)


BITS = MetricInfo("information", "information", "", "bits", "predictive", "rises")


@pytest.mark.parametrize(
    ("facts", "value", "text"),
    [
        (ACCURACY, 0.0123, "+1.2 points"),
        (ACCURACY, -0.0123, "−1.2 points"),
        (ACCURACY, 0.0, "+0.0 points"),
        (ACCURACY, -0.0001, "+0.0 points"),
        (ACCURACY, math.nan, "–"),
        (ACCURACY, math.inf, "–"),
        (ACCURACY, 1e300, f"+{1e302:.1f} points"),
        (BITS, 1.25, "+1.2 bits"),
        (BITS, -1e-9, "−1e−09 bits"),
        (PR, math.log(2), "−50 %"),
        (PR, -math.log(2), "+100 %"),
        (PR, -math.log(1.996), "+100 %"),  # not 1e+02
        (PR, 0.0, "+0 %"),
        (PR, 1e4, "−100 %"),
        (PR, -1e4, f"+{100 * math.exp(700):.2g} %"),  # no overflow
        (PR, -math.inf, "–"),
        (CKA, 0.051, "+0.051"),
        (CKA, -0.2, "−0.2"),
        (CKA, math.nan, "–"),
    ],
)
def test_effects_in_words(facts: MetricInfo, value: float, text: str) -> None:
    assert words.effect(item(facts, [[1, 1]]), value) == text


def test_intervals_in_words() -> None:
    one = item(ACCURACY, [[0.5, 0.6]])
    tied = item(ACCURACY, [[0.5, 0.6], [0.5, 0.6]])
    assert [words.interval(one), words.interval(tied)] == ["–", "–"]
    low, high = words.interval(item(PR, [[4, 2], [4, 1.9], [4, 2.1]])).split(" to ")
    assert float(low[1:-2]) > float(high[1:-2])  # −57 % to −43 %
    assert low.startswith("−")
    far = words.interval(item(PR, [[1e-300, 1e300], [1, 1]]))
    assert far == f"−100 % to +{100 * math.exp(700):.2g} %"


def test_the_untrained_network_in_words() -> None:
    trained = [[0.5, 0.7], [0.5, 0.8]]
    assert words.untrained(item(ACCURACY, trained)) == "–"
    assert words.untrained(item(ACCURACY, trained, [[0.1, 0.1], [0.1, 0.12]])) == "+1.0 points"
    assert words.untrained(item(CKA, trained, [[0.9, 0.8], [1, 1]])) == "0.075"


def test_evidence_in_words() -> None:
    assert words.finding(item(PR, [[4, 2]])) == "participation_ratio −50 %"
    assert words.finding(item(CKA, [[0.9, 0.8]])) == "linear_cka differs by 0.15"
    assert words.finding(item(CKA, [[0.9, 0.8]], [[1, 1]])) == (
        "linear_cka differs by 0.15 (untrained 0)"
    )


def test_an_answer_in_words() -> None:
    seen = item(PR, [[4, 2]]), item(BITS, [[0, 1]])
    assert words.sentence(Answer("compressing", "yes", 1, seen)) == (
        "participation_ratio −50 %, information +1 bits"
    )
    silent = Answer("compressing", "inconclusive", 1, notes=("one thing", "another"))
    assert words.sentence(silent) == "another"
