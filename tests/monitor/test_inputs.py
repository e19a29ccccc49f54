"""What is kept of inputs, in real files, and how days are compared."""

import datetime
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import ks_2samp

from pytest_llmeval.drift import features
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.monitor.calls import Call
from pytest_llmeval.monitor.inputs import METRICS
from pytest_llmeval.monitor.inputs import KeptInputs
from pytest_llmeval.monitor.inputs import compare_inputs
from pytest_llmeval.monitor.inputs import inputs_of

from .texts import question


DAYS = [datetime.date(2026, 11, day) for day in range(1, 31)]
LEVEL = 1 / (8 * 365)


def calls_of(day, count=60, topic="refunds", seed=0):
    rng = random.Random(f"{day} {seed}")
    at = datetime.datetime.combine(day, datetime.time(9), datetime.UTC)
    texts = [question(rng, topic) for _ in range(count)]
    return [
        Call(id=f"{day}-{number}", at=at, input=text, output="a")
        for number, text in enumerate(texts)
    ]


@pytest.fixture
def kept(tmp_path):
    return KeptInputs(tmp_path / "inputs")


def compared(kept, now, level=LEVEL):
    day = DAYS[20]
    records = compare_inputs(kept.baseline(DAYS[:7]), inputs_of(day, now), level, 1)
    return {record["metric"]: record["value"] for record in records}


@pytest.fixture
def baseline(kept):
    for day in DAYS[:7]:
        kept.keep(day, calls_of(day))
    return kept


def test_other_questions_differ_and_the_same_kind_does_not(baseline):
    same = compared(baseline, calls_of(DAYS[20]))
    other = compared(baseline, calls_of(DAYS[20], topic="invoices"))
    assert same["input_drift_p"] > 0.05
    assert other["input_drift_p"] < LEVEL
    assert other["input_trigrams_p"] < LEVEL / 3
    assert other["input_trigrams_distance"] > 2 * same["input_trigrams_distance"]
    assert set(other) == METRICS


def test_the_length_alone_is_seen_as_another_test_sees_it(baseline):
    longer = [
        Call(id=c.id, at=c.at, input=f"{c.input} {c.input}", output="a")
        for c in calls_of(DAYS[20])
    ]
    found = compared(baseline, longer)
    lengths = [len(c.input) for day in DAYS[:7] for c in calls_of(day)]
    assert ks_2samp(lengths, [len(c.input) for c in longer]).pvalue < 1e-6
    assert found["input_length_p"] < LEVEL / 3
    assert found["input_length_psi"] > 1


def test_another_language_is_named_by_its_own_number(baseline):
    found = compared(baseline, calls_of(DAYS[20], topic="german"))
    assert found["input_language_psi"] > 1
    assert found["input_language_p"] < LEVEL / 3


def test_the_number_that_decides_pays_for_each_comparison(baseline):
    found = compared(baseline, calls_of(DAYS[20], topic="invoices"))
    least = min(value for name, value in found.items() if name[-2:] == "_p")
    parts = [found[f"input_{part}_p"] for part in ("trigrams", "length", "language")]
    assert least == min(parts)
    assert found["input_drift_p"] == pytest.approx(min(1, 3 * least))


def test_days_of_one_kind_are_called_different_as_rarely_as_stated(baseline):
    days = [calls_of(DAYS[20], 40, seed=seed) for seed in range(40)]
    p_values = np.array([compared(baseline, day)["input_drift_p"] for day in days])
    # At most .1 of 40, and four standard errors.
    assert (p_values <= 0.1).sum() <= 4 + 4 * np.sqrt(40 * 0.1 * 0.9)
    assert np.unique(p_values).size > 20


def test_the_same_day_gives_the_same_numbers_again(baseline):
    now = calls_of(DAYS[20], topic="invoices")
    assert compared(baseline, now) == compared(baseline, now[::-1])


def test_no_text_is_kept(kept, tmp_path):
    secret = "my card is 4111 1111 1111 1111 and my name is Adelheid"
    at = datetime.datetime.combine(DAYS[0], datetime.time(9), datetime.UTC)
    kept.keep(DAYS[0], [Call(id="1", at=at, input=secret, output="a")])
    with np.load(tmp_path / "inputs" / f"{DAYS[0]}.npz", allow_pickle=False) as file:
        content = {name: file[name] for name in file.files}
    assert set(content) == {"schema", "calls", "trigrams", "lengths", "languages"}
    assert (content["trigrams"] == features([secret])).all()
    assert content["lengths"].tolist() == [len(secret)]
    assert content["languages"].tolist() == ["en"]


def test_a_day_is_bounded_by_a_sample_of_its_hashes(kept, tmp_path):
    calls = calls_of(DAYS[0], 700)
    kept.keep(DAYS[0], calls)
    found = kept.read(DAYS[0])
    assert (len(found), found.calls) == (300, 700)
    assert (tmp_path / "inputs" / f"{DAYS[0]}.npz").stat().st_size < 300_000
    kept.keep(DAYS[0], random.Random(1).sample(calls, 700))
    assert (kept.read(DAYS[0]).trigrams == found.trigrams).all()


def test_a_long_baseline_is_bounded_too(kept):
    for day in DAYS:
        kept.keep(day, calls_of(day, 100))
    base = kept.baseline(DAYS)
    parts = (base.trigrams, base.lengths, base.languages)
    assert [len(part) for part in parts] == [30 * 71] * 3


def test_a_day_whose_log_is_being_removed_stays(kept):
    kept.keep(DAYS[0], calls_of(DAYS[0], 60))
    kept.keep(DAYS[0], calls_of(DAYS[0], 7))
    assert len(kept.read(DAYS[0])) == 60


def test_old_days_are_forgotten_but_for_the_baseline(kept, tmp_path):
    start = datetime.date(2026, 8, 1)
    days = [start + datetime.timedelta(days=at) for at in range(60)]
    for day in days:
        kept.keep(day, calls_of(day, 2))
    kept.forget(days[:7])
    names = sorted(path.stem for path in (tmp_path / "inputs").iterdir())
    assert names == [str(day) for day in days[:7] + days[25:]]


def test_a_baseline_that_is_not_whole_is_none(baseline):
    assert baseline.baseline(DAYS[:8]) is None
    assert baseline.baseline([]) is None


def test_languages_that_some_days_lack_are_not_compared(kept, monkeypatch):
    kept.keep(DAYS[0], calls_of(DAYS[0]))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "py3langid", None)
        kept.keep(DAYS[1], calls_of(DAYS[1]))
    base = kept.baseline(DAYS[:2])
    records = compare_inputs(base, inputs_of(DAYS[2], calls_of(DAYS[2])), LEVEL, 1)
    names = {record["metric"] for record in records}
    assert names == {name for name in METRICS if "language" not in name}


def test_one_input_is_not_compared(baseline):
    assert compared(baseline, calls_of(DAYS[20], 1)) == {"input_drift_p": None}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04torn", b'{"schema": 1}'])
def test_a_file_of_something_else_is_named(kept, tmp_path, content):
    path = tmp_path / "inputs" / f"{DAYS[0]}.npz"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is no file of inputs of schema 1"):
        kept.read(DAYS[0])


def test_a_pickle_is_not_opened(kept, tmp_path):
    path = tmp_path / "inputs" / f"{DAYS[0]}.npz"
    path.parent.mkdir()
    trap = np.array([datetime.date.min], dtype=object)
    with path.open("wb") as file:
        np.savez(file, schema=1, calls=1, trigrams=trap, lengths=trap, languages=trap)
    with pytest.raises(ConfigurationError, match="is no file of inputs"):
        kept.read(DAYS[0])


KILLED = """\
import datetime, json, os, signal, sys
from pathlib import Path
from pytest_llmeval.monitor.calls import Call
from pytest_llmeval.monitor.inputs import KeptInputs

day = datetime.date(2026, 11, 1)
at = datetime.datetime.combine(day, datetime.time(9), datetime.UTC)
calls = [Call(id=str(n), at=at, input="what?", output="a") for n in range(90)]
Path.replace = lambda path, target: os.kill(os.getpid(), signal.SIGKILL)
KeptInputs(Path(sys.argv[1])).keep(day, calls)
"""


def test_a_process_that_is_killed_leaves_the_day_as_it_was(kept, tmp_path):
    kept.keep(DAYS[0], calls_of(DAYS[0]))
    folder = tmp_path / "inputs"
    command = [sys.executable, "-c", KILLED, str(folder)]
    process = subprocess.run(command, check=False)
    assert process.returncode == -signal.SIGKILL
    assert len(list(folder.iterdir())) == 2  # the file, and what was to become it
    assert len(kept.read(DAYS[0])) == 60
    kept.keep(DAYS[0], calls_of(DAYS[0], 70))
    assert len(kept.read(DAYS[0])) == 70
    assert kept.baseline(DAYS[:1]).calls == 70
