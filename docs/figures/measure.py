"""Measure how often gates at 95 % err, and how soon they decide; write numbers.json.

Shares of right answers and paired differences are counted exactly; the rest is
simulated with fixed seeds. It takes some minutes.
"""

import json
import zlib
from pathlib import Path

import numpy as np
from scipy.stats import binom

from docs.figures import methods
from docs.figures.families import FAMILIES
from docs.figures.families import cluster_means
from docs.figures.families import with_accidents
from pytest_llmeval.stats import BettingTest
from pytest_llmeval.stats import p_value
from pytest_llmeval.stats import paired_power


NUMBERS = Path(__file__).with_name("numbers.json")
LEVEL = 0.05
ROWS = (30, 100, 300, 1_000)
BARS = np.round(np.linspace(0.5, 0.999, 500), 3)
ACCIDENTS = (0.001, 0.003, 0.01, 0.03, 0.1)
GAINS = (0.0, 0.01, 0.02, 0.05, 0.1)
TRUE_SHARES = (0.8, 0.85, 0.88, 0.9, 0.92, 0.93, 0.95, 0.97, 0.99)


def seeded(*parts):
    """Return random numbers that depend on these names alone."""
    return np.random.default_rng(zlib.crc32(repr(parts).encode()))


def passes(samples, bar):
    """Return how many of the samples pass Gaffke's bound, as a share."""
    return float(np.mean([p_value(bar, one, 0, 1) <= LEVEL for one in samples]))


def binary():
    """Worst rate over thresholds from .5 to .999 for right-or-wrong scores; exact."""
    known = {
        "plain threshold": methods.plain,
        "normal theory": methods.normal,
        "Wilson": methods.wilson,
        "Gaffke": methods.exact,
    }
    return {
        name: {rows: worst_binary(bound, rows) for rows in ROWS}
        for name, bound in known.items()
    }


def worst_binary(bound, rows):
    """Return the highest rate over all thresholds: bounds rise with right answers."""
    least = np.searchsorted(bound(np.arange(rows + 1), rows), BARS)
    return float(binom.sf(least - 1, rows, BARS).max())


def accidents():
    """Worst rate over rates of accidents: scores near .95, and now and then a 0."""
    found = {"Student t": {}, "BCa bootstrap": {}, "Gaffke": {}}
    for rows in ROWS:
        worst = dict.fromkeys(found, 0.0)
        for rate in ACCIDENTS:
            rng, bar = seeded("accidents", rows, rate), 0.95 * (1 - rate)
            usual = rng.uniform(0.945, 0.955, (2_000, rows))
            samples = with_accidents(rng, usual.shape, rate, usual)
            rates = {
                "Student t": float(np.mean(methods.student(samples) >= bar)),
                "BCa bootstrap": float(np.mean(methods.bca(samples[:400], rng) >= bar)),
                "Gaffke": passes(samples, bar),
            }
            worst = {name: max(worst[name], rates[name]) for name in worst}
        for name, rate in worst.items():
            found[name][rows] = rate
    return found


def families():
    """Rate of Gaffke's bound for each distribution, its threshold at the true mean."""
    found = {}
    for name, family in FAMILIES.items():
        found[name] = {}
        for rows in (10, 30, 100, 300):
            samples = family.draw(seeded("families", name, rows), (10_000, rows))
            found[name][rows] = passes(samples, family.mean(rows))
    return found


def paired():
    """Worst rate over rates of gains, the true drop at max_drop; exact."""
    found = {"Bonett-Price": {}, "Gaffke": {}}
    for rows in (50, 100, 200, 500, 1_000):
        for name, rate in worst_paired(rows).items():
            found[name][rows] = rate
    return found


def worst_paired(rows):
    """Return the worst rate of both methods."""
    cases = [(drop, gain) for drop in (0.02, 0.05) for gain in GAINS]
    ours = [
        paired_power(rows, -drop, -drop, 2 * gain + drop, 0.95) for drop, gain in cases
    ]
    theirs = [bonett_price_rate(rows, drop, gain) for drop, gain in cases]
    return {"Bonett-Price": max(theirs), "Gaffke": max(ours)}


def bonett_price_rate(rows, drop, gain):
    """Return how often Bonett and Price's bound passes a drop that is the largest."""
    losses, gains = np.meshgrid(np.arange(rows + 1), np.arange(rows + 1))
    loss = gain + drop
    likely = binom.pmf(losses, rows, loss) * np.where(
        gains + losses <= rows,
        binom.pmf(gains, np.maximum(rows - losses, 0), gain / (1 - loss)),
        0.0,
    )
    passing = methods.bonett_price(gains, losses, rows) >= -drop
    return float(likely[passing].sum())


def clusters():
    """Rate with a true mean of .8 and an ICC of .5, by what counts as one score."""
    found = {"each row": {}, "each cluster": {}}
    for count in (30, 100):
        rng = seeded("clusters", count)
        means = cluster_means(rng, 5_000, count, 0.5, equal=True)
        right = np.rint(5 * means).sum(axis=1)
        as_rows = methods.exact(right, 5 * count) >= 0.8
        found["each row"][count] = float(as_rows.mean())
        found["each cluster"][count] = passes(means, 0.8)
    return found


def power():
    """Share that passes a threshold .03 below the true mean."""
    found = {}
    for name in ("judge-like, Beta(8, 2)", "ROUGE-like, Beta(2, 3)"):
        family, kind = FAMILIES[name], name.partition(",")[0]
        ours, theirs = {}, {}
        for rows in (20, 30, 50, 100, 200, 300, 500, 1_000):
            bar = family.mean(rows) - 0.03
            samples = family.draw(seeded("power", name, rows), (2_000, rows))
            ours[rows] = passes(samples, bar)
            theirs[rows] = float(np.mean(methods.student(samples) >= bar))
        found |= {f"{kind}: Student t": theirs, f"{kind}: Gaffke": ours}
    return found


def early_stop():
    """Decisions and rows of an early stop at .9, of 1,000 rows, by the true share."""
    found = {}
    for share in TRUE_SHARES:
        samples = seeded("early stop", share).random((4_000, 1_000)) < share
        tests = []
        for sample in samples:
            test = BettingTest(0.9, 0.95, 0, 1)
            test.add(sample)
            tests.append((test.decided, test.rows))
        decided = [where for where, _ in tests]
        found[share] = {
            "rows": float(np.mean([rows for _, rows in tests])),
            "above": decided.count("above") / len(tests),
            "below": decided.count("below") / len(tests),
        }
    return found


def peeking():
    """Rate of a gate at .9 that is looked at every 10 rows up to 1,000."""
    rows = np.arange(10, 1_001, 10)
    samples = seeded("peeking").random((20_000, 1_000)) < 0.9
    right = samples.cumsum(axis=1)[:, rows - 1]
    return float((right > binom.isf(LEVEL, rows, 0.9)).any(axis=1).mean())


PARTS = (binary, accidents, families, paired, clusters, power, early_stop, peeking)


def rounded(value):
    """Return the numbers with four decimals, which is more than they are sure of."""
    if isinstance(value, dict):
        return {str(name): rounded(part) for name, part in value.items()}
    return round(value, 4)


if __name__ == "__main__":
    measured = {part.__name__: rounded(part()) for part in PARTS}
    NUMBERS.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
