"""Sail, the engine without Java; it alone has Delta, and is quick with many rows."""

import pyarrow
import pytest
from pyarrow import parquet

from pytest_llmeval import Metric
from pytest_llmeval import decide

from . import suites
from .agreement import *  # noqa: F403
from .agreement import check_written
from .agreement import near
from .engines import spark_engine
from .native import *  # noqa: F403
from .native import evaluated
from .native import rows_of


MANY = 100_500
REAL = Metric(
    name="real",
    score=lambda prediction, example: (float(prediction.text) * 0.618033988749895) % 1,
    range=(0, 1),
    inline=True,
)


@pytest.fixture(scope="module")
def there(data, tmp_path_factory):
    with spark_engine(data, tmp_path_factory.mktemp("sail"), "sail") as engine:
        yield engine


@pytest.fixture(scope="module")
def many(local, there, tmp_path_factory):
    """More different scores than are counted one by one, on both engines."""
    path = tmp_path_factory.mktemp("many") / "many.parquet"
    texts = [str(number) for number in range(MANY)]
    parquet.write_table(pyarrow.table({"id": texts, "input": texts}), path)
    return [engine.evaluate(suites.echo, path, [REAL]) for engine in (local, there)]


def test_many_different_scores_have_the_same_bounds(many):
    here, found = many
    assert found.tally.predictions_digest == here.tally.predictions_digest
    assert found.dataset.digest == here.dataset.digest
    for name in ("value", "lower", "upper"):
        wanted = getattr(here["real"], name)
        assert getattr(found["real"], name) == near(wanted)


def test_a_gate_on_many_different_scores_comes_out_the_same(many):
    here, found = (decide(one, "real", ">=", 0.5) for one in many)
    assert found.status == here.status
    assert [one.id for one in found.worst] == [one.id for one in here.worst]
    for name in ("value", "lower", "upper"):
        assert getattr(found, name) == near(getattr(here, name))


# Delta.


@pytest.fixture(scope="module")
def delta(there, spark, tmp_path_factory):
    """Return a Delta folder with half the rows in its first version."""
    path = tmp_path_factory.mktemp("delta") / "graded"
    for mode, condition in (("overwrite", "<"), ("append", ">=")):
        part = spark.table("graded").where(f"id {condition} 'q060'")
        part.write.format("delta").mode(mode).save(str(path))
    return path


@pytest.mark.parametrize(("suffix", "rows"), [("", 120), ("@v0", 60), ("@v1", 120)])
def test_a_version_of_delta_has_the_rows_of_then(local, there, delta, suffix, rows):
    here, found = (
        evaluated(local, suites.GRADED[:rows]),
        evaluated(there, f"delta:{delta}{suffix}"),
    )
    assert rows_of(found) == rows_of(here)
    assert found.dataset.digest == here.dataset.digest
    assert found.dataset.origin["version"] == (0 if rows == 60 else 1)


def test_rows_that_were_written_to_delta_are_read_back(there, tmp_path):
    for _ in range(2):
        there["hostile"].write(f"delta:{tmp_path}/rows", mode="overwrite")
    frame = there.session.read.format("delta").load(f"{tmp_path}/rows")
    check_written(there["hostile"], frame)


def test_rows_that_were_written_to_a_table_are_read_back(there):
    results = there["repeats"]
    session = results.to_spark().sparkSession
    results.write("default.rows_written", mode="overwrite")
    check_written(results, session.table("default.rows_written"))
