import csv
import datetime
import hashlib
import io
import json
import random
import tracemalloc

import numpy
import pandas
import pytest

from pytest_llmeval.backends.files import BLOCK
from pytest_llmeval.records import DatasetRef
from pytest_llmeval.records import canonical


ROWS = [
    {"question": "Où ?", "answer": "là", "topic": "x"},
    {"question": "2 lines\nhere", "answer": 'a "quoted", thing', "topic": "y"},
    {"question": "中文 😀", "answer": "b\tc", "topic": "x"},
]


def separated(rows, delimiter=","):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def first(data):
    return next(iter(data.examples))


def write_all_forms(folder):
    (folder / "d.csv").write_text(separated(ROWS), "utf-8")
    (folder / "bom.csv").write_text(separated(ROWS), "utf-8-sig")
    (folder / "d.tsv").write_text(separated(ROWS, "\t"), "utf-8")
    (folder / "d.json").write_text(json.dumps(ROWS, ensure_ascii=False), "utf-8")
    lines = "\n\n".join(json.dumps(dict(reversed(row.items()))) for row in ROWS)
    (folder / "d.jsonl").write_text(lines)
    (folder / "d.NDJSON").write_text(lines)
    pandas.DataFrame(ROWS).to_parquet(folder / "d.parquet")
    return [folder / name.name for name in folder.iterdir()] + [
        pandas.DataFrame(ROWS),
        pandas.DataFrame(ROWS).astype("string"),
        ROWS,
        tuple(ROWS),
        DatasetRef(source=ROWS, name="mine"),
    ]


def test_the_same_text_has_the_same_ids_and_digest_in_every_form(tmp_path, load):
    datasets = [load(source) for source in write_all_forms(tmp_path)]
    hashes = [hashlib.sha256(canonical(row)).hexdigest() for row in ROWS]
    total = sum(int(value, 16) for value in hashes) % 2**256

    assert len(datasets) == 12
    assert {data.digest for data in datasets} == {f"sha256:{total:064x}"}
    assert {tuple(e.id for e in data.examples) for data in datasets} == {
        tuple(value[:16] for value in hashes)
    }
    for data in datasets:
        assert [e.input for e in data.examples] == [row["question"] for row in ROWS]
        assert [e.references for e in data.examples] == [(r["answer"],) for r in ROWS]
        assert [dict(e.metadata) for e in data.examples] == ROWS


def test_a_moment_has_one_form_whatever_its_time_zone():
    east = datetime.timezone(datetime.timedelta(hours=2))
    there = datetime.datetime(2026, 1, 2, 5, 0, tzinfo=east)
    here = datetime.datetime(2026, 1, 2, 3, 0, tzinfo=datetime.UTC)
    assert canonical(there) == canonical(here) == b'"2026-01-02T03:00:00+00:00"'
    assert canonical(datetime.time(3, 0, tzinfo=east)) == b'"03:00:00+02:00"'


def test_canonical_json_is_the_text_that_is_hashed():
    row = {"b": 1.0, "a": "é", "c": None, "d": float("nan"), "e": [2.5, True, None]}

    assert canonical(row) == b'{"a":"\\u00e9","b":1,"e":[2.5,true,null]}'


def test_missing_values_of_every_kind_have_one_digest(load):
    kinds = [None, float("nan"), numpy.nan, pandas.NA, pandas.NaT]

    assert len({load([{"input": "a", "x": kind}]).digest for kind in kinds}) == 1


@pytest.mark.parametrize("kind", [None, float("nan"), pandas.NA])
def test_missing_references_and_context_are_none_of_both(load, kind):
    (example,) = load([{"input": "a", "answer": kind, "context": kind}]).examples

    assert example.references == ()
    assert example.context is None


def test_a_nullable_frame_is_read_like_any_other(load):
    frame = pandas.DataFrame({"input": ["a", "b"], "target": [1, None]}, dtype="object")

    examples = load(frame.astype({"target": "Int64"})).examples

    assert [example.references for example in examples] == [("1",), ()]


def test_the_digest_does_not_depend_on_the_order_of_rows(load):
    shuffled = random.Random(1).sample(ROWS, 3)

    assert load(shuffled).digest == load(ROWS).digest


def test_the_digest_covers_every_row_and_column_of_20_000(load):
    def rows(at=None, column="extra"):
        table = [{"input": f"q{i}", "answer": "a", "extra": i} for i in range(20_000)]
        if at is not None:
            table[at][column] = "changed"
        return table

    changes = [(), (15_000,), (19_999, "new")]
    digests = {load(rows(*change)).digest for change in changes}

    assert len(digests) == 3
    assert load(rows()[:-1]).digest not in digests


def test_rows_without_ids_are_named_by_content_and_copies_numbered(load):
    row, other = {"input": "a"}, {"input": "b"}
    name = hashlib.sha256(b'{"input":"a"}').hexdigest()[:16]

    ids = [example.id for example in load([row, other, row, row]).examples]

    assert ids[0] == name
    assert ids[2:] == [f"{name}#2", f"{name}#3"]
    assert load([row, row]).digest != load([row]).digest


def test_given_ids_are_kept_as_text(load):
    ids = [example.id for example in load([{"id": 7, "input": "a"}]).examples]

    assert ids == ["7"]


def test_references_come_from_a_list_or_an_array_or_several_columns(load):
    rows = [{"input": "a", "answers": ["x", 2]}]
    arrays = [{"input": "a", "answers": numpy.array(["x", "2"], dtype=object)}]
    columns = [{"q": "a", "a1": "x", "a2": None, "a3": "2", "a4": "no"}]
    names = {"input": "q", "references": ["a1", "a2", "a3"]}

    assert first(load(rows)).references == ("x", "2")
    assert first(load(arrays)).references == ("x", "2")
    assert first(load(columns, columns=names)).references == ("x", "2")


def test_a_dataset_ref_brings_its_columns_and_name(load):
    ref = DatasetRef(source=[{"q": "a", "c": "b"}], columns={"input": "q"}, name="n")

    data = load(ref)

    assert (data.name, first(data).input) == ("n", "a")


def test_the_first_usual_column_is_used(load):
    row = {"question": "q", "input": "i", "answer": "a", "reference": "r"}

    (example,) = load([row]).examples

    assert (example.input, example.references) == ("i", ("r",))


def test_a_path_starts_at_the_folder_and_then_at_the_rootdir(tmp_path, load):
    suite = tmp_path / "suite"
    suite.mkdir()
    (tmp_path / "d.csv").write_text("input\nroot\n")
    assert first(load("d.csv", folder=suite)).input == "root"
    (suite / "d.csv").write_text("input\nsuite\n")
    assert first(load("d.csv", folder=suite)).input == "suite"
    assert load("d.csv", folder=suite).name == "d.csv"


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path, load):
    path, text = tmp_path / "large.jsonl", "x" * 1_000
    with path.open("w") as file:
        file.writelines(
            f'{{"id": {i}, "input": "q{i} {text}", "answer": "a"}}\n'
            for i in range(50_000)
        )

    tracemalloc.start()
    try:
        data = load(path)
        rows = sum(1 for _ in data.examples)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert rows == len(data.ids) == 50_000
    assert path.stat().st_size > 50e6
    assert peak_bytes < 15e6, "some 200 bytes for each row: id, check, and a set of ids"


def test_parquet_of_a_filtered_frame_has_the_frames_digest(tmp_path, load):
    frame = pandas.DataFrame({"input": list("abcdef"), "n": range(6)})
    filtered = frame[frame["n"].isin([1, 2, 5])]
    filtered.to_parquet(tmp_path / "d.parquet")

    data = load(tmp_path / "d.parquet")

    assert data.digest == load(filtered).digest
    assert load(filtered).digest == load(filtered.to_dict("records")).digest
    assert dict(first(data).metadata) == {"input": "b", "n": 1}


@pytest.mark.parametrize("rows", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 1])
def test_a_frame_is_read_in_blocks_and_gives_every_row_once(tmp_path, load, rows):
    frame = pandas.DataFrame({"id": range(rows), "input": "q", "n": [1.5] * rows})
    frame.loc[rows - 1, "n"] = None
    frame.to_parquet(tmp_path / "d.parquet")
    records = frame.to_dict("records")

    for data in (load(frame), load(tmp_path / "d.parquet"), load(records)):
        assert [e.id for e in data.examples] == [str(i) for i in range(rows)]
        assert data.digest == load(records).digest
        assert (data.filled["input"], data.filled["n"]) == (rows, rows - 1)
