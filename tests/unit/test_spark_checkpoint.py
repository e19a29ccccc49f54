"""What an evaluation in Spark has written is used again, or refused."""

import shutil

import pytest
from pyarrow import parquet

from pytest_llmeval import CallableModel
from pytest_llmeval import evaluate
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import DataError


ROWS = [{"id": f"r{i}", "input": f"word {i}", "answer": f"WORD {i}"} for i in range(80)]


@pytest.fixture
def calls(tmp_path):
    """A file with a line for each call of the model."""
    path = tmp_path / "calls"
    path.touch()
    return path


@pytest.fixture
def run(tmp_path, calls):
    """Evaluate by tasks of ten rows, two at once; rows that `is_bad` says fail."""
    file = str(calls)

    def run(is_bad=None, data=ROWS, **given):
        bad = is_bad or (lambda prompt: False)

        def ask(prompt):
            with open(file, "a", encoding="ascii") as log:  # noqa: PTH123  # is sent
                log.write(f"{prompt}\n")
            if bad(prompt):
                raise TimeoutError("asleep")
            return prompt.upper()

        settings = Settings(
            rootdir=tmp_path,
            spark="sail",
            spark_rows_per_task=10,
            spark_tasks=2,
            concurrency=4,
            **given,
        )
        model = CallableModel(ask, version="1")
        return evaluate(model, data, ["exact_match"], engine="spark", settings=settings)

    return run


def waves(tmp_path, number=0):
    found = tmp_path.glob(f".llmeval/spark/*/answers/round={number}/wave=*")
    return sorted(found, key=lambda one: int(one.name.partition("=")[2]))


def rows_of(results):
    frame = results.to_pandas()
    return list(zip(frame["id"], frame["prediction"], strict=True))


def test_a_wave_has_as_many_tasks_as_run_at_once_with_so_many_rows(run, tmp_path):
    run()
    (rows,) = tmp_path.glob(".llmeval/spark/*/rows")
    assert len(list(rows.glob("wave=*"))) == len(waves(tmp_path)) == 4


def test_a_wave_that_is_gone_is_asked_again_alone(run, tmp_path, calls):
    whole = rows_of(run())
    shutil.rmtree(waves(tmp_path)[1])
    before = len(calls.read_text().splitlines())
    assert rows_of(run()) == whole
    again = len(calls.read_text().splitlines()) - before
    assert 10 <= again <= 30


def test_a_wave_that_is_half_written_is_asked_again_alone(run, tmp_path, calls):
    whole = rows_of(run())
    (file,) = list(waves(tmp_path)[2].glob("*.parquet"))[:1]
    file.write_bytes(file.read_bytes()[:-20])
    before = len(calls.read_text().splitlines())
    assert rows_of(run()) == whole
    again = len(calls.read_text().splitlines()) - before
    assert 10 <= again <= 30


def test_a_half_written_wave_of_a_further_round_stops_nobody(run, tmp_path, calls):
    def is_bad(prompt):
        return prompt.endswith("7")

    assert run(is_bad).tally.failed == 8
    assert run(is_bad).tally.failed == 8
    file = next(waves(tmp_path, 1)[0].glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-20])
    calls.write_text("")
    assert run().tally.failed < 8  # the wave that was cut off, and no other
    results = run()
    assert results.tally.failed == 0
    assert set(calls.read_text().splitlines()) <= {
        f"word {n}7" for n in ["", *"1234567"]
    }
    assert len(rows_of(results)) == 80


def test_rows_that_are_answered_twice_in_the_place_of_others_are_refused(run, tmp_path):
    run()
    tables = {
        wave: parquet.read_table(wave, partitioning=None) for wave in waves(tmp_path)
    }
    few, *_, many = sorted(tables, key=lambda wave: len(tables[wave]))
    shutil.rmtree(few)
    few.mkdir()
    parquet.write_table(tables[many][: len(tables[few])], few / "part.parquet")
    with pytest.raises(DataError, match="have no answer, and others have two"):
        run()


def test_data_that_is_another_when_it_is_read_again_is_refused(run, calls):
    query = "SELECT uuid() AS id, 'word' AS input, 'WORD' AS answer FROM range(30)"
    with pytest.raises(DataError, match="changed while it was read") as caught:
        run(data=query)
    assert caught.value.reason == "DATASET_CHANGED"
    assert calls.read_text() == ""


def test_an_id_that_occurs_twice_ends_it_before_any_request(run, calls):
    with pytest.raises(DataError, match="occur more than once: r3") as caught:
        run(data=[*ROWS, {"id": "r3", "input": "again", "answer": "x"}])
    assert caught.value.reason == "DUPLICATE_ROWS"
    assert calls.read_text() == ""


def test_a_row_without_an_input_ends_it_before_any_request(run, calls):
    with pytest.raises(DataError, match=r"row 'x': column 'input' has no text"):
        run(data=[*ROWS, {"id": "x", "input": None, "answer": "x"}])
    assert calls.read_text() == ""
