"""The table of a comparison: means over seeds, labels, and what is not known."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from cmp_core import load_run
from cmp_core.analysis.runs import as_run_set
from cmp_core.analysis.words import within
from cmp_core.cli._comparison import print_comparison
from tests.cli.calls import call
from tests.synthetic_runs import write_old_run


@pytest.mark.usefixtures("_no_pictures")
def test_seeds_are_averaged_in_a_comparison(here: Path) -> None:
    result = call("compare", *(here / name for name in "ACB"))
    accuracies = [load_run(here / name).test_accuracies["layer_3"] for name in "AC"]
    mean, error = np.mean(accuracies), np.std(accuracies, ddof=1) / np.sqrt(2)
    row, *_ = re.findall(r"layer_3 +(.+)", result.stdout)
    assert row.startswith(
        f"{within(mean, t.ppf(0.975, 1) * error)} "
    )  # their samples are not known
    assert re.search(r"seeds +0, 1 +0", result.stdout)
    assert "mlp − greedy: two networks, which says nothing about other seeds; paired" in (
        result.stdout
    )
    assert re.search(r"– .+ is left out: mlp has no run of its seed", result.stdout)


@pytest.mark.usefixtures("_no_pictures")
def test_labels_join_runs_and_brackets_are_text(copy: Callable[..., Path], here: Path) -> None:
    run = copy("C")
    params = json.loads((run / "params.yaml").read_text()) | {"seed": "[/x]"}
    (run / "params.yaml").write_text(json.dumps(params))
    result = call("compare", here / "A", here / "B", run, "--labels", "[red],[/b] b, [red]")
    assert result.exit_code == 0
    head, *_ = result.stdout.strip().splitlines()
    assert head.split()[2:] == ["[red]", "[/b]", "b"]
    assert re.search(r"seeds +0, \[/x\] +0", result.stdout)


@pytest.mark.usefixtures("_no_pictures")
def test_runs_without_seed_or_test_are_compared(here: Path, tmp_path: Path) -> None:
    run = write_old_run(tmp_path)
    (run / "test_results.json").unlink()
    result = call("compare", run, here / "A")
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.search(r"seeds +– +0", result.stdout)
    assert "output" not in result.stdout


@pytest.mark.usefixtures("_no_pictures")
def test_an_old_run_beside_a_new_one_has_a_short_label_and_no_test(
    here: Path, tmp_path: Path
) -> None:
    config: dict[str, Any] = {
        "dataset": "Digits",
        "tau": 1,
        "N": 7,
        "lr": 2,
        "epochs": 9,
        "lambda_ace": [0.1, 0.1],
    }
    runs = [
        write_old_run(tmp_path, name=f"{i}", seed=i, test={"acc": 0.6 + i / 9}, **config)
        for i in range(2)
    ]
    result = call("compare", *runs, here / "B")
    head, *_ = result.stdout.strip().splitlines()
    assert head.split("  ")[0] == "test accuracy"
    assert re.search("mlp [(]other program[)] +mlp$", head.rstrip())
    assert "they are neither compared with those of cmp nor drawn on one axis with them" in (
        result.stdout
    )
    theirs, _, _ = result.stdout.partition("\nmlp:")
    assert theirs.count("another program's metrics\n") == 2
    assert not re.search("yes|partly|inconclusive|p [<.]", theirs)
    assert (
        "probe_accuracy, participation_ratio: not compared layer by layer, another" in result.stdout
    )


@pytest.mark.usefixtures("_no_pictures")
@pytest.mark.parametrize("columns", [40, 60])
def test_a_narrow_terminal_has_every_number_whole(
    here: Path,
    columns: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = [str(here / name) for name in "ACB"]
    told = call("compare", *runs, "--labels", "one model,one model,another model").stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    print_comparison(as_run_set(runs, ("one model", "one model", "another model")))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    number = r"[+−]?\d[\d.]* ± \d[\d.]*\*?(?: %| points)?"
    numbers = Counter(re.findall(number, told))
    assert numbers.total() > 30
    assert Counter(re.findall(number, shown)) == numbers
    assert [line for line in shown.splitlines() if len(line) > columns] == []
