"""Data that lies in Spark: the same rows as those of the file that it was made from.

A leg defines the fixture `there`, an engine, and imports all of this.
"""

from dataclasses import replace

import pytest

from pytest_llmeval import DatasetRef
from pytest_llmeval import decide

from . import suites
from .agreement import compared
from .agreement import rows_of


SOURCES = {
    "a frame": lambda there: there.session.table("graded"),
    "a query": lambda there: "SELECT * FROM graded",
    "a query with a condition": lambda there: (
        "with t as (select * from graded) select * from t where question is not null"
    ),
    "a saved table": lambda there: "default.graded_saved",
}


@pytest.fixture(scope="module")
def spark(there, data):
    """The session of the leg, which has the data as a view and as a table."""
    frame = there.session.read.parquet(str(data["parquet"])).drop("__index_level_0__")
    frame.createOrReplaceTempView("graded")
    frame.write.mode("overwrite").saveAsTable("default.graded_saved")
    return there.session


def ref_of(spark, source, **selection):
    """Return data that is read with a session which has views and tables."""
    return DatasetRef(source=source, spark=lambda: spark, **selection)


def first_half(frame):
    return frame.where("id < 'q060'").withColumnRenamed("person", "who")


PREPARED = {
    "by a function": first_half,
    "by a query": (
        "SELECT id, question, answer, topic, person AS who FROM data WHERE id < 'q060'"
    ),
}
HALF = [
    {"who" if name == "person" else name: value for name, value in row.items()}
    for row in suites.GRADED[:60]
]


def evaluated(engine, data, /, **options):
    return engine.evaluate(suites.before, data, [suites.UNIT], **options)


@pytest.mark.parametrize("name", SOURCES)
def test_data_of_spark_has_the_rows_of_the_file(local, there, spark, name):
    found = there.dataset(SOURCES[name](there), spark=lambda: spark)
    here = local.dataset(suites.GRADED)
    assert found.digest == here.digest
    assert list(found.ids) == sorted(here.ids)


@pytest.mark.parametrize("name", PREPARED)
@pytest.mark.parametrize("source", ["default.graded_saved", "parquet", "list"])
def test_prepared_data_has_the_rows_that_are_left(
    local, there, spark, data, source, name
):
    source = data.get(source, source)
    found = there.dataset(source, prepare=PREPARED[name], spark=lambda: spark)
    assert found.digest == local.dataset(HALF).digest


def test_a_saved_table_comes_out_as_the_file(local, there, spark):
    here, found = (
        evaluated(local, suites.GRADED),
        evaluated(there, ref_of(spark, "default.graded_saved")),
    )
    assert rows_of(found) == rows_of(here)
    gate = ("unit", ">=", 0.5)
    assert compared(decide(found, *gate))[0] == compared(decide(here, *gate))[0]


@pytest.mark.parametrize("name", PREPARED)
def test_small_data_is_evaluated_here_as_it_is_there(local, there, spark, name):
    ref = ref_of(spark, "SELECT * FROM graded", prepare=PREPARED[name])
    found = evaluated(there, ref, engine=None)
    assert found.table is None
    assert rows_of(found) == rows_of(evaluated(local, HALF))
    assert found.dataset.digest == local.dataset(HALF).digest


def test_data_above_the_limit_stays_in_spark(there, spark):
    few = replace(there.settings, spark_above=119)
    many = replace(there.settings, spark_above=120)
    ref = ref_of(spark, "SELECT * FROM graded")
    assert evaluated(there, ref, engine=None, settings=few).table is not None
    assert evaluated(there, ref, engine=None, settings=many).table is None
