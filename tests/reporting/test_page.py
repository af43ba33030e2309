"""Tests of `cmp_core.reporting.page`: the page as a browser reads it."""

from __future__ import annotations

import base64
import json
import math
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import t

from cmp_core import PlotView, load_run, plot
from cmp_core.analysis import words
from cmp_core.analysis.questions import QUESTIONS, answers_of
from cmp_core.cli import cli
from cmp_core.errors import UndefinedError
from cmp_core.measurement.selection import with_installed_metric_info
from cmp_core.plotting.plot import Plot, select_plots
from cmp_core.plugins.loader import load_plugins
from cmp_core.reporting import report_html
from cmp_core.runs.metric_info import MetricInfo, dump_metric_info
from cmp_core.runs.replicates import RunSet
from cmp_core.runs.seed_baseline import SeedBaseline, SeedDifference
from tests.reporting.reading import Page
from tests.synthetic_runs import write_old_run, write_run

FACTS = {
    facts.label: facts
    for facts in (
        MetricInfo("accuracy", "accuracy", "", "fraction", "predictive", "rises"),
        MetricInfo("participation_ratio", "participation_ratio", "", "", "compressing", "falls"),
        MetricInfo(
            "linear_cka", "linear_cka", "", "", "different", "similarity", neighbour="previous"
        ),
    )
}
FETCHING = {"src", "srcset", "href", "data", "poster", "background", "action"}

Copy = Callable[..., Path]
Values = Mapping[str, Sequence[float | None]]
"""A metric's values at the layers in order, none where one is missing."""


def read(*paths: Path, labels: Sequence[str] = ()) -> RunSet:
    runs = [with_installed_metric_info(load_run(path)) for path in paths]
    return RunSet(tuple(runs), tuple(labels))


def page(
    *paths: Path, labels: Sequence[str] = (), baselines: Mapping[str, SeedBaseline] | None = None
) -> Page:
    """The page about some runs, without pictures."""
    place = paths[0].parent
    html, failures = report_html(read(*paths, labels=labels), (), baselines or {}, place)
    assert failures == []
    return Page(html)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, which tests do not change."""
    folder = tmp_path_factory.mktemp("report")
    for seed in range(3):
        write_run(folder, seed=seed)
    write_run(folder, model="mlp", depth=6)
    write_run(folder, model="mlp", depth=2)
    write_old_run(folder)
    return folder


@pytest.fixture(scope="module")
def one(folder: Path) -> Page:
    """The page of one run."""
    return page(folder / "greedy_4_0")


@pytest.fixture(scope="module")
def illustrated(folder: Path) -> Page:
    """The page of one run, with its pictures."""
    plots = select_plots(load_plugins(built_ins=("cmp_plots",)))
    html, failures = report_html(read(folder / "greedy_4_0"), plots, {})
    assert failures == []
    return Page(html)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Copy:
    """A function that copies a run, so that it can be changed."""

    def copied(name: str, to: str = "copy") -> Path:
        return Path(shutil.copytree(folder / name, tmp_path / to))

    return copied


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def write_seed(
    folder: Path, seed: int, values: Values, untrained: Values | None = None, test: Any = None
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
    facts = dump_metric_info(FACTS[metric] for metric in {**values, **(test or {})})
    (directory / "metrics.json").write_text(facts)
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


def a_plot(name: str, draw: Callable[[PlotView], Any], answers: bool = True) -> Plot:
    """A plot by a function."""
    declared: Any = plot(name, file=name, answers=answers)(draw)
    return Plot(declared.plot_definition, name)


# The file


def test_the_page_is_one_file_that_fetches_nothing(illustrated: Page) -> None:
    assert illustrated.html.startswith("<!doctype html>\n<html lang=")
    forbidden = {"script", "link", "iframe", "object", "embed", "base", "form", "svg"}
    assert not forbidden & set(illustrated.names)
    assert not re.search(r"url\(|@import", illustrated.html)
    given = [item for _, attributes in illustrated.tags for item in attributes.items()]
    assert not any(name.startswith("on") for name, _ in given)
    fetched = [str(value) for name, value in given if name in FETCHING]
    assert len(fetched) == 5  # two of what came out, and one for each question
    for value in fetched:
        assert value.startswith("data:image/svg+xml;base64,")
        svg = base64.b64decode(value.partition(",")[2]).decode()
        assert "<svg" in svg
        assert "<script" not in svg
        links = re.findall(r'href="([^"]*)"|url\(([^)]*)\)', svg)
        assert all("".join(link).startswith(("#", "data:image/png;base64,")) for link in links)


def test_the_policy_forbids_the_rest_before_anything_is_read(one: Page) -> None:
    policies = [
        (place, attributes["content"])
        for place, (_, attributes) in enumerate(one.tags)
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    ((place, policy),) = policies
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert place < one.names.index("title") < one.names.index("style") < one.names.index("body")


def test_the_pictures_are_light_and_dark(illustrated: Page) -> None:
    of_questions = illustrated.attributes("img", "src")[2:]
    assert len(of_questions) == 3
    for uri in of_questions:
        svg = base64.b64decode(uri.partition(",")[2]).decode()
        light, _, dark = svg.partition("@media screen and (prefers-color-scheme: dark)")
        assert "#1b1d22" not in light
        assert '[style*="fill: #1d2026"] {fill: #e6e6e6 !important}' in dark
        assert 'style="fill: #1d2026"' in dark  # of the text, which that turns light
    texts = illustrated.attributes("img", "alt")[2:]
    for text, title in zip(texts, QUESTIONS.values(), strict=True):
        assert text.startswith(f"{title} one seed: described, not tested")


def test_equal_runs_give_equal_pages_but_for_the_time(folder: Path, one: Page) -> None:
    written = re.compile(r"written \d{4}-\d\d-\d\d \d\d:\d\d by")
    again = page(folder / "greedy_4_0")
    assert written.sub("", again.html) == written.sub("", one.html) != one.html


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
    margin = json.loads((run / "metrics.json").read_text())["margin"]
    edit(run / "metrics.json", margin=margin | {"summary": text})
    names = {"class_names": [text] * 10, "python": text, "packages": {text: text}}
    edit(run / "environment.json", **names, command=["cmp", text])
    edit(run / "params.yaml", model=text, dataset=text, lr=text, seed=text)
    edit(run / "params.yaml", **{text: [text], "nested": {text: text}})
    with (run / "log.jsonl").open("a") as log:
        log.write("not whole\n")
    home = run.parent / text  # a slash in it makes a folder more
    home.parent.mkdir(parents=True, exist_ok=True)
    return run.rename(home)


@pytest.mark.parametrize("attack", ATTACKS)
def test_foreign_texts_are_shown_and_never_become_tags(
    copy: Copy, attack: str, capsys: pytest.CaptureFixture[str]
) -> None:
    harmless = "wo/rd"
    drawing = a_plot("empty", lambda _: Figure((1, 1)))
    hostile, plain = (
        Page(report_html(read(plant(copy("greedy_4_0", to), text)), [drawing], {})[0])
        for to, text in (("one", attack), ("two", harmless))
    )
    shapes = [[(tag, list(attributes)) for tag, attributes in of.tags] for of in (hostile, plain)]
    assert shapes[0] == shapes[1]
    assert len(hostile.rows) == len(plain.rows)
    # In commands it stands as the shell has to read it.
    counts = [
        of.text.partition("Reproduce")[0].count(text)
        for of, text in ((hostile, attack), (plain, harmless))
    ]
    assert counts[0] == counts[1] > 40
    alternatives = hostile.attributes("img", "alt")
    assert all(value.startswith(tuple(QUESTIONS.values())) for value in alternatives)
    assert any(attack in value for value in alternatives)
    assert capsys.readouterr() == ("", "")


def test_a_label_is_shown_as_text(folder: Path) -> None:
    found = page(folder / "greedy_4_0", folder / "mlp_6_0", labels=["<b>bold</b>", "<i>"])
    assert found.rows_of("layer")[0] == ["<b>bold</b>", "<i>"]
    assert not {"b", "i"} & set(found.names)


def test_half_a_surrogate_pair_spoils_no_page(copy: Copy) -> None:
    run = copy("greedy_4_0")
    edit(run / "params.yaml", model="a\udce9b")
    html = page(run).html
    assert "a?b" in html
    html.encode()


def test_keys_that_json_has_not_are_shown(copy: Copy) -> None:
    run = copy("greedy_4_0")
    (run / "params.yaml").write_text(
        "model: greedy\nwhen: 2026-01-01\nnested: {2026-01-01: 1}\n"
        "? [a, b]\n: 3\n1: 2\nnull: 4\nratio: .nan\nlist: [a, b]\nempty:\n"
    )
    shown = {row[0]: row[1] for row in page(run).rows if len(row) == 2}
    assert "2026" in shown["nested"]
    assert shown["when"].strip('"') == "2026-01-01"
    assert (shown["1"], shown["None"], shown["ratio"]) == ("2", "4", "NaN")
    assert (shown["list"], shown["empty"]) == ("a, b", "null")


# The answers


def evidence(found: Page, metric: str, cells: int) -> list[str]:
    """The row of a metric among the evidence."""
    (row,) = [row for row in found.rows_of(metric) if len(row) == cells]
    return row


def test_three_seeds_are_tested_and_the_numbers_are_right(tmp_path: Path) -> None:
    """Rises by 0.20, 0.24 and 0.28: t = 0.23·√3/0.04 with two degrees of freedom."""
    found = page(
        *(
            write_seed(tmp_path, seed, {}, test={"accuracy": [0.5, 0.6, 0.5 + rise]})
            for seed, rise in enumerate((0.20, 0.24, 0.28))
        )
    )
    effect, error = 0.24, 0.04 / math.sqrt(3)
    reach = 4.302653 * error  # of Student's t with two degrees of freedom, 97.5 %
    t = (effect - 0.01) / error
    assert evidence(found, "accuracy", 9) == [
        "yes",
        "+24.0 points",
        f"+{100 * (effect - reach):.1f} to +{100 * (effect + reach):.1f} points",
        f"{1 - t / math.sqrt(2 + t**2):.3f}"[1:],
        *("–", "–", "–"),  # the untrained network was not measured
        "test, 200",
        "–",  # nothing was fitted
    ]
    p = f"{1 - t / math.sqrt(2 + t**2):.3f}"[1:]
    assert f"Are later layers more predictive? yes 3 seeds, p {p} " in found.text
    assert "Are layers compressing? no evidence 3 seeds" in found.text
    assert (
        "the last hidden layer minus the first; 1 point is the smallest that matters." in found.text
    )


def test_a_halving_is_half_whatever_the_scale(tmp_path: Path) -> None:
    """Falls by log 2, 2·log 2 and 3·log 2, where nothing fell before training."""
    pr = "participation_ratio"
    found = page(
        *(
            write_seed(tmp_path, seed, {pr: [8, 8 / base, 8 / base**2]}, {pr: [4, 4, 4]})
            for seed, base in enumerate((2**0.5, 2, 2**1.5))
        )
    )
    reach = 4.302653 / math.sqrt(3)
    low, high = (f"{abs(100 * (2**-x - 1)):.0f}" for x in (2 + reach, 2 - reach))
    row = evidence(found, pr, 9)
    assert row[:3] == ["inconclusive", "−75 %", f"−{low} to +{high} %"]
    learned = ["−75 %", f"−{low} to +{high} %"]
    assert row[4:] == ["+0 %", *learned, "val, 100", "–"]


def test_a_difference_is_told_beside_that_of_the_untrained_network(tmp_path: Path) -> None:
    trained, untrained = {"linear_cka": [None, 0.7, 0.5]}, {"linear_cka": [None, 0.9, 0.7]}
    found = page(write_seed(tmp_path, 0, trained, untrained))
    sentence = "linear_cka: 0–1 +0.3, 1–2 +0.5, mean learned +0.2"
    told = f"Are layers genuinely different? one seed described, not tested {sentence}"
    assert told in found.text
    row = evidence(found, "linear_cka", 9)
    assert row[1:] == ["+0.4", "–", "–", "+0.2", "+0.2", "–", "val, 100", "–"]


def test_findings_steps_and_notes_stand_in_the_page(folder: Path) -> None:
    paths = [folder / f"greedy_4_{seed}" for seed in range(3)]
    found = page(*paths)
    (answers,) = answers_of(read(*paths)).values()
    for answered in answers:
        question, p = answered.question, words.p_value(answered.adjusted_p)
        told = " ".join(map(words.finding, answered.findings))
        assert f"{answered.title} {answered.word} 3 seeds, p {p} {told}" in found.text
        assert answered.evidence
        assert all(note in found.text for note in answered.notes)
        for finding in answered.findings if question != "compressing" else ():
            for step in finding.steps:
                rows = found.rows_of(f"{step.first} → {step.second}")
                told = words.effect(finding.evidence, step.estimate)
                assert told in [row[0] for row in rows]
        for first, second, _ in answered.kappas:
            assert f"{first}–{second}" in found.text


def test_one_seed_is_described_without_a_word(one: Page) -> None:
    for title in QUESTIONS.values():
        assert f"{title} one seed described, not tested" in one.text
    for metric in ("accuracy", "participation_ratio", "linear_cka"):
        row = evidence(one, metric, 9)
        assert (row[0], row[3]) == ("–", "–")
        assert " to " in row[2]  # over its samples
    assert "another seed" not in one.between("All metrics", "What was run")
    assert "Test accuracy of the tested weights; ±: half of the 95 % interval" in one.text


def test_two_experiments_stand_side_by_side(folder: Path) -> None:
    names = ["greedy_4_0", "mlp_6_0", "greedy_4_1"]
    found = page(*(folder / name for name in names))
    assert "<h1>greedy and mlp on digits</h1>" in found.html
    assert "greedy: 4 layers, seeds 0, 1" in found.text
    assert "mlp: 6 layers, seed 0" in found.text
    assert found.rows_of("layer") == [["greedy", "mlp"]]
    told = re.findall(
        r"\? (?:yes|partly|no|inconclusive) (2 seeds), p|\? (one seed) desc", found.text
    )
    assert ["".join(one) for one in told] == [*["2 seeds"] * 3, *["one seed"] * 3] * 2
    first, other, second = (load_run(folder / name).test_accuracies["layer_3"] for name in names)
    mean, deviation = np.mean([first, second]), np.std([first, second], ddof=1)
    error = math.sqrt(other * (1 - other) / 199)
    shown = [
        words.within(
            mean, t.ppf(0.975, 1) * deviation / math.sqrt(2)
        ),  # their samples are not known
        words.within(other, t.ppf(0.975, 199) * error),
    ]
    assert found.rows_of("layer_3")[0] == shown
    assert found.rows_of("layers") == [["4 | 6 | 4"]]
    assert found.rows_of("dataset") == [["digits"]]


@pytest.mark.parametrize(
    ("names", "depth"),
    [
        (["mlp_6_0", "greedy_4_0"], 6),
        (["greedy_4_0", "mlp_6_0"], 6),
        (["mlp_2_0", "greedy_4_0"], 4),
    ],
)
def test_layers_of_runs_of_different_depth_are_in_order_and_the_head_is_last(
    folder: Path, names: tuple[str, str], depth: int
) -> None:
    found = page(*(folder / name for name in names))
    table = [row[0] for row in found.rows if re.fullmatch(r"layer_\d|head", row[0])]
    assert table == [*(f"layer_{i}" for i in range(depth)), "head"]
    assert found.rows_of("head")[0][names.index("greedy_4_0")] == "–"
    own = ["unit", "input", *(f"layer_{i}" for i in range(4))]
    assert own in found.rows_of("metric")


def test_an_old_run_is_reported_as_far_as_it_goes(folder: Path) -> None:
    found = page(folder / "old_3")
    assert "mlp on mnist" in found.text
    assert found.rows_of("head") == [["0.61"]]  # the output is all that was tested
    assert found.rows_of("probe_accuracy")[-1][-4:] == ["–", "0.6", "0.7", "0.8"]
    assert found.rows_of("untrained") == [["", "", "–", "–", "–"]] * 2
    assert found.text.count("another program's metrics described, not tested") == 4
    assert "another program has logged the metrics: of the same name they may mean" in found.text
    assert "Environment Not recorded." in found.text
    assert "None" not in found.between("The three questions", "Missing values")


def test_an_untested_run_says_so(copy: Copy) -> None:
    run = copy("greedy_4_0")
    for name in ("test_results.json", "test_predictions.npz", "confusion.npy"):
        (run / name).unlink()
    found = page(run)
    assert "What came out, layer by layer Nothing was tested." in found.text
    assert "accuracy is of validation, which chose the epoch as well" in found.text
    assert "Neighbouring layers on the same test samples" not in found.text


def test_a_run_that_measured_nothing_says_so(tmp_path: Path) -> None:
    text = page(write_seed(tmp_path, 0, {})).text
    assert "Nothing was tested." in text
    assert "No metrics were measured." in text
    assert "Missing values None." in text
    nothing = "no evidence described, not tested no metric that counts as evidence"
    assert text.count(nothing) == 2 * len(QUESTIONS)


def test_runs_without_a_seed_name_none(copy: Copy) -> None:
    run = copy("greedy_4_0")
    edit(run / "params.yaml", seed=None)
    assert "seed 0" in page(copy("greedy_4_0", "other")).between("greedy:", "written")
    assert "seed" not in page(run).between("greedy:", "written")


# Values


def test_missing_values_are_listed_with_their_reasons(one: Page) -> None:
    assert ["it is the first layer", "layer_0"] in one.rows_of("linear_cka")
    assert ["it is the last layer", "layer_3"] in one.rows_of("ridge_r2")


def test_a_reason_of_many_layers_is_one_row(copy: Copy) -> None:
    run = copy("greedy_4_0")
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for line in (line for line in lines if line["phase"] == "val"):
        reasons = {"margin": "no anchors", "linear_cka:layer_0": "no anchors"}
        line["missing"] = dict.fromkeys(("layer_2", "input", "layer_0"), reasons)
        line["metrics"]["layer_1"]["margin"] = math.nan
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = page(run)
    assert ["NaN in the log", "layer_1"] in found.rows_of("margin")
    for metric in ("margin", "linear_cka"):
        assert ["no anchors", "input, layer_0, layer_2"] in found.rows_of(metric)


def test_the_input_and_the_untrained_network_are_references(folder: Path, one: Page) -> None:
    results = json.loads((folder / "greedy_4_0" / "test_results.json").read_text())
    rows = [row for row in one.rows if len(row) == 7]  # metric, unit, input, four layers
    place = next(i for i, row in enumerate(rows) if row[:2] == ["accuracy", "fraction"])
    tested, untrained = rows[place : place + 2]
    assert float(tested[2]) == pytest.approx(results["reference"]["accuracy"], abs=5e-4)
    assert untrained[:3] == ["untrained", "", ""]
    for row, told in ((tested, results), (untrained, results["untrained"])):
        shown = [cell.split(" ± ") for cell in row[3:]]
        for (value, half), layer in zip(
            shown, ("layer_0", "layer_1", "layer_2", "layer_3"), strict=True
        ):
            assert float(value) == pytest.approx(told["metrics"][layer]["accuracy"], abs=5e-4)
            wanted = t.ppf(0.975, 199) * told["errors"][layer]["accuracy"]
            assert float(half) == pytest.approx(wanted, rel=0.06)


def test_values_of_several_seeds_are_means(tmp_path: Path) -> None:
    values = [{"participation_ratio": [seed + 1, 4, None]} for seed in range(3)]
    found = page(*(write_seed(tmp_path, seed, one) for seed, one in enumerate(values)))
    assert ["", "–", "2.0 ± 2.5", "4", "–"] in found.rows_of("participation_ratio")
    assert "means over 3 seeds" in found.text


# What was run


def test_one_environment_of_all_runs_is_shown_once(folder: Path) -> None:
    found = page(folder / "greedy_4_0", folder / "greedy_4_1", folder / "mlp_6_0")
    assert found.between("Environment", "Reproduce").split() == ["python", "3.11", "device", "cpu"]


def test_different_environments_are_shown_with_their_runs(folder: Path, copy: Copy) -> None:
    other, bare = copy("greedy_4_1", "one"), copy("mlp_6_0", "two")
    edit(other / "environment.json", python="3.12", packages={"torch": "2.6"}, gpu=None)
    (bare / "environment.json").unlink()
    found = page(folder / "greedy_4_0", other, folder / "greedy_4_2", bare)
    assert found.between("Environment ", " Reproduce") == (
        "greedy · seed 0, greedy · seed 2 python 3.11 device cpu "
        "greedy · seed 1 python 3.12 device cpu torch 2.6 mlp Not recorded."
    )


def commands(of: Page) -> list[list[str]]:
    """The commands under `Reproduce`, checked by the command line itself."""
    found = [shlex.split(line) for line in of.pre.splitlines() if line]
    for program, name, *arguments in found:
        assert program == "cmp"
        cli.commands[name].make_context(name, list(arguments))
    return found


def test_the_commands_that_reproduce_are_real(copy: Copy, folder: Path) -> None:
    run = copy("mlp_6_0", "a run; $(rm)")
    edit(run / "environment.json", command=["/usr/bin/cmp", "run", "--set", "lr=1e-3 # x"])
    way = os.path.relpath(run, folder)  # without what is above both
    assert commands(page(folder / "greedy_4_0", run, labels=["small", "a c"])) == [
        ["cmp", "run", "-c", "greedy"],
        ["cmp", "run", "-c", "greedy_4_0/params.yaml"],
        ["cmp", "run", "--set", "lr=1e-3 # x"],
        ["cmp", "run", "-c", f"{way}/params.yaml"],
        ["cmp", "report", "greedy_4_0", way, "--labels", "small,a c"],
    ]
    far = report_html(read(run), (), {}, Path("/nowhere/at/all/there"))[0]
    assert commands(Page(far))[-1] == ["cmp", "report", run.name]


def test_no_absolute_path_stands_in_a_page(copy: Copy) -> None:
    run = copy("greedy_4_0")
    edit(run / "params.yaml", data_dir="/home/me/data", out="/home/me/runs", plugins=["/x/a.py"])
    command = ["/usr/bin/cmp", "run", "-c", "/home/me/my.yaml", "--set", "data_dir=/home/me/data"]
    edit(run / "environment.json", command=command)
    with (run / "log.jsonl").open("a") as log:
        log.write("not whole\n")  # a problem, which names the file
    found = page(run)
    assert found.rows_of("data_dir") == [["…/data"]]
    assert found.rows_of("plugins") == [["…/a.py"]]
    assert "…/log.jsonl" in found.text
    assert "cmp run -c …/my.yaml --set data_dir=…/data" in found.pre.replace("'", "")
    for place in ("/home", str(run.parent), "/x"):
        assert place not in found.html


def test_what_came_out_stands_in_numbers(tmp_path: Path) -> None:
    runs = [write_seed(tmp_path, seed, {"participation_ratio": [4, 2, 1]}) for seed in range(2)]
    for run, wrong in zip(runs, ([[8, 2], [0, 10]], [[7, 3], [1, 9]]), strict=True):
        np.save(run / "confusion.npy", np.array(wrong))
        edit(run / "environment.json", class_names=["a cat", "a dog"])
    steps = [
        {"phase": "train", "epoch": 1, "iter": i, "step": i, "loss": loss, "acc": 0.25}
        for i, loss in ((1, 3.0), (2, 2.0))
    ]
    with (runs[0] / "log.jsonl").open("a") as log:
        log.write("".join(json.dumps(line) + "\n" for line in steps))
    found = page(*runs)
    assert ["1", "2.5", "0.25", "1", "0.6"] in [row[:5] for row in found.rows]
    assert ["0", "–", "–", "1", "0.5"] in [row[:5] for row in found.rows]
    assert ["a cat", "a dog", "5", "25.0%"] in found.rows
    assert ["a dog", "a cat", "1", "5.0%"] in found.rows


def test_pictures_that_are_there_are_linked(copy: Copy) -> None:
    run = copy("greedy_4_0")
    (run / "plots").mkdir()
    for name in ("a b.png", "c.svg", "notes.txt", ".hidden.png"):
        (run / "plots" / name).touch()
    html, _ = report_html(read(run), (), {}, run)
    assert Page(html).attributes("a", "href") == ["plots/a%20b.png", "plots/c.svg"]


def test_backticks_are_code(copy: Copy) -> None:
    run = copy("greedy_4_0")
    facts = json.loads((run / "metrics.json").read_text())
    facts["margin"]["summary"] = "of `a < b`, not of c"
    (run / "metrics.json").write_text(json.dumps(facts))
    html = page(run).html
    assert "<dd>of <code>a &lt; b</code>, not of c</dd>" in html
    assert "`" not in html


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
    assert commands(page(run))[:-2] == ([["cmp", "run"]] if is_ours else [])


# Pictures and comparisons that fail


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def act(*_: object) -> NoReturn:
        raise error

    return act


def test_a_plot_that_raises_costs_its_picture_alone(folder: Path) -> None:
    drawings = {
        "raising": raising(ZeroDivisionError("no <luck>")),
        "leaving": raising(SystemExit(2)),
        "undefined": raising(UndefinedError("nothing to see")),
        "textual": lambda _: "no figure",
        "good": lambda _: Figure((1, 1)),
    }
    plots = [a_plot(name, draw) for name, draw in drawings.items()]
    html, failures = report_html(read(folder / "greedy_4_0"), plots, {})
    assert Page(html).names.count("img") == len(QUESTIONS)
    assert {(f.plugin, f.hook, f.error, f.disabled) for f in failures} == {
        ("raising", "the report", "ZeroDivisionError: no <luck>", True),
        ("leaving", "the report", "SystemExit: 2", True),
        ("textual", "the report", "PluginError: expected a matplotlib Figure, got str", True),
    }
    assert "in act" in failures[0].traceback


def test_only_plots_that_answer_a_question_with_evidence_are_drawn(tmp_path: Path) -> None:
    asked: list[str | None] = []
    other = a_plot("other", raising(AssertionError()), answers=False)
    drawing = a_plot("asked", lambda view: asked.append(view.question) or Figure((1, 1)))
    run = read(write_seed(tmp_path, 0, {"participation_ratio": [4, 2, 1]}))
    assert report_html(run, [other, drawing], {})[1] == []
    assert asked == ["compressing"]


def test_another_seed_is_a_reference_for_differences(folder: Path) -> None:
    row = SeedDifference("cka", neighbours=0.25, same_layer=1 / 3, n=64, phase="test")
    paths = [folder / f"greedy_4_{seed}" for seed in range(2)]
    found = page(*paths, baselines={"greedy": SeedBaseline((row,))})
    assert found.rows_of("cka") == [["64", "0.25", "0.333"]]
    assert "on the test samples that both have stored" in found.text


def test_why_seeds_were_not_compared_is_told(folder: Path) -> None:
    paths = [folder / f"greedy_4_{seed}" for seed in range(2)]
    found = page(*paths, baselines={"greedy": SeedBaseline(reason="<nothing> to compare")})
    told = "The same layer of another seed was not compared: <nothing> to compare."
    assert told in found.text
    assert "another seed" not in page(*paths).text  # nobody has tried


def test_an_old_run_beside_a_new_one_is_told_apart(folder: Path, tmp_path: Path) -> None:
    found = page(folder / "mlp_2_0", write_old_run(tmp_path, dataset="Digits"))
    assert "mlp on digits" in found.text
    assert found.rows_of("head")[0][1] == "0.61"
    sentence = "Another program has logged the metrics of mlp (other program): of the same name"
    assert sentence in found.text
    told = "probe_accuracy, participation_ratio: not compared layer by layer, another program"
    assert told in found.text
    assert found.rows_of("probe_accuracy")[-1][0] == ""  # its unit is not known to be that of ours
