"""What each plain function costs against packages that compute the same, one thread each.

    pip install pytorch-cka scikit-dimension
    python -m tests.benchmarks.packages

Float64 on both sides, in milliseconds, each pair timed alternately in one process. Their values are
held against ours, to a millionth. Packages that are not there are left out, and told.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cmp_core.plugins.loader import load_plugins
from cmp_metrics import (
    accuracy,
    cross_entropy,
    eigenspectrum,
    gaussian_entropy,
    linear_cka,
    linear_cka_matrix,
    mutual_information,
    participation_ratio,
    probe_accuracy,
    ridge_r2,
    within_class_variance,
)
from tests.benchmarks.ratio import compare

Floats = NDArray[np.float64]
Answer = Callable[[], Any]


@attrs.frozen
class Case:
    """A function of ours, and what computes the same, by name."""

    what: str
    ours: Answer
    others: Mapping[str, Answer]


def cases() -> Iterator[Case]:
    """Yield one case after another, so that the numbers of one are in memory at a time."""
    for n, p in ((2_000, 256), (5_000, 512), (500, 2_048)):
        yield from about_pairs(n, p)
        yield from about_spectra(n, p)
    yield from about_fits()
    yield from about_samples()


def about_pairs(n: int, p: int) -> Iterator[Case]:
    """Debiased CKA of two layers, and of all pairs of eight."""
    layers = [normal(n, p, seed) + normal(n, p, 8) for seed in range(8)]
    x, y = layers[:2]
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    all_layers = list(map(torch.from_numpy, layers))
    yield Case(
        f"linear_cka {n:,} x {p:,}",
        lambda: linear_cka(x, y),
        {
            "pytorch-cka": lambda: module("cka").cka_from_features(a, b).item(),
            "NumPy, eight lines": lambda: debiased_cka(x, y),
        },
    )
    yield Case(
        f"linear_cka_matrix 8 of {n:,} x {p:,}",
        lambda: linear_cka_matrix(layers),
        {
            "pytorch-cka": lambda: module("cka").cka_from_features(all_layers, all_layers),
        },
    )


def about_spectra(n: int, p: int) -> Iterator[Case]:
    """What rests on the covariance of one layer."""
    x = normal(n, p, 0)
    labels = np.random.default_rng(1).integers(0, 10, n)
    effective_rank = plugin("effective_rank")

    def pca(solver: str) -> Floats:
        fitted = module("sklearn.decomposition").PCA(svd_solver=solver).fit(x)
        return np.asarray(fitted.explained_variance_)[: min(n - 1, p)]

    def participation_by_pca() -> float:
        estimator = module("skdim.id").lPCA(ver="participation_ratio")
        return float(estimator.fit(x).dimension_)

    def entropy_by_ledoit_wolf() -> float:
        covariance, _ = module("sklearn.covariance").ledoit_wolf(x)
        return float(np.linalg.slogdet(covariance)[1] + p * np.log(2 * np.pi * np.e)) / 2

    def rank_by_svd() -> float:
        values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[: min(n - 1, p)]
        shares = values / values.sum()
        return float(np.exp(-(shares * np.log(shares)).sum()))

    def within_by_groups() -> float:
        within = sum(((x[labels == k] - x[labels == k].mean(0)) ** 2).sum() for k in range(10))
        return float(within / (n - 10) / x.var(axis=0, ddof=1).sum())

    size = f"{n:,} x {p:,}"
    by_solver = {
        f"scikit-learn PCA, {x}": functools.partial(pca, x) for x in ("full", "covariance_eigh")
    }
    yield Case(f"eigenspectrum {size}", lambda: eigenspectrum(x), by_solver)
    yield Case(
        f"participation_ratio {size}",
        lambda: participation_ratio(x, debiased=False),
        {"scikit-dimension": participation_by_pca},
    )
    yield Case(
        f"gaussian_entropy {size}",
        lambda: gaussian_entropy(x),
        {"scikit-learn ledoit_wolf": entropy_by_ledoit_wolf},
    )
    yield Case(
        f"effective_rank {size}",
        lambda: effective_rank(x)["rankme"],
        {"NumPy svd": rank_by_svd},
    )
    yield Case(
        f"within_class_variance {size}",
        lambda: within_class_variance(x, labels),
        {"NumPy by class": within_by_groups},
    )


def about_fits() -> Iterator[Case]:
    """Least squares fitted to half of the samples and scored on the others."""
    x, y = normal(10_000, 256, 0), normal(10_000, 256, 1)
    y += x @ normal(256, 256, 2) / 16
    labels = (y[:, :10]).argmax(axis=1)
    half = slice(0, 5_000), slice(5_000, None)
    (train, test) = half

    def fitted(targets: Floats) -> Floats:
        model = module("sklearn.linear_model").LinearRegression()
        return np.asarray(model.fit(x[train], targets[train]).predict(x[test]))

    def r2_by_sklearn() -> float:
        errors = ((y[test] - fitted(y)) ** 2).sum()
        return float(1 - errors / ((y[test] - y[test].mean(axis=0)) ** 2).sum())

    yield Case(
        "ridge_r2, 5,000 x 256 to 256",
        lambda: ridge_r2(x[test], y[test], fit=(x[train], y[train])),
        {"scikit-learn LinearRegression": r2_by_sklearn},
    )
    yield Case(
        "probe_accuracy, 5,000 x 256",
        lambda: probe_accuracy(x[test], labels[test], fit=(x[train], labels[train])),
        {
            "scikit-learn LinearRegression": lambda: float(
                (fitted(np.eye(10)[labels]).argmax(axis=1) == labels[test]).mean()
            )
        },
    )


def about_samples() -> Iterator[Case]:
    """What compares samples, or scores them one by one."""
    x = normal(2_000, 256, 0)
    scores, labels = normal(10_000, 10, 0), np.random.default_rng(1).integers(0, 10, 10_000)
    two_nn = plugin("two_nn")

    def upper_bound() -> float:
        squares = module("sklearn.metrics.pairwise").euclidean_distances(x, squared=True)
        exponents = -squares * 4 / (2 * x.var(axis=0).sum())
        logs = module("scipy.special").logsumexp(exponents, axis=1) - np.log(len(x))
        return float(-logs.mean())

    yield Case(
        "mutual_information (two widths, Gaussian bound), 2,000 x 256",
        lambda: mutual_information(x)["kt"],
        {"scikit-learn and SciPy, one width": upper_bound},
    )
    yield Case(
        "accuracy, 10,000 x 10",
        lambda: accuracy(scores, labels),
        {
            "scikit-learn": lambda: module("sklearn.metrics").accuracy_score(
                labels, scores.argmax(axis=1)
            )
        },
    )
    yield Case(
        "cross_entropy, 10,000 x 10",
        lambda: cross_entropy(scores, labels),
        {
            "torch": lambda: torch.nn.functional.cross_entropy(
                torch.from_numpy(scores), torch.from_numpy(labels)
            ).item()
        },
    )
    yield Case(
        "two_nn, 2,000 x 256",
        lambda: two_nn(x),
        {"scikit-dimension": lambda: module("skdim.id").TwoNN().fit(x).dimension_},
    )


def normal(n: int, p: int, seed: int) -> Floats:
    """Return correlated normal numbers (n, p)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, p)) * np.linspace(1, 0.1, p) + rng.normal(size=(n, 1))


def debiased_cka(x: Floats, y: Floats) -> float:
    """Return CKA by HSIC₁ in the form with fewer multiplications."""
    n = len(x)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    k, m = (x * x).sum(axis=1), (y * y).sum(axis=1)

    def hsic(square: float, r: Floats, s: Floats) -> float:
        return float(square - r @ s * n / (n - 2) + r.sum() * s.sum() / ((n - 1) * (n - 2)))

    if n < x.shape[1]:
        a, b = x @ x.T, y @ y.T
        squares = [(u * v).sum() for u, v in ((a, b), (a, a), (b, b))]
    else:
        squares = [np.linalg.norm(u.T @ v) ** 2 for u, v in ((x, y), (x, x), (y, y))]
    xy, xx, yy = map(hsic, squares, (k, k, m), (m, k, m))
    return float(xy / np.sqrt(xx * yy))


@functools.cache
def module(name: str) -> Any:
    """Import a package once."""
    return import_module(name)


def plugin(name: str) -> Any:
    """Return the plain function of a plugin that is shipped as an example."""
    return getattr(load_plugins([f"cmp:{name}"], built_ins=()).manager.get_plugin(name), name)


def main() -> None:
    """Print a line for each pair."""
    for case in cases():
        print(case.what)
        value = np.asarray(case.ours(), dtype=float)
        for name, other in case.others.items():
            try:
                theirs = np.asarray(other(), dtype=float)
            except ModuleNotFoundError as missing:
                print(f"  {name}: left out, there is no module {missing.name}")
                continue
            near = np.allclose(value, theirs, rtol=1e-6, atol=1e-9)
            agrees = "" if near else f", but values differ by {np.abs(value - theirs).max():.1g}"
            first, second, ratio = compare(case.ours, other, rounds=7)
            figures = f"{1e3 * first:.2f} to {1e3 * second:.2f} ms, {ratio:.2f}"
            print(f"  {name}: {figures}{agrees}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with threadpool_limits(1):
        main()
