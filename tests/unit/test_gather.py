"""Rows from the files of several workers, with the attempts made for one another."""

import json

import pytest

from pytest_llmeval.records import Example
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply
from pytest_llmeval.records import Row
from pytest_llmeval.results import Columns
from pytest_llmeval.rows import RowLog
from pytest_llmeval.session.gather import gather_rows


IDS = ("a", "b", "of secret")


def redact(text):
    return text.replace("secret", "[redacted]")


def open_log(folder, name=None):
    return RowLog(Columns(list(IDS), ()), {}, redact, folder, name)


def row(at, attempts, score=1.0):
    prediction = Prediction(reply=Reply(text="x"), attempts=attempts)
    example = Example(id=IDS[at], input="x")
    return Row(example=example, prediction=prediction, scores={"s": score}, errors=())


@pytest.fixture
def gather(tmp_path):
    """A function that takes rows by worker and place, and those asked for others."""

    def gather(rows, asked):
        for worker, told in rows.items():
            log = open_log(tmp_path, f"{worker}.jsonl")
            for at, one in told.items():
                log.put(at, one)
        for worker, attempts in asked.items():
            (tmp_path / f"{worker}.asked").write_text(json.dumps(attempts))
        log = open_log(None)
        files = [tmp_path / f"{worker}.jsonl" for worker in rows]
        gather_rows(log, [redact(one) for one in IDS], files)
        return log

    return gather


def test_attempts_for_another_worker_count_once(gather):
    rows = {"gw0": {0: row(0, 1)}, "gw1": {1: row(1, 0), 2: row(2, 0)}}
    log = gather(rows, {"gw0": [[2, 3], [1, 1]]})
    assert list(log.columns.numbers["attempts"]) == [1, 1, 3]
    assert [one.prediction.attempts for one in log] == [1, 1, 3]
    assert [one.example.id for one in log] == ["a", "b", "of [redacted]"]


def test_row_that_did_not_come_is_not_made_up(gather):
    log = gather({"gw0": {0: row(0, 0)}}, {"gw0": [[1, 1]]})
    assert [log.has(at) for at in range(3)] == [True, False, False]


def test_workers_that_disagree_leave_an_error(gather):
    log = gather({"gw0": {0: row(0, 1)}, "gw1": {0: row(0, 0, score=0.0)}}, {})
    (error,) = log.row(0).errors
    assert error.message == "its test came out otherwise in gw1 than in gw0"
    assert log.row(0).scores == {}
