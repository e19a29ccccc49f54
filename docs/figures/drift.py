"""Measure the detectors of docs/monitoring.md; write drift.json in some minutes.

Each goes through the public functions, with fixed seeds. An alarm never ends here, so
that the moment it began is that of the first one.
"""

import json
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import binom

from docs.figures.measure import rounded
from docs.figures.measure import seeded
from pytest_llmeval.drift import Point
from pytest_llmeval.drift import Rule
from pytest_llmeval.drift import compare_texts
from pytest_llmeval.drift import detect
from pytest_llmeval.drift import detect_slices
from pytest_llmeval.drift import estimated
from pytest_llmeval.drift import fixed
from pytest_llmeval.drift import number_bins
from pytest_llmeval.drift import stability_index


NUMBERS = Path(__file__).with_name("drift.json")
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NEVER = 10**9
GOOD = 0.9
RUN_LENGTHS = (30, 100, 365)
FARTHEST = 5
"""A run is followed up to so many times the promised length."""
CHANGE = 60
"""Evaluations before the drop."""
WINDOW = 7
BASELINE = 20
SETS = (30, 100, 300)
WORDS = ("where", "is", "my", "order", "invoice", "number", "please", "help", "refund")


def series(values, n):
    """Return daily evaluations of n rows."""
    return [Point(START + at * DAY, float(v), n) for at, v in enumerate(values)]


def rule(run_length, **changes):
    """Return a rule by which an alarm stays on."""
    return Rule(run_length=run_length, warning_length=2, recovery=NEVER, **changes)


def alarm_after(points, reference, rule):
    """Return the number of evaluations up to the first alarm, or None."""
    found = detect(points, reference, rule)
    begun = found.state == "alarm" and found.since is not None
    return round((found.since - points[0].time) / DAY) + 1 if begun else None


def right_or_wrong(rng, count, n, share=GOOD):
    """Draw means of n right-or-wrong scores."""
    return rng.binomial(n, share, count) / n


def judged(rng, count, n):
    """Draw means of grades with a mean of .8."""
    return rng.beta(8, 2, (count, n)).mean(axis=1)


def easy_and_hard(rng, count, n):
    """Draw means over a fixed suite: half of its rows always right, half at .8."""
    return (n // 2 + rng.binomial(n - n // 2, 0.8, count)) / n


def restless(rng, count, n):
    """Draw evaluations whose rows share good and bad days."""
    return rng.binomial(n, np.clip(rng.normal(GOOD, 0.03, count), 0, 1)) / n


def known(draw, level, n, rng, length, **changes):
    """Return when a false alarm comes, the reference being the true mean."""
    points = series(draw(rng, FARTHEST * length, n), n)
    return alarm_after(points, fixed(level), rule(length, **changes))


def from_baseline(draw, n, rng, length, **changes):
    """Return the same with a baseline of twenty evaluations before."""
    points = series(draw(rng, BASELINE + FARTHEST * length, n), n)
    asked = rule(length, **changes)
    reference = estimated(points[:BASELINE], asked)
    return alarm_after(points[BASELINE:], reference, asked)


def of_slices(n, rng, length):
    """Return when the first of ten slices gives a false alarm, by Holm."""
    parts = {
        str(at): series(right_or_wrong(rng, FARTHEST * length, n), n)
        for at in range(10)
    }
    found = detect_slices(parts, dict.fromkeys(parts, fixed(GOOD)), rule(length))
    begun = [one.since for one in found.values() if one.state == "alarm"]
    return round((min(begun) - START) / DAY) + 1 if begun else None


CASES = {
    "right or wrong, .9, 100 rows": partial(known, right_or_wrong, GOOD, 100),
    "right or wrong, .9, 1,000 rows": partial(known, right_or_wrong, GOOD, 1_000),
    "judge-like, Beta(8, 2), 100 rows": partial(known, judged, 0.8, 100),
    "fixed suite, easy and hard rows": partial(known, easy_and_hard, GOOD, 100),
    "either way": partial(known, right_or_wrong, GOOD, 100, better=None),
    "ten slices, any of them": partial(of_slices, 100),
    "baseline of 20 evaluations": partial(from_baseline, right_or_wrong, 100),
    'bad days, unit "evaluation"': partial(
        known, restless, GOOD, 200, unit="evaluation"
    ),
    'bad days, unit "row": not promised': partial(known, restless, GOOD, 200),
}


def run_lengths():
    """Mean evaluations up to a false alarm, counted up to five times the promise."""
    return {
        name: {length: mean_length(name, length, 300) for length in RUN_LENGTHS}
        for name in CASES
    }


def mean_length(name, length, runs):
    """Return the mean length of so many runs."""
    rng = seeded("run length", name, length)
    lengths = [CASES[name](rng, length) or FARTHEST * length for _ in range(runs)]
    return float(np.mean(lengths))


def threshold(n, length, mean=GOOD):
    """Return the largest count of right answers whose alarms are rare enough; exact."""
    return int(np.searchsorted(binom.cdf(np.arange(n), n, mean), 1 / length)) - 1


def window_sums(counts):
    """Return the sums of each seven evaluations in a row."""
    sums = counts.cumsum(axis=1)
    sums[:, WINDOW:] -= sums[:, :-WINDOW].copy()
    return sums[:, WINDOW - 1 :]


def window_limit(n, length):
    """Return the sum of seven at which alarms are as rare as promised, simulated."""
    shape = (1_000, FARTHEST * length)
    sums = window_sums(seeded("window", n).binomial(n, GOOD, shape))
    lowest = int(WINDOW * n * GOOD)
    while firsts(sums <= lowest).mean() < length:
        lowest -= 1
    return lowest


def firsts(crossed):
    """Return the number of evaluations up to the first alarm of each run."""
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, crossed.shape[1])


def delays():
    """Evaluations of n rows from a drop of .05 to the alarm, all at one per 365."""
    return by_method({n: (n, 0.05) for n in (50, 100, 200, 500, 1_000)})


def drops():
    """The same for 200 rows, by the size of the drop."""
    return by_method({drop: (200, drop) for drop in (0.02, 0.03, 0.05, 0.07, 0.1)})


def by_method(cases):
    """Return the mean delay by method and case."""
    return {
        name: {key: float(method(*case)) for key, case in cases.items()}
        for name, method in {
            "plain threshold": threshold_delay,
            "moving average of 7": window_delay,
            "detector": partial(detector_delay, from_start=False),
            "detector, estimated": partial(detector_delay, from_start=True),
        }.items()
    }


def threshold_delay(n, drop):
    """Return the mean delay of a threshold that knows the mean before; exact."""
    return 1 / binom.cdf(threshold(n, 365), n, GOOD - drop)


def window_delay(n, drop):
    """Return the mean delay of a moving average that knows the mean before."""
    rng, limit = seeded("window delay", n, drop), window_limit(n, 365)
    before = rng.binomial(n, GOOD, (2_000, WINDOW - 1))
    after = rng.binomial(n, GOOD - drop, (2_000, 2_000))
    sums = window_sums(np.concatenate([before, after], axis=1))
    return firsts(sums <= limit).mean()


def detector_delay(n, drop, *, from_start, runs=500):
    """Return the mean delay of a detector that gave no alarm before the drop."""
    rng, asked = seeded("delay", n, drop, from_start), rule(365)
    found = []
    for _ in range(runs):
        points = dropping(rng, n, drop)
        reference = estimated(points[:BASELINE], asked) if from_start else fixed(GOOD)
        after = alarm_after(points[BASELINE:], reference, asked)
        late = (after or len(points)) - (CHANGE - BASELINE)
        if late > 0:
            found.append(late)
    return np.mean(found)


def dropping(rng, n, drop, after=600):
    """Draw a series whose mean drops."""
    before = right_or_wrong(rng, CHANGE, n)
    return series([*before, *right_or_wrong(rng, after, n, GOOD - drop)], n)


def first_quarter():
    """Share of runs with a false alarm within 90 evaluations, at one per 365."""
    drawn = {
        "mean known": partial(quarter, baseline=False, draw=right_or_wrong),
        "baseline of 20": partial(quarter, baseline=True, draw=right_or_wrong),
        "mean known, bad days": partial(quarter, baseline=False, draw=restless),
    }
    names = ("plain threshold", "moving average of 7", "detector")
    shares = {name: case(seeded("quarter", name)) for name, case in drawn.items()}
    return {
        method: {name: shares[name][at] for name in drawn}
        for at, method in enumerate(names)
    }


def quarter(rng, *, baseline, draw, n=200, days=90, runs=1_000):
    """Return the share of each method; on bad days evaluations are the unit."""
    asked = rule(365, unit="row" if draw is right_or_wrong else "evaluation")
    limit, found = window_limit(n, 365), []
    for _ in range(runs):
        values = draw(rng, BASELINE + days, n)
        before, after = values[:BASELINE], values[BASELINE:]
        mean = before.mean() if baseline else GOOD
        known = estimated(series(before, n), asked) if baseline else fixed(GOOD)
        counts = np.rint(after * n).astype(int)
        shift = round(WINDOW * n * (mean - GOOD))
        found.append(
            (
                (counts <= threshold(n, 365, mean)).any(),
                (window_sums(counts[np.newaxis]) <= limit + shift).any(),
                alarm_after(series(after, n), known, asked) is not None,
            )
        )
    return [float(share) for share in np.mean(found, axis=0)]


def intervals():
    """Share of intervals that hold the change, and their mean number of evaluations."""
    return {
        f"{drop:g}": {n: coverage(n, drop) for n in (50, 100, 200, 500)}
        for drop in (0.03, 0.05, 0.1)
    }


def coverage(n, drop, runs=1_000):
    """Return both for alarms that came after the drop."""
    rng, held, wide = seeded("interval", n, drop), [], []
    for _ in range(runs):
        found = detect(dropping(rng, n, drop, 300), fixed(GOOD), rule(365))
        if found.change_interval and found.since >= START + CHANGE * DAY:
            first, last = found.change_interval
            held.append(first <= START + CHANGE * DAY <= last)
            wide.append((last - first) / DAY + 1)
    return {"held": float(np.mean(held)), "wide": float(np.mean(wide))}


def stability():
    """Share of samples of the reference's own distribution that are called a shift."""
    found = {"index above .1": {}, "index above .25": {}, "p-value at most .05": {}}
    for n in (100, 200, 500, 2_000):
        rng, results = seeded("stability", n), []
        for _ in range(1_000):
            bins = number_bins(rng.normal(size=n))
            results.append(stability_index(bins, rng.normal(size=n)))
        found["index above .1"][n] = float(np.mean([r.psi > 0.1 for r in results]))
        found["index above .25"][n] = float(np.mean([r.psi > 0.25 for r in results]))
        found["p-value at most .05"][n] = float(
            np.mean([r.p_value <= 0.05 for r in results])
        )
    return found


def texts(rng, count, strange=0.0):
    """Draw questions of eight words, some of them in words of their own."""
    usual, other = np.array(WORDS), np.array([word[::-1] for word in WORDS])
    drawn = rng.integers(len(WORDS), size=(count, 8))
    odd = rng.random((count, 1)) < strange
    return [" ".join(row) for row in np.where(odd, other[drawn], usual[drawn])]


def ngrams():
    """Share of comparisons at .05, by the share of texts in other words."""
    found = {}
    for strange in (0.0, 0.02, 0.05, 0.1):
        found[f"{strange:g}"] = {}
        for count in SETS:
            rng = seeded("n-grams", strange, count)
            p_values = [
                compare_texts(texts(rng, count), texts(rng, count, strange), at).p_value
                for at in range(200)
            ]
            found[f"{strange:g}"][count] = float(np.mean(np.array(p_values) <= 0.05))
    return found


PARTS = (run_lengths, delays, drops, first_quarter, intervals, stability, ngrams)


if __name__ == "__main__":
    measured = {part.__name__: rounded(part()) for part in PARTS}
    NUMBERS.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
