"""Two sets of texts are compared by what they are written with."""

import itertools
import math
import time
from collections import Counter

import numpy
import pytest

from docs.figures import drift as figures
from pytest_llmeval.drift import compare_texts
from pytest_llmeval.drift import features
from pytest_llmeval.errors import ConfigurationError


HOSTILE = ["", " ", "\x00\x00", "\ud800 alone", "=1+1", "🙂" * 5_000, "a" * 10**6]


def bucket(trigram):
    """The hash in whole numbers of any size, cut to 64 bits."""
    factors = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
    mixed = sum(ord(c) * f for c, f in zip(trigram, factors, strict=True)) % 2**64
    return ((mixed ^ (mixed >> 32)) * factors[0] % 2**64) >> 54


def test_a_row_is_the_scaled_root_of_the_counts_of_hashed_trigrams():
    text = "Where is my order? Where is it, 請問在哪裡 🙂"
    padded = f" {text} "
    counts = Counter(bucket(padded[at : at + 3]) for at in range(len(text)))

    (row,) = features([text])

    expected = {at: math.sqrt(n / len(text)) for at, n in counts.items()}
    assert {int(at): row[at] for at in numpy.flatnonzero(row)} == pytest.approx(
        expected
    )


def test_trigrams_spread_evenly_over_the_buckets():
    letters = "abcdefghijklmnopqrstuvwxyz"
    counts = Counter(map(bucket, itertools.product(letters, repeat=3)))

    # 26^3 trigrams in 1024 buckets: 17 each, as if thrown at random.
    spread = sum((counts[at] - 26**3 / 1024) ** 2 for at in range(1024)) / (
        26**3 / 1024
    )
    assert spread < 1_500


def test_hostile_texts_have_rows_of_length_1():
    lengths = numpy.linalg.norm(features(HOSTILE), axis=1)

    assert lengths == pytest.approx(numpy.ones(len(HOSTILE)), abs=1e-5)
    assert numpy.array_equal(*features(["ab" * 1_000 + "x", "ab" * 1_000 + "y"]))


def test_distance_is_that_of_the_means_and_p_value_that_of_all_divisions():
    texts = ["red cars", "red bikes", "red boats", "blue sky", "blue sea", "red sun"]
    rows = features(texts)

    def apart(first):
        rest = [at for at in range(6) if at not in first]
        return numpy.linalg.norm(rows[list(first)].mean(0) - rows[rest].mean(0))

    found = compare_texts(texts[:3], texts[3:])

    assert found.distance == pytest.approx(apart((0, 1, 2)), rel=1e-4)
    divisions = list(itertools.combinations(range(6), 3))
    beyond = sum(apart(one) >= found.distance - 1e-5 for one in divisions)
    share = beyond / len(divisions)
    assert found.p_value == pytest.approx(share, abs=4 * math.sqrt(share / 1_000))


def test_texts_of_one_source_are_rarely_called_different():
    p_values = []
    for seed in range(200):
        rng = numpy.random.default_rng(seed)
        first, second = figures.texts(rng, 15), figures.texts(rng, 25)
        p_values.append(compare_texts(first, second, seed).p_value)

    for level in (0.01, 0.05, 0.2):
        rejected = sum(p <= level for p in p_values) / 200
        assert rejected <= level + 3 * math.sqrt(level * (1 - level) / 200)


def test_a_tenth_of_texts_in_other_words_is_seen():
    rng = numpy.random.default_rng(6)

    found = compare_texts(figures.texts(rng, 300), figures.texts(rng, 300, 0.1))

    assert found.p_value == 1 / 1_000


def test_stored_features_give_what_their_texts_give():
    rng = numpy.random.default_rng(7)
    old, new = figures.texts(rng, 30), figures.texts(rng, 20, 0.2)

    assert compare_texts(features(old), features(new), 5) == compare_texts(old, new, 5)


def test_of_many_texts_a_random_choice_counts_and_time_stays_bounded():
    words = numpy.random.default_rng(8).choice(
        ["order", "refund", "invoice", "parcel", "account"], (24_000, 140)
    )
    texts = [" ".join(row) for row in words]
    assert sum(map(len, texts)) > 20_000 * 900

    begin = time.process_time()
    first = compare_texts(texts[:12_000], texts[12_000:], seed=1)

    assert time.process_time() - begin < 20
    assert first == compare_texts(texts[:12_000], texts[12_000:], seed=1)
    assert first != compare_texts(texts[:12_000], texts[12_000:], seed=2)
    assert first.p_value > 0.01


def test_single_texts_cannot_be_compared():
    with pytest.raises(ConfigurationError, match="1 and 2 texts cannot be compared"):
        compare_texts(["one"], ["two", "three"])


@pytest.mark.parametrize("divisions", [50, 999, 2_550])
def test_more_divisions_give_smaller_p_values(divisions):
    old, new = ["what is it?"] * 40, ["ganz anders"] * 40

    assert compare_texts(old, new, 1, divisions).p_value == 1 / (1 + divisions)
