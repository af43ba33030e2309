"""How often each word is said of runs whose truth is known, and how often intervals hold it.

    python -m tests.simulations.questions [--draws 400] [--write]

prints the tables of `docs/questions.md`; with `--write` they are put there.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from cmp_core.analysis.evidence import MARGINS, MetricEvidence, Values
from cmp_core.analysis.questions import Finding
from cmp_core.runs.metric_info import MetricInfo

Floats = NDArray[np.float64]
DOCUMENT = Path(__file__).parents[2] / "docs" / "questions.md"
MARK = "<!-- python -m tests.simulations.questions --write -->"
END = "<!-- end -->"

SEEDS = (1, 3, 5, 10)
SAMPLES = (359, 2000, 10000)
WORDS = ("yes", "partly", "no", "inconclusive")
M = MARGINS["rises"]
FALL = -math.log1p(-MARGINS["falls"])
GROUPS = 20
"""Of the samples, whose influences are known of values that are no means over samples."""

PROBE = MetricInfo("probe", "probe", unit="fraction", question="predictive", evidence="rises")
PR = MetricInfo("directions", "directions", question="compressing", evidence="falls")
CKA = MetricInfo(
    "similarity", "similarity", question="different", evidence="similarity", neighbour="next"
)


@attrs.frozen
class Truth:
    """A population of runs.

    Attributes:
        name: what is true of it.
        curve: the mean of the metric at the layers, of trained networks.
        allowed: the words that are not wrong.
        info: the metric.
        seed_spread: standard deviation between seeds, at every layer by itself.
        skewed: whether the effects of seeds are exponential instead of normal.
        collapsed: whether one seed is at .4 in all layers.
        before: the mean at the layers before training; none: not simulated.
    """

    name: str
    curve: tuple[float, ...]
    allowed: frozenset[str]
    info: MetricInfo = PROBE
    seed_spread: float = 0.004
    skewed: bool = False
    collapsed: bool = False
    before: tuple[float, ...] | None = None


def _truths() -> list[Truth]:
    def rise(total: float) -> tuple[float, ...]:
        return tuple(0.9 + total * i / 3 for i in range(4))

    def fall(total: float) -> tuple[float, ...]:
        return tuple(20 * math.exp(-total * i / 3) for i in range(4))

    words = {
        "no": frozenset({"no", "inconclusive"}),
        "yes": frozenset({"yes", "inconclusive"}),
        "partly": frozenset({"partly", "inconclusive"}),
        "not no": frozenset({"yes", "partly", "inconclusive"}),
        "any": frozenset(WORDS),
    }
    return [
        Truth("no effect", rise(0), words["no"]),
        Truth("half a margin", rise(0.5 * M), words["no"]),
        Truth("a margin", rise(M), words["any"]),
        Truth("two margins", rise(2 * M), words["yes"]),
        Truth("five margins", rise(5 * M), words["yes"]),
        Truth("a hump of five margins", (0.9, 0.95, 0.93, 0.9), words["partly"]),
        Truth("a knee after the second layer", (0.9, 0.95, 0.95, 0.95), words["yes"]),
        Truth("five margins before training too", rise(5 * M), words["yes"], before=rise(5 * M)),
        Truth("five margins, one before", rise(5 * M), words["yes"], before=rise(M)),
        Truth("two margins, seeds alike", rise(2 * M), words["yes"], seed_spread=0),
        Truth("no effect, skewed seeds", rise(0), words["no"], skewed=True),
        Truth("no effect, a collapsed seed", rise(0), words["no"], collapsed=True),
        Truth("five margins, a collapsed seed", rise(5 * M), words["not no"], collapsed=True),
        Truth("directions: no effect", fall(0), words["no"], PR, 0.5),
        Truth("directions: half a margin", fall(0.5 * FALL), words["no"], PR, 0.5),
        Truth("directions: a margin", fall(FALL), words["any"], PR, 0.5),
        Truth("directions: two margins", fall(2 * FALL), words["yes"], PR, 0.5),
        Truth("directions: halved", fall(math.log(2)), words["yes"], PR, 0.5),
        Truth(
            "directions: halved before too",
            fall(math.log(2)),
            words["yes"],
            PR,
            0.5,
            before=fall(math.log(2)),
        ),
        Truth("directions: no effect, skewed seeds", fall(0), words["no"], PR, 0.5, skewed=True),
        Truth("similarity .99", (0.99,) * 3, words["no"], CKA, 0.002),
        Truth("similarity .975", (0.975,) * 3, words["no"], CKA, 0.002),
        Truth("similarity .95", (0.95,) * 3, words["any"], CKA, 0.004),
        Truth("similarity .9", (0.9,) * 3, words["yes"], CKA, 0.004),
        Truth("similarity .9, skewed seeds", (0.9,) * 3, words["yes"], CKA, 0.004, skewed=True),
        Truth("similarity .3", (0.3,) * 3, words["yes"], CKA, 0.02),
        Truth("similarity .3 before too", (0.3,) * 3, words["yes"], CKA, 0.02, before=(0.3,) * 3),
        Truth("similarity .3, .99, .99", (0.3, 0.99, 0.99), words["partly"], CKA, 0.002),
    ]


def draw(
    truth: Truth, seeds: int, n: int, rng: np.random.Generator
) -> tuple[MetricEvidence, Floats]:
    """Return what a set of runs on one set of samples would give, and their curves (S, L)."""
    layers = len(truth.curve)
    hard = rng.normal(size=(1, n, 1))
    curves = _curves(truth, truth.curve, seeds, rng)
    trained = _measured(truth, curves, hard, rng)
    before = None
    if truth.before is not None:
        before = _measured(truth, _curves(truth, truth.before, seeds, rng), hard, rng)
    names = tuple(f"layer_{i}" for i in range(layers))
    beside = {f"layer_{i}": f"layer_{i + 1}" for i in range(layers)}
    found = MetricEvidence(truth.info, "test", n, names, trained, before, beside=beside)
    return found, curves


def _curves(truth: Truth, mean: Sequence[float], seeds: int, rng: np.random.Generator) -> Floats:
    """Return the means of the metric in networks of some seeds, (S, L)."""
    effects = rng.normal(size=(seeds, len(mean)))
    if truth.skewed:
        effects = rng.exponential(size=effects.shape) - 1
    curves: Floats = np.array(mean) + truth.seed_spread * effects
    if truth.collapsed and seeds > 1:
        curves[0] = 0.4
    return curves


def _measured(truth: Truth, curves: Floats, hard: Floats, rng: np.random.Generator) -> Values:
    """Return what networks read on samples that are hard (1, n, 1) for all alike.

    They are a little for each network, and for each layer, by itself.
    """
    (seeds, layers), n = curves.shape, hard.shape[1]
    if truth.info is PROBE:
        own = rng.normal(size=(seeds, n, 1)), rng.normal(size=(seeds, n, layers))
        latent = 0.8 * hard + 0.4 * own[0] + math.sqrt(1 - 0.8**2 - 0.4**2) * own[1]
        from scipy import stats

        hits = (latent < stats.norm.ppf(np.clip(curves, 1e-6, 1 - 1e-6))[:, None, :]).astype(float)
        values = hits.mean(axis=1)
        return Values(values, hits - values[:, None, :])
    spread = np.array(truth.curve) if truth.info is PR else np.ones(layers)
    scale = spread * (1.0 if truth.info is PR else 0.5)
    shared = hard + rng.normal(size=(1, n, layers))
    influences = (shared + rng.normal(size=(seeds, n, layers)) / 2) * scale
    means = influences.mean(axis=1, keepdims=True)
    starts = np.arange(GROUPS) * n // GROUPS
    by_group = np.add.reduceat(influences - means, starts, axis=1) * GROUPS / n
    return Values(curves + means[:, 0], by_group)


def true_effect(truth: Truth, curve: Floats) -> float:
    """Return the effect of a curve (L,)."""
    if truth.info is PROBE:
        return float(curve[-1] - curve[0])
    return float(np.log(curve[0] / curve[-1])) if truth.info is PR else float((1 - curve).mean())


@attrs.frozen
class Rates:
    """What was said of a population: shares of the words, and of intervals that hold the truth.

    Attributes:
        words: shares of the words.
        coverage: share of intervals of the effect that hold it; NaN where a seed has collapsed.
        false_knees: share of layers after which something is gained, whatever was said.
        learned: share of intervals of what was learned that hold it; NaN where it is not simulated.
    """

    words: Counter[str]
    coverage: float
    false_knees: float
    learned: float = math.nan

    def wrong(self, truth: Truth) -> float:
        """Return the share of words that are wrong."""
        return sum(share for word, share in self.words.items() if word not in truth.allowed)


def rates(truth: Truth, seeds: int, n: int, draws: int) -> Rates:
    """Draw sets of runs, and count what is said of them."""
    words: Counter[str] = Counter()
    held = knees = learned = 0
    for i in range(draws):
        item, curves = draw(truth, seeds, n, np.random.default_rng([i, seeds, n]))
        found = Finding(item)
        low, high = item.effect.interval
        # Of one seed the interval is about that network, of several about the population.
        curve = curves[0] if seeds == 1 else np.array(truth.curve)
        held += low <= true_effect(truth, curve) <= high
        if item.learned is not None and truth.before is not None and seeds > 1:
            low, high = item.learned.interval
            curves_of = (np.array(truth.curve), np.array(truth.before))
            trained, untrained = (true_effect(truth, curve) for curve in curves_of)
            learned += low <= trained - untrained <= high
        if seeds > 1:
            words[found.word] += 1
            knees += _is_false(found.knee, truth)
    for word in words:
        words[word] = words[word] / draws  # type: ignore[assignment]
    is_known = truth.before is not None and seeds > 1
    is_population = not truth.collapsed or seeds == 1  # one of the seeds is no draw from it
    return Rates(
        words,
        held / draws if is_population else math.nan,
        knees / draws,
        learned / draws if is_known else math.nan,
    )


def _is_false(knee: str | None, truth: Truth) -> bool:
    """Return whether a later layer exceeds the one after which nothing is said to be gained."""
    if knee is None:
        return False
    place = int(knee.removeprefix("layer_"))
    return max(truth.curve[place + 1 :]) - truth.curve[place] >= M - 1e-12


def table(draws: int, truths: Sequence[Truth], report: Callable[[str], None] = print) -> str:
    """Return a table of all populations: a row for each number of seeds, shares by n."""
    sizes = " / ".join(f"{n:,}" for n in SAMPLES)
    lines = [
        f"Shares at n = {sizes} test samples, {draws} sets of runs each.",
        "",
        "| truth | seeds | yes | partly | no | inconclusive | wrong | wrong knee | effect held "
        "| learned held |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for truth in truths:
        for seeds in SEEDS:
            found = [rates(truth, seeds, n, draws) for n in SAMPLES]
            columns = [[one.words[word] for one in found] for word in WORDS]
            columns += [[one.wrong(truth) for one in found], [one.false_knees for one in found]]
            cells = [_cell(column) if seeds > 1 else "–" for column in columns]
            cells += [
                "–" if math.isnan(shares[0]) else _cell(shares)
                for shares in ([x.coverage for x in found], [x.learned for x in found])
            ]
            lines.append(f"| {truth.name} | {seeds} | {' | '.join(cells)} |")
            report(lines[-1])
    return "\n".join(lines)


def _cell(shares: Sequence[float]) -> str:
    """Return shares without the zero before the point, such as `.05 / 0 / 1`."""
    texts = [f"{share:.2f}".removeprefix("0") for share in shares]
    return " / ".join({".00": "0", "1.00": "1"}.get(text, text) for text in texts)


def main() -> None:
    """Print the table, or put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    found = table(arguments.draws, _truths())
    if arguments.write:
        before, _, after = DOCUMENT.read_text(encoding="utf-8").partition(MARK)
        rest = after.partition(END)[2]
        DOCUMENT.write_text(f"{before}{MARK}\n\n{found}\n\n{END}{rest}", encoding="utf-8")


if __name__ == "__main__":
    main()
