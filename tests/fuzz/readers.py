"""What reads files of a sandbox: functions and commands, and what they may show."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import torch
from click.testing import CliRunner

LONGEST_SCREEN = 20_000
"""Characters that a command may print."""

Action = Callable[[Path], None]
"""It reads what there is to be read in a folder that `tests.fuzz.sandbox` has made."""


class FindingError(Exception):
    """An input has ended in neither values nor a sentence."""


def load(root: Path) -> None:
    from cmp_core import load_run

    run = load_run(root / "run")
    _ = run.rows, run.test_accuracies, run.class_names, run.confusion, run.predictions, repr(run)
    _ = run.headlines, run.tested_epoch, run.output, run.hidden_layers, run._repr_html_()
    for phase, layer, metric in run.log.series:
        _ = run.influence(layer, metric), run.influence_ids(metric), run.unit_of(metric)
        _ = run.grid(phase, metric), run.pairs(phase, metric), run.metric_info_of(metric)


def answers(root: Path) -> None:
    from cmp_core import answers_of

    _ = [repr(answer) for answer in answers_of([root / "run", root / "other"]).values()]


def compare(root: Path) -> None:
    from cmp_core import compare

    _ = [repr(one) for one in compare([root / "run", root / "mlp"])]


def _cli(*arguments: str) -> Action:
    def call(root: Path) -> None:
        from cmp_core.cli import cli

        result = CliRunner().invoke(cli, [text.format(root=root) for text in arguments])
        check_screen(result.output)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if result.exit_code not in (0, 3):  # 3: done, without what a warning names
            errors = [x for x in result.output.splitlines() if x.startswith("error: ")]
            if result.exit_code not in (1, 2) or not errors:
                raise FindingError(f"exit code {result.exit_code}: {result.output[-500:]}")
            raise OSError("\n".join(errors))

    call.__name__ = f"cmp {arguments[0]}"
    return call


def check_screen(text: str) -> None:
    """Raise where what is printed steers a terminal, is a traceback, or is no sentence."""
    from cmp_core.text import printable

    if printable(text) != text:
        raise FindingError(f"control characters: {text[:300]!r}")
    if "Traceback" in text or "Warning: " in text:
        raise FindingError(f"of Python: {text[-1000:]}")
    if len(text) > LONGEST_SCREEN:
        raise FindingError(f"{len(text):,} characters on the screen")


def config(root: Path) -> None:
    from cmp_core.config.load import build_config, dump_config, load_config, parse_yaml, read_yaml

    config = load_config(root / "cwd/config.yaml")
    written = dump_config(config)
    if dump_config(build_config(parse_yaml(written, "it"))) != written:
        raise FindingError("a configuration that is another one when it is read again")
    _ = read_yaml(root / "cwd/config.yaml")


def settings(root: Path) -> None:
    from cmp_core.config.load import load_config

    path = root / "cwd/config.yaml"
    with path.open("rb") if path.is_file() else io.BytesIO() as file:
        text = file.read(10**5).decode(errors="surrogateescape")  # as long as an argument may be
    lines = text.replace("\n ", " ").splitlines()
    load_config(settings=[line.replace(": ", "=", 1) for line in lines])


def images(root: Path) -> None:
    from cmp_core.config.schema import Config
    from cmp_core.datasets.image_folder import load_image_folder

    load_image_folder(Config(dataset="image_folder", data_dir=str(root / "images"), image_size=8))


def idx(root: Path) -> None:
    from cmp_core.config.schema import Config
    from cmp_core.data.load import load_data
    from cmp_core.datasets.mnist import load_mnist

    config = Config(dataset="mnist", data_dir=str(root / "data"))
    load_data(config, lambda: load_mnist(config), torch.device("cpu"))


_SMALL = [x for k in ("epochs=1", "N=12", "layers=2", "device=cpu") for x in ("--set", k)]
_TRAIN = ("train", "--no-snapshots", "--metrics", "accuracy", *_SMALL, "--set")
TRAIN_CONFIG = _cli(*_TRAIN, "batch_size=512", "-c", "{root}/cwd/config.yaml")
TRAIN_IMAGES = _cli(
    *_TRAIN, "dataset=image_folder", "--set", "data_dir={root}/images", "--set", "image_size=8"
)
TRAIN_IDX = _cli(*_TRAIN, "dataset=mnist", "--set", "data_dir={root}/data")
INFO, PLOT = _cli("info", "{root}/run"), _cli("plot", "training_curves", "{root}/run")
REPORT = _cli("report", "{root}/run")
REPORT_SEEDS = _cli("report", "{root}/run", "{root}/other", "--out", "{root}/run/report.html")
EVAL, EVAL_LAST = _cli("eval", "{root}/run"), _cli("eval", "{root}/run", "--checkpoint", "last")
RESUME = _cli("train", "--resume", "{root}/run")
RECOMPUTE = _cli("recompute", "{root}/run", "--metrics", "accuracy")
