"""Usual lower bounds of a mean, to compare with: one bound for each sample."""

import numpy as np
from scipy import stats


Z = stats.norm.ppf(0.95)


def plain(right, n):
    """Compare the value itself."""
    return right / n


def normal(right, n):
    """Return the normal-theory (Wald) bound of a share."""
    share = right / n
    return share - Z * np.sqrt(share * (1 - share) / n)


def wilson(right, n):
    """Return Wilson's bound of a share."""
    share, extra = right / n, Z**2 / n
    reach = Z * np.sqrt(share * (1 - share) / n + extra / (4 * n))
    return (share + extra / 2 - reach) / (1 + extra)


def exact(right, n):
    """Return the Clopper-Pearson bound, which is Gaffke's for these scores."""
    return np.where(right > 0, stats.beta.ppf(0.05, right, n - right + 1), 0.0)


def bonett_price(gains, losses, n):
    """Return Bonett and Price's bound of a difference of paired shares."""
    gain, loss = (gains + 1) / (n + 2), (losses + 1) / (n + 2)
    spread = gain + loss - (gain - loss) ** 2
    return gain - loss - Z * np.sqrt(spread / (n + 2))


def student(samples):
    """Return Student's bound of each row of an array."""
    n = samples.shape[1]
    reach = stats.t.ppf(0.95, n - 1) * samples.std(axis=1, ddof=1) / np.sqrt(n)
    return samples.mean(axis=1) - reach


def bca(samples, rng):
    """Return the BCa bootstrap bound of each row, from 1,000 resamples."""
    blocks = [
        stats.bootstrap(
            (block,),
            np.mean,
            axis=1,
            n_resamples=1_000,
            batch=100,
            confidence_level=0.9,
            random_state=rng,
        ).confidence_interval.low
        for block in np.array_split(samples, max(1, len(samples) // 20))
    ]
    return np.concatenate(blocks)
