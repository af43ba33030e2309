"""The example plugins: the kit, loading by name, and every number against an independent twin."""

from __future__ import annotations

import ast
import itertools
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import procrustes as scipy_procrustes
from scipy.stats import binom, chi2, entropy
from sklearn.neighbors import NearestNeighbors

import cmp_core
from cmp_core import UndefinedError, run
from cmp_core.config.schema import Config, Selection
from cmp_core.events.activations import LayerActivations
from cmp_core.events.rows import Row, Value
from cmp_core.measurement.metric import definition_of
from cmp_core.measurement.selection import select_metrics
from cmp_core.plugins.loader import load_plugins
from cmp_core.testing import check_metric, example_event, measure_batch, measure_split
from cmp_metrics.linear_cka import linear_cka
from cmp_metrics.participation_ratio import participation_ratio
from tests.oracles import metrics as oracles
from tests.run_files import lines

Array = NDArray[np.float64]
ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "plugins").glob("[!_]*.py"))
NAMES = [path.stem for path in FILES]
NEEDS = {"mlflow_sink": "mlflow", "tensorboard_sink": "tensorboard", "wandb_sink": "wandb"}
"""Libraries that examples send values to; elsewhere they cannot be loaded."""

MEASURING = [path.stem for path in FILES if "@metric(" in path.read_text()]
SEEDS = range(20)
steady = settings(derandomize=True, deadline=None, max_examples=30)


def load(name: str) -> tuple[ModuleType, Sequence[Any]]:
    """Return an example as `-p cmp:NAME` loads it, and the factories that it registers."""
    plugins = load_plugins([f"cmp:{name}"], built_ins=())
    found = [plugins.registry.get("metric", x).factory for x in plugins.registry.names("metric")]
    module = plugins.manager.get_plugin(name)
    assert isinstance(module, ModuleType)
    return module, found


def needs_its_library(name: str) -> None:
    """Skip a test of an example whose library is not installed."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")


LOADED = {name: load(name) for name in MEASURING}
MODULES = {name: module for name, (module, _) in LOADED.items()}
METRICS = {name: metric for name, (_, metrics) in LOADED.items() for metric in metrics}
neural_collapse = MODULES["neural_collapse"].neural_collapse
effective_rank = MODULES["effective_rank"].effective_rank
mutual_knn = MODULES["mutual_knn"].mutual_knn
procrustes = MODULES["procrustes"].procrustes
two_nn = MODULES["two_nn"].two_nn
calibrated_cka = MODULES["calibrated_cka"].calibrated_cka


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def rotation(p: int, seed: int = 0) -> Array:
    return np.linalg.qr(normal(p, p, seed=seed))[0]


def whitened(n: int, p: int, seed: int = 0) -> Array:
    """Return columns of mean 0 and variance 1 (over n) that are exactly uncorrelated."""
    x = normal(n, p, seed=seed)
    return np.linalg.qr(x - x.mean(0))[0] * math.sqrt(n)


@st.composite
def layers(draw: st.DrawFn, least: int = 12) -> Array:
    """Draw activations (n, p): some rectified, some offset, of any scale, wide and narrow."""
    n, p, seed = draw(st.integers(least, 40)), draw(st.integers(2, 40)), draw(st.integers(0, 999))
    x = normal(n, p, seed=seed) @ np.diag(draw(st.sampled_from([0.5, 1.0, 1.5])) ** np.arange(p))
    x = np.maximum(x, 0) + normal(n, 1, seed=seed) if draw(st.booleans()) else x
    return (x + draw(st.sampled_from([0.0, 3.0]))) * 10.0 ** draw(st.integers(-6, 6))


def by_place(rows: Sequence[Row]) -> dict[tuple[str, str | None, str], Value]:
    return {
        (row.layer, row.other if row.pair else None, row.metric): row.value
        for row in rows
        if row.value is not None
    }


# All of them


@pytest.mark.parametrize("name", METRICS)
def test_the_kit_finds_no_fault(name: str) -> None:
    assert check_metric(METRICS[name]) > 20


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_loaded_by_name_and_its_metrics_are_selected(name: str, tiny: Config) -> None:
    needs_its_library(name)
    plugins = load_plugins([f"cmp:{name}"])
    assert (plugins.named, plugins.specs) == ((name,), (f"cmp:{name}",))
    registered = plugins.registry.names("metric", name)
    only_accuracy = attrs.evolve(tiny, metrics=(Selection("accuracy", "accuracy"),))
    selected = [metric.label for metric in select_metrics(plugins, only_accuracy)]
    assert selected == ["accuracy", *registered]
    assert bool(registered) == (name in MEASURING)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_an_example_can_be_copied(path: Path, tmp_path: Path) -> None:
    needs_its_library(path.stem)
    copy = shutil.copy(path, tmp_path / f"my_{path.name}")
    plugins = load_plugins([str(copy)], built_ins=())
    assert plugins.named == (f"my_{path.stem}",)
    shipped = load_plugins([f"cmp:{path.stem}"], built_ins=()).registry
    assert plugins.registry.names("metric") == shipped.names("metric")


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_an_example_imports_only_what_plugins_may(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "cmp_core":
            assert {alias.name for alias in node.names} <= set(cmp_core.__all__)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = names if isinstance(node, ast.Import) else [node.module or ""]
            tops = {module.partition(".")[0] for module in modules}
            own = {NEEDS[path.stem]} if path.stem in NEEDS else set()
            assert tops <= {"torch", "numpy", "scipy"} | own | sys.stdlib_module_names


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_an_example_says_how_to_use_it(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert f"`cmp run -p cmp:{path.stem}`" in docstring


@pytest.mark.parametrize("model", [pytest.param("greedy", marks=pytest.mark.slow), "mlp"])
def test_all_examples_in_one_run(tiny: Config, model: str) -> None:
    specs = tuple(f"cmp:{name}" for name in MEASURING)
    config = attrs.evolve(
        tiny, model=model, plugins=specs, metrics=(Selection("accuracy", "accuracy"),), epochs=1
    )
    outcome = run(config)
    assert not outcome.failures
    entry = next(x for x in reversed(lines(outcome.directory)) if x["phase"] == "val")
    labels = [definition_of(metric).name for metric in METRICS.values()]
    for name in labels:
        assert name in entry["metrics"]["layer_1"]
    assert {"mutual_knn", "procrustes", "calibrated_cka_p"} <= set(entry["pairs"])


@pytest.mark.parametrize("name", ["mutual_knn", "procrustes", "calibrated_cka"])
def test_pairs_of_layers_are_symmetric(name: str) -> None:
    """The kit looks at batches, on which these are not measured as they are slow."""
    event = example_event(n=60, widths=(6, 6), part="chunk")
    first, second = event.layers
    swapped = (
        attrs.evolve(second, name="layer_0", depth=0),
        attrs.evolve(first, name="layer_1", depth=1),
    )
    metric = definition_of(METRICS[name])()
    forth = by_place(measure_split(metric, event))
    back = by_place(measure_split(metric, attrs.evolve(event, layers=swapped)))
    for key in (key for key in forth if key[1] is None or key[0] != key[1]):
        assert back[key] == pytest.approx(forth[key], rel=1e-9, abs=1e-12)
    assert len(forth) >= 3


# What users of NumPy get is what a run logs


def _on(event: LayerActivations, i: int) -> Array:
    return event.layers[i].activations.numpy()


def _same(name: str, event: LayerActivations) -> dict[str, float]:
    """The plain function's values at the last layer of an event."""
    last = event.layers[-1]
    labels, anchors, scores = event.labels, last.anchors, last.scores
    pair = _on(event, -2), _on(event, -1)
    values: dict[str, Callable[[], Any]] = {
        "neural_collapse": lambda: neural_collapse(
            last.activations, labels, anchors=anchors, scores=scores
        ),
        "effective_rank": lambda: effective_rank(pair[1]),
        "mutual_knn": lambda: mutual_knn(*pair),
        "procrustes": lambda: procrustes(*pair),
        "subsampled_participation_ratio": lambda: participation_ratio(pair[1]),
        "two_nn": lambda: two_nn(pair[1]),
        "calibrated_cka": lambda: calibrated_cka(*pair),
    }
    found = values[name]()
    return found if isinstance(found, dict) else {"": found}


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"dead_units", "sparsity"}))
@pytest.mark.parametrize("size", [7, 1000])
def test_the_plain_function_and_the_plugin_agree(name: str, size: int) -> None:
    event = example_event(n=200, widths=(6, 5, 7), part="chunk")
    rows = by_place(measure_split(definition_of(METRICS[name])(), event, size))
    wanted = _same(name, event)
    found = {
        metric.removeprefix(name).removeprefix("_"): value
        for (layer, other, metric), value in rows.items()
        if layer == "layer_2" and other is None
    }
    assert found == pytest.approx(wanted, rel=1e-9)


# Neural collapse


def slow_neural_collapse(
    h: Array, labels: NDArray[np.int64], anchors: Array, scores: Array
) -> dict[str, float]:
    """By loops and p × p matrices."""
    classes = np.unique(labels)
    means = np.array([h[labels == c].mean(0) for c in classes])
    m = means - means.mean(0)
    within = np.mean(
        [np.cov(h[labels == c].T, bias=True).reshape(h.shape[1], -1) for c in classes], axis=0
    )
    between = sum(np.outer(row, row) for row in m) / len(classes)
    nc1 = np.trace(within @ np.linalg.pinv(between, rcond=1e-10, hermitian=True)) / len(classes)
    norms = np.linalg.norm(m, axis=1)
    angles = [
        abs(a @ b / np.linalg.norm(a) / np.linalg.norm(b) + 1 / (len(classes) - 1))
        for a, b in itertools.combinations(m, 2)
    ]
    e = anchors[classes] - anchors[classes].mean(0)
    nearest = [classes[np.argmin([np.linalg.norm(x - mean) for mean in means])] for x in h]
    return {
        "": float(nc1),
        "nc2_norms": float(norms.std() / norms.mean()),
        "nc2_angles": float(np.mean(angles)),
        "nc3": float(np.linalg.norm(e / np.linalg.norm(e) - m / np.linalg.norm(m)) ** 2),
        "nc4": float(np.mean(nearest != scores.argmax(1))),
    }


@pytest.mark.parametrize(("n", "p", "offset"), [(90, 8, 0), (90, 8, 1e3), (30, 50, 0), (60, 2, 0)])
def test_neural_collapse_is_what_the_definition_says(n: int, p: int, offset: float) -> None:
    """Classes of unequal sizes, one of them empty."""
    rng = np.random.default_rng(0)
    labels = rng.choice(6, size=n, p=[0.4, 0.2, 0, 0.2, 0.1, 0.1])
    h = normal(n, p, seed=1) + 2 * normal(6, p, seed=2)[labels] + offset
    anchors, scores = normal(6, p, seed=3), normal(n, 6, seed=4)
    found = neural_collapse(h, labels, anchors=anchors, scores=scores)
    assert found == pytest.approx(slow_neural_collapse(h, labels, anchors, scores), rel=1e-8)


def test_a_large_offset_costs_digits_only() -> None:
    """The means then sum to rounding errors, which are no direction between the classes."""
    labels = np.arange(90) % 5
    h = normal(90, 8, seed=1) + 2 * normal(5, 8, seed=2)[labels]
    assert neural_collapse(h + 1e6, labels) == pytest.approx(neural_collapse(h, labels), rel=1e-6)


def simplex(classes: int, width: int) -> Array:
    """A simplex equiangular tight frame, turned away from the axes."""
    corners = np.eye(classes) - 1 / classes
    return corners @ rotation(width)[:classes]


@pytest.mark.parametrize(("classes", "width"), [(2, 3), (4, 4), (10, 30)])
def test_collapsed_classes_on_a_simplex_read_0_everywhere(classes: int, width: int) -> None:
    corners, labels = simplex(classes, width), np.arange(6 * classes) % classes
    h = 5 * corners[labels]
    values = neural_collapse(h + 3, labels, anchors=0.1 * corners + 7, scores=h @ corners.T)
    assert values == pytest.approx(dict.fromkeys(values, 0), abs=1e-12)
    assert set(values) == {"", "nc2_norms", "nc2_angles", "nc3", "nc4"}


def test_each_part_of_collapse_sees_its_own_damage() -> None:
    corners, labels = simplex(4, 9), np.arange(40) % 4
    h = corners[labels]
    longer = neural_collapse(h * np.array([1, 1, 1, 3])[labels][:, None], labels)
    assert longer["nc2_norms"] > 0.1
    assert longer[""] == pytest.approx(0, abs=1e-12)
    opposite = neural_collapse(h, labels, anchors=-corners)
    assert opposite["nc3"] == pytest.approx(4)
    wrong = np.eye(4)[np.where(np.arange(40) < 10, (labels + 1) % 4, labels)]
    assert neural_collapse(h, labels, scores=wrong)["nc4"] == pytest.approx(10 / 40)
    spread = neural_collapse(h + 0.1 * normal(40, 9), labels)
    twice = neural_collapse(h + 0.2 * normal(40, 9), labels)
    assert 3 < twice[""] / spread[""] < 5  # a ratio of variances


def test_classes_that_do_not_differ_read_as_the_docstring_says() -> None:
    values = [neural_collapse(normal(130, 1024, seed=s), np.arange(130) % 10)[""] for s in SEEDS]
    error = np.std(values) / math.sqrt(len(values))
    assert np.mean(values) == pytest.approx((13 - 1) * (10 - 1) / 1024, abs=4 * error)
    assert round((13 - 1) * (10 - 1) / 1024, 1) == 0.1


@steady
@given(x=layers(), classes=st.integers(2, 5), seed=st.integers(0, 99))
def test_neural_collapse_keeps_to_its_ranges(x: Array, classes: int, seed: int) -> None:
    labels = np.arange(len(x)) % classes
    anchors, scores = normal(classes, x.shape[1], seed=seed), normal(len(x), classes, seed=seed)
    values = neural_collapse(x, labels, anchors=anchors, scores=scores)
    assert all(value >= 0 for value in values.values())
    assert values["nc3"] <= 4
    assert values["nc4"] <= 1
    turned = rotation(x.shape[1], seed)
    mapped = neural_collapse(-7 * x @ turned, labels, anchors=-anchors @ turned, scores=scores)
    assert mapped == pytest.approx(values, rel=1e-6, abs=1e-9)


def test_what_a_layer_lacks_costs_no_other_part() -> None:
    event = example_event(n=60, part="chunk")
    bare = [attrs.evolve(layer, anchors=None, scores=None) for layer in event.layers]
    event = attrs.evolve(event, layers=tuple(bare))
    for rows in (
        measure_split(definition_of(METRICS["neural_collapse"])(), event, 7),
        measure_batch(definition_of(METRICS["neural_collapse"])(), event),
    ):
        own = {row.metric: row for row in rows if row.layer == "layer_1"}
        for name, lacking in {"nc3": "anchors", "nc4": "scores"}.items():
            row = own[f"neural_collapse_{name}"]
            assert row.value is None
            assert row.reason == f"the layer has no {lacking}"
        for name in ("neural_collapse", "neural_collapse_nc2_norms", "neural_collapse_nc2_angles"):
            assert own[name].value is not None


@pytest.mark.parametrize(
    ("h", "labels", "reason"),
    [
        (normal(9, 3), np.zeros(9, int), "at least 2 classes"),
        (normal(0, 3), np.zeros(0, int), "at least 2 classes"),
        (np.full((9, 3), 0.1), np.arange(9) % 3, "class means are equal"),
        (np.tile(normal(3, 4), (3, 1)), np.arange(9) // 3, "class means are equal"),
    ],
)
def test_neural_collapse_without_classes_is_undefined(h: Array, labels: Any, reason: str) -> None:
    with pytest.raises(UndefinedError, match=reason):
        neural_collapse(h, labels)


# Effective rank


@pytest.mark.parametrize(("n", "p"), [(60, 8), (20, 70)])
def test_effective_ranks_follow_from_singular_values(n: int, p: int) -> None:
    x = normal(n, p) @ normal(p, p, seed=1) + 100
    centred = x - x.mean(0)
    sigma = np.linalg.svd(centred, compute_uv=False)[: min(n - 1, p)]
    found = effective_rank(x)
    assert found[""] == pytest.approx(math.exp(entropy(sigma**2)), rel=1e-9)
    assert found["rankme"] == pytest.approx(math.exp(entropy(sigma)), rel=1e-7)
    spectral = np.linalg.norm(centred, 2)
    assert found["stable"] == pytest.approx(np.linalg.norm(centred) ** 2 / spectral**2, rel=1e-9)


def test_rankme_is_that_of_the_paper_but_for_mean_and_epsilon() -> None:
    x = normal(200, 30) * np.logspace(0, -2, 30)
    sigma = np.linalg.svd(x - x.mean(0), compute_uv=False)
    shares = sigma / sigma.sum() + 1e-7
    wanted = math.exp(-(shares * np.log(shares)).sum())
    assert effective_rank(x)["rankme"] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("n", "p", "rank"), [(60, 20, 20), (60, 20, 5), (12, 40, 11), (600, 400, 1)]
)
def test_equal_variances_count_alike_in_all_three(n: int, p: int, rank: int) -> None:
    """Directions of no variance, a few or hundreds, do not count, rounded as they are."""
    x = 3 * whitened(n, rank) @ rotation(p)[:rank] + 5
    assert effective_rank(x) == pytest.approx({"": rank, "rankme": rank, "stable": rank}, rel=1e-9)


@pytest.mark.parametrize(("n", "p"), [(2000, 200), (400, 200), (200, 200)])
def test_isotropic_data_read_as_the_docstring_says(n: int, p: int) -> None:
    """E[λ log λ] = p/2n for the spectrum of Marchenko and Pastur (Page 1993)."""
    found = np.mean([effective_rank(normal(n, p, seed=s))[""] for s in range(3)])
    assert found == pytest.approx(p * math.exp(-p / (2 * n)), rel=0.01)


@steady
@given(layers())
def test_the_ranks_keep_their_order(x: Array) -> None:
    """They are Rényi entropies: of order ∞, 2 and 1, and of the roots."""
    found = effective_rank(x)
    plain = participation_ratio(x, debiased=False)
    ranks = [1, found["stable"], plain, found[""], found["rankme"], min(len(x) - 1, x.shape[1])]
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(ranks))


def test_the_effective_rank_of_the_docs_is_the_shipped_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "questions.md").read_text()
    code = text.split("# effective_rank.py\n")[1].split("```")[0]
    (tmp_path / "effective_rank.py").write_text(code)
    plugins = load_plugins([str(tmp_path / "effective_rank.py")], built_ins=())
    theirs = definition_of(plugins.registry.get("metric", "effective_rank").factory)
    ours = definition_of(METRICS["effective_rank"])
    event = example_event(n=200, part="chunk")
    wanted, found = (by_place(measure_split(metric(), event)) for metric in (theirs, ours))
    assert wanted
    assert {key: found[key] for key in wanted} == pytest.approx(wanted, rel=1e-12)
    for trait in ("unit", "bounds", "question", "needs", "slow", "undefined"):
        assert getattr(ours, trait) == getattr(theirs, trait)
    assert (theirs.evidence, ours.evidence) == ("falls", None)


@pytest.mark.parametrize("x", [np.full((9, 4), 0.1), np.zeros((9, 4)), normal(1, 4)])
def test_without_variance_there_is_no_rank(x: Array) -> None:
    with pytest.raises(UndefinedError, match=r"no unit varies|at least 2 samples"):
        effective_rank(x)


# Mutual nearest neighbours


def neighbours(x: Array, k: int) -> list[set[int]]:
    """By scikit-learn, without the sample itself."""
    found = NearestNeighbors(n_neighbors=len(x), metric="cosine", algorithm="brute").fit(x)
    order = found.kneighbors(x, return_distance=False)
    return [set([j for j in row if j != i][:k]) for i, row in enumerate(order.tolist())]


@pytest.mark.parametrize(("k", "n", "p"), [(10, 150, 12), (3, 40, 60), (1, 30, 4), (28, 30, 4)])
def test_the_share_of_common_neighbours(k: int, n: int, p: int) -> None:
    x = normal(n, p)
    y = x @ normal(p, 9, seed=1) + normal(n, 9, seed=2) + 1
    pairs = zip(neighbours(x, k), neighbours(y, k), strict=True)
    share = np.mean([len(a & b) / k for a, b in pairs])
    chance = k / (n - 1)
    wanted = {"": share, "chance": chance, "above_chance": (share - chance) / (1 - chance)}
    assert mutual_knn(x, y, k=k) == pytest.approx(wanted, rel=1e-12)


def all_neighbourhoods(x: Array, i: int, k: int) -> list[set[int]]:
    """All sets of k nearest samples of i that ties allow; cosines of small integers are exact."""
    lengths = np.linalg.norm(x, axis=1)
    cosines = {
        j: round(float(x[i] @ x[j] / (lengths[i] * lengths[j] or np.inf)), 9)
        for j in range(len(x))
        if j != i
    }
    last = sorted(cosines.values())[-k]
    nearer = {j for j, c in cosines.items() if c > last}
    tied = [j for j, c in cosines.items() if c == last]
    return [nearer | set(rest) for rest in itertools.combinations(tied, k - len(nearer))]


@pytest.mark.parametrize("seed", range(8))
def test_ties_are_broken_in_all_ways(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 3, (9, 2)).astype(float), rng.integers(0, 2, (9, 3)).astype(float)
    shares, ways = [], 0
    for i in range(9):
        pairs = itertools.product(all_neighbourhoods(x, i, 3), all_neighbourhoods(y, i, 3))
        overlaps = [len(a & b) / 3 for a, b in pairs]
        shares.append(np.mean(overlaps))
        ways += len(overlaps)
    assert ways > 9, "there are no ties"
    assert mutual_knn(x, y, k=3)[""] == pytest.approx(np.mean(shares), rel=1e-12)


@pytest.mark.parametrize("kind", ["ties", "no ties"])
def test_chance_is_the_mean_over_all_pairings(kind: str) -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.integers(0, 3, (6, 2)).astype(float) for _ in range(2))
    if kind == "no ties":
        x, y = normal(6, 3), normal(6, 3, seed=1)
    shares = [mutual_knn(x, y[list(order)], k=2)[""] for order in itertools.permutations(range(6))]
    assert np.mean(shares) == pytest.approx(2 / 5, rel=1e-12)
    assert mutual_knn(x, y, k=2)["chance"] == 2 / 5


def test_independent_layers_agree_by_chance_and_the_same_one_with_itself() -> None:
    pairs = [(normal(128, 20, seed=s), normal(128, 30, seed=s + 99)) for s in SEEDS]
    values = [mutual_knn(x, y) for x, y in pairs]
    shares = np.array([value[""] for value in values])
    assert abs(shares.mean() - 10 / 127) < 4 * shares.std() / math.sqrt(len(shares))
    assert abs(np.mean([value["above_chance"] for value in values])) < 0.01
    x = pairs[0][0]
    alike = mutual_knn(x, 7 * x @ rotation(20))
    assert (alike[""], alike["above_chance"]) == (1, 1)


def test_samples_without_activation_and_copies_are_neighbours_like_others() -> None:
    x = np.maximum(normal(40, 5) - 0.5, 0)
    x[:6] = 0
    x[6:9] = x[9]
    values = mutual_knn(x, x, k=10)
    assert 0.7 < values[""] < 1, "a tie is no agreement"
    order = np.random.default_rng(0).permutation(40)
    assert mutual_knn(x[order], x[order] @ rotation(5), k=10) == pytest.approx(values, rel=1e-9)


@steady
@given(x=layers(), width=st.integers(1, 20), k=st.integers(1, 10), seed=st.integers(0, 99))
def test_the_share_is_symmetric_and_a_fraction(x: Array, width: int, k: int, seed: int) -> None:
    y = np.maximum(x / x.std() @ normal(x.shape[1], width, seed=seed), 0)
    try:
        value = mutual_knn(x, y, k=k)
    except UndefinedError:
        assert width == 1, "on a line all cosines are 1, or there is nothing"
        return
    assert 0 <= value[""] <= 1
    assert mutual_knn(y, x, k=k) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (normal(11, 4), r"at least k \+ 2 = 12 samples are needed, there are 11"),
        (np.zeros((20, 4)), "equally near"),
        (np.full((20, 4), 0.1), "equally near"),
    ],
)
def test_without_neighbours_there_is_no_share(x: Array, reason: str) -> None:
    with pytest.raises(UndefinedError, match=reason):
        mutual_knn(normal(len(x), 4), x)


# Procrustes


@pytest.mark.parametrize(("n", "p", "q"), [(50, 8, 8), (50, 8, 5), (12, 40, 30), (12, 40, 3)])
def test_the_distance_after_the_best_rotation(n: int, p: int, q: int) -> None:
    x, y = normal(n, p) + 4, normal(n, q, seed=1)
    y[:, : min(p, q)] += x[:, : min(p, q)]
    a, b = x - x.mean(0), y - y.mean(0)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    b = np.pad(b, [(0, 0), (0, max(p - q, 0))])
    best, _ = orthogonal_procrustes(b, a)
    assert procrustes(x, y) == pytest.approx(np.linalg.norm(a - b @ best) ** 2, rel=1e-9)
    disparity = scipy_procrustes(a, b)[2]  # which also scales b: 1 - ‖AᵀB‖_*²
    assert procrustes(x, y) == pytest.approx(2 - 2 * math.sqrt(1 - disparity), rel=1e-9)


def test_a_turned_copy_is_at_no_distance_and_unrelated_directions_are_at_2() -> None:
    x = normal(60, 7) * np.logspace(0, -3, 7)
    assert procrustes(x, 1e3 * x @ rotation(7) - 5) == pytest.approx(0, abs=1e-12)
    assert procrustes(x, x @ rotation(20)[:7]) == pytest.approx(0, abs=1e-12)
    both = whitened(60, 8)
    assert procrustes(both[:, :4], both[:, 4:]) == pytest.approx(2, abs=1e-12)


def test_wide_layers_of_few_samples_are_near_even_if_independent() -> None:
    assert procrustes(normal(20, 20_000), normal(20, 20_000, seed=1)) < 0.02
    assert procrustes(normal(20_000, 4), normal(20_000, 4, seed=1)) > 1.9


@steady
@given(x=layers(), widths=st.tuples(st.integers(1, 20), st.integers(1, 20)), seed=st.integers(0, 9))
def test_the_root_of_the_distance_is_a_metric(x: Array, widths: tuple[int, int], seed: int) -> None:
    y, z = (x / x.std() @ normal(x.shape[1], q, seed=seed) + normal(len(x), q) for q in widths)
    xy, yz, xz = procrustes(x, y), procrustes(y, z), procrustes(x, z)
    assert 0 <= xy <= 2
    assert procrustes(y, x) == pytest.approx(xy, rel=1e-9, abs=1e-12)
    assert math.sqrt(xz) <= math.sqrt(xy) + math.sqrt(yz) + 1e-9


@pytest.mark.parametrize("x", [np.zeros((9, 4)), np.full((9, 4), 0.1), normal(1, 4), normal(0, 4)])
def test_without_variance_there_is_no_distance(x: Array) -> None:
    with pytest.raises(UndefinedError, match="does not vary" if len(x) > 1 else "at least 2"):
        procrustes(normal(len(x), 3), x)


def test_arrays_of_mixed_types_are_taken() -> None:
    x, y = normal(40, 5), normal(40, 4, seed=1)
    for function in (procrustes, lambda a, b: calibrated_cka(a, b)[""]):
        exact = function(x, y)
        assert function(x.astype(np.float32), torch.as_tensor(y)) == pytest.approx(exact, rel=1e-4)
        assert function(np.round(9 * x).astype(int), y) == pytest.approx(
            function(np.round(9 * x), y), rel=1e-4
        )


# TwoNN


def slow_two_nn(x: Array) -> float:
    """By scikit-learn, which counts a sample as its own nearest neighbour."""
    distances, _ = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(x).kneighbors(x)
    return (len(x) - 1) / float(np.log(distances[:, 2] / distances[:, 1]).sum())


@pytest.mark.parametrize(("n", "p", "offset"), [(200, 3, 0), (60, 90, 0), (100, 5, 1e4)])
def test_the_dimension_follows_from_the_two_nearest(n: int, p: int, offset: float) -> None:
    x = normal(n, p)
    assert two_nn(x + offset) == pytest.approx(slow_two_nn(x), rel=1e-6)


def cube(rng: np.random.Generator, n: int, d: int) -> Array:
    return rng.uniform(size=(n, d))


def gaussian(rng: np.random.Generator, n: int, d: int) -> Array:
    return rng.normal(size=(n, d))


@pytest.mark.parametrize("make", [cube, gaussian])
@pytest.mark.parametrize(("d", "bias"), [(1, 0.01), (2, 0.02), (3, 0.05), (5, 0.1)])
def test_the_dimension_of_known_sets(make: Callable[..., Array], d: int, bias: float) -> None:
    """In 30 units, within 4 standard errors d/√n and a bias of edges and uneven density."""
    n = 2000
    found = [two_nn(make(np.random.default_rng(s), n, d) @ rotation(30)[:d]) for s in range(4)]
    assert np.mean(found) == pytest.approx(d, abs=4 * d / math.sqrt(4 * n) + bias * d)


def test_a_circle_in_many_units_has_one_dimension() -> None:
    angle = np.random.default_rng(0).uniform(0, 2 * math.pi, 2000)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) @ rotation(20)[:2]
    assert two_nn(x) == pytest.approx(1, abs=4 / math.sqrt(2000))
    assert participation_ratio(x) == pytest.approx(2, abs=0.05)


def test_many_dimensions_read_too_low_as_the_docstring_says() -> None:
    found = np.mean([two_nn(normal(2048, 20, seed=s)) for s in range(4)])
    assert found == pytest.approx(17, abs=1)


def test_the_estimate_has_no_bias_but_that_of_the_distribution() -> None:
    """On a circle the density is constant: n - 1 for n takes away what maximum likelihood adds."""
    n, repeats = 12, 3000
    values = []
    for seed in range(repeats):
        angle = np.random.default_rng(seed).uniform(0, 2 * math.pi, n)
        values.append(two_nn(np.stack([np.cos(angle), np.sin(angle)], axis=1)))
    likelihood = np.array(values) * n / (n - 1)
    assert abs(np.mean(values) - 1) < abs(likelihood.mean() - 1)


def test_copies_of_samples_do_not_count() -> None:
    x = normal(300, 4)
    wanted = two_nn(x)
    twice = np.concatenate([x, x[:200], x[:50]])
    order = np.random.default_rng(0).permutation(len(twice))
    assert two_nn(twice[order]) == pytest.approx(wanted, rel=1e-9)
    assert two_nn(twice + 1e-9 * normal(550, 4)) == pytest.approx(wanted, rel=1e-6)
    assert two_nn(twice.astype(np.float32)) == pytest.approx(wanted, rel=1e-4)


@steady
@given(x=layers(), seed=st.integers(0, 99), scale=st.sampled_from([-1e-3, 40.0]))
def test_the_dimension_is_of_the_shape_alone(x: Array, seed: int, scale: float) -> None:
    value = two_nn(x)
    assert value > 0
    order = np.random.default_rng(seed).permutation(len(x))
    mapped = (scale * x @ rotation(x.shape[1], seed) + np.abs(scale * x).max())[order]
    assert two_nn(mapped) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (np.tile(normal(2, 4), (5, 1)), "at least 3 distinct samples are needed, there are 2"),
        (np.zeros((9, 4)), "there are 1"),
        (np.arange(4.0)[:, None] ** 0 * np.eye(4), "equally near"),
    ],
)
def test_without_unequal_neighbours_there_is_no_dimension(x: Array, reason: str) -> None:
    with pytest.raises(UndefinedError, match=reason):
        two_nn(x)


# Calibrated CKA


def slow_calibration(x: Array, y: Array) -> dict[str, float]:
    """One pairing after the other, by the debiased CKA of the oracles."""
    n = len(x)
    circle = torch.randperm(n, generator=torch.Generator().manual_seed(0)).numpy()
    x, y = x[circle], y[circle]
    values = [oracles.linear_cka(x, np.roll(y, -k, axis=0)) for k in range(n)]
    threshold = sorted(values)[math.ceil(round(0.95 * n, 9)) - 1]
    return {
        "": (values[0] - threshold) / (1 - threshold),
        "cka": values[0],
        "threshold": threshold,
        "p": (1 + sum(value >= values[0] for value in values[1:])) / n,
    }


@pytest.mark.parametrize("n", [20, 21, 40, 59, 140])
@pytest.mark.parametrize("signal", [0.0, 0.5])
def test_calibration_is_that_of_all_shifts(n: int, signal: float) -> None:
    x, y = normal(n, 6) + 2, normal(n, 4, seed=1)
    y = y + signal * x[:, :4]
    found = calibrated_cka(x, y)
    assert found == pytest.approx(slow_calibration(x, y), rel=1e-9, abs=1e-12)
    assert found["cka"] == pytest.approx(linear_cka(x, y), rel=1e-9)
    assert (found[""] > 0) == (found["p"] <= 0.05)
    back = calibrated_cka(y, x)
    assert back == pytest.approx(found, rel=1e-9, abs=1e-12)


def heavy(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    return rng.standard_cauchy(size=(n, 3)), rng.standard_cauchy(size=(n, 5))


def wide(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """ReLU layers of more units than samples, for which biased CKA is large."""
    return np.maximum(rng.normal(size=(n, 200)), 0), np.maximum(rng.normal(size=(n, 100)), 0)


@pytest.mark.parametrize("kind", [heavy, wide])
def test_p_is_uniform_for_independent_layers(kind: Callable[..., tuple[Array, Array]]) -> None:
    n, repeats = 40, 800
    values = [calibrated_cka(*kind(np.random.default_rng(s), n)) for s in range(repeats)]
    p = np.array([value["p"] for value in values])
    ranks = np.round(p * n).astype(int)
    assert ranks.min() >= 1
    counts = np.bincount((ranks - 1) // 4, minlength=10)  # ten classes of four values each
    statistic = ((counts - repeats / 10) ** 2 / (repeats / 10)).sum()
    assert statistic < chi2.ppf(0.999, 9)
    low, high = binom.interval(0.999, repeats, 0.05)
    assert low <= (p <= 0.05).sum() <= high
    beyond = sum(value[""] > 0 for value in values)
    assert beyond == (p <= 0.05).sum()


def test_related_layers_have_the_smallest_p_and_copies_a_score_of_1() -> None:
    x = normal(200, 20)
    related = calibrated_cka(x, np.maximum(x @ normal(20, 30, seed=1), 0))
    assert related["p"] == pytest.approx(1 / 200)
    assert 0 < related["threshold"] < related["cka"] < 1
    assert 0 < related[""] < related["cka"]
    copy = calibrated_cka(x, 9 * x @ rotation(20) + 1)
    assert (copy[""], copy["cka"]) == pytest.approx((1, 1))


def test_the_null_values_depend_on_ids_and_not_on_the_order() -> None:
    event = example_event(n=64, part="subset")
    metric = METRICS["calibrated_cka"]
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3))

    def values(which: torch.Tensor) -> dict[str, float]:
        calibrate = sys.modules[metric.__module__]._calibrated
        sides = [layer.activations[which] for layer in event.layers]
        found = calibrate(*sides, event.sample_ids[which])
        return {name: float(value) for name, value in found.items()}

    assert values(order) == values(torch.arange(64))


@steady
@given(x=layers(least=20), width=st.integers(1, 20), seed=st.integers(0, 99))
def test_calibration_keeps_its_promises(x: Array, width: int, seed: int) -> None:
    y = np.maximum(x / x.std() @ normal(x.shape[1], width, seed=seed), 0)
    y = y + normal(len(x), width, seed=seed + 1)
    value = calibrated_cka(x, y)
    assert value[""] <= 1
    assert 1 / len(x) - 1e-12 <= value["p"] <= 1
    assert (value[""] > 0) == (value["p"] <= 0.05)
    assert abs(value["cka"]) <= 1 + 1e-12
    turned = calibrated_cka(-7 * x @ rotation(x.shape[1], seed), y + 3)
    assert turned == pytest.approx(value, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (normal(19, 4), "at least 20 samples are needed, there are 19"),
        (np.zeros((30, 4)), "does not vary"),
        (np.full((30, 4), 0.1), "does not vary"),
        (np.eye(30)[:, :1] * 9, "does not vary"),  # but for one sample
    ],
)
def test_what_cannot_be_calibrated_is_undefined(x: Array, reason: str) -> None:
    with pytest.raises(UndefinedError, match=reason):
        calibrated_cka(normal(len(x), 3), x)


# The two that were there before


def test_dead_units_and_sparsity_count_zeros() -> None:
    event = example_event(n=90, widths=(7, 9), part="chunk")
    first = event.layers[0].activations
    first[:, 2] = 0
    first[:, 4] = 0
    first[3, 4] = 1
    expected = {"dead_units": 1 / 7, "sparsity": float((first == 0).double().mean())}
    for name, wanted in expected.items():
        rows = by_place(measure_split(definition_of(METRICS[name])(), event, 7))
        assert rows["layer_0", None, name] == pytest.approx(wanted, rel=1e-6)
