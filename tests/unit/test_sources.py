"""Which texts name something for Spark, and which parts of the data are kept."""

import pytest

from pytest_llmeval.datasets import load_dataset
from pytest_llmeval.errors import DataError
from pytest_llmeval.examples import sample_place
from pytest_llmeval.records import DatasetRef
from pytest_llmeval.sources import spark_kind


ROWS = [
    {"id": f"r{i}", "input": f"word {i}", "topic": "ab"[i % 2], "price": i / 2}
    for i in range(200)
]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("main.evals.qa", "table"),
        ("evals.qa", "table"),
        ("main.evals.qa@v12", "table"),
        ("main.`my-schema`.qa", "table"),
        ("delta:/data/qa", "delta"),
        ("delta:s3://bucket/qa@v3", "delta"),
        ("s3://bucket/qa.parquet", "path"),
        ("abfss://c@a.dfs.core.windows.net/qa", "path"),
        ("dbfs:/qa.csv", "path"),
        ("/Volumes/main/evals/files/qa.jsonl", "path"),
        ("SELECT * FROM qa", "sql"),
        ("\n  with a as (select 1) select * from a", "sql"),
        ("from qa", "sql"),
        ("data/qa.jsonl", None),
        ("qa.jsonl", None),
        ("evals.qa.csv", None),
        ("qa.PARQUET", None),
        ("qa", None),
        ("a.b.c.d", None),
        ("selected.txt/x", None),
        ("with", None),
        ("http://host/qa", None),
        ("1.2", None),
        ("", None),
    ],
)
def test_kind_of_a_text(text, kind):
    assert spark_kind(text) == kind


def test_a_file_that_is_there_is_no_table(tmp_path, load):
    file = tmp_path / "evals.qa"
    file.write_text("{}")
    with pytest.raises(DataError, match=r"cannot read files ending in '\.qa'"):
        load("evals.qa")


def ids(load, **selection):
    return load(DatasetRef(source=ROWS, **selection)).ids


def test_a_sample_is_the_same_in_any_order(load):
    few = ids(load, sample=50)
    assert len(few) == 50
    reordered = load(DatasetRef(source=ROWS[::-1], sample=50)).ids
    assert set(reordered) == set(few)
    assert reordered == few[::-1]


def test_a_sample_takes_the_ids_whose_places_come_first(load):
    first = sorted((row["id"] for row in ROWS), key=lambda one: sample_place(one, 3))
    assert set(ids(load, sample=50, seed=3)) == set(first[:50])
    assert set(ids(load, sample=50)) != set(first[:50])


def test_a_share_is_about_that_part_and_grows_by_adding_rows(load):
    some, more = set(ids(load, sample=0.3)), set(ids(load, sample=0.5))
    assert 40 <= len(some) <= 80
    assert some < more
    assert len(ids(load, sample=1.0)) == 200


def test_a_sample_larger_than_the_data_is_all_of_it(load):
    assert len(ids(load, sample=1000)) == 200


def test_copies_of_a_row_are_counted_one_by_one(load):
    copies = [{"input": "same"}] * 5 + [{"input": f"other {i}"} for i in range(5)]
    for size in range(1, 11):
        assert len(load(DatasetRef(source=copies, sample=size)).ids) == size


def test_where_keeps_rows_by_their_canonical_values(load):
    assert ids(load, where={"topic": "a"}) == [f"r{i}" for i in range(0, 200, 2)]
    assert ids(load, where={"topic": "a", "price": 3}) == ["r6"]


def test_a_selection_has_the_digest_of_a_file_with_these_rows_alone(load):
    part = load(DatasetRef(source=ROWS, where={"topic": "b"}, sample=20))
    alone = load([row for row in ROWS if row["id"] in set(part.ids)])
    assert (part.digest, part.ids) == (alone.digest, alone.ids)


def test_a_selection_of_nothing_says_by_what(load):
    with pytest.raises(DataError, match=r"no rows where \{'topic': 'c'\}"):
        ids(load, where={"topic": "c"})


@pytest.mark.parametrize("sample", [0, -1, 0.0, 1.5, True, "10", float("nan")])
def test_what_is_no_sample_is_refused(load, sample):
    with pytest.raises(DataError, match="neither a number of rows"):
        ids(load, sample=sample)


def test_a_limit_counts_selected_rows(hook, settings):
    ref = DatasetRef(source=ROWS, where={"topic": "b"})
    assert load_dataset(ref, hook, settings, limit=3).ids == ["r1", "r3", "r5"]
