import csv
import hashlib
import io
import json
import random

import numpy
import pandas
import pytest

from pytest_llmeval.datasets import load_dataset
from pytest_llmeval.errors import DataError
from pytest_llmeval.records import DatasetRef
from pytest_llmeval.records import canonical


ROWS = [
    {"question": "Où ?", "answer": "là", "topic": "x"},
    {"question": "2 lines\nhere", "answer": 'a "quoted", thing', "topic": "y"},
    {"question": "中文 😀", "answer": "b\tc", "topic": "x"},
]


@pytest.fixture
def load(hook, settings):
    def load(data, **options):
        return load_dataset(data, hook, settings, **options)

    return load


@pytest.fixture
def load_text(tmp_path, load):
    def load_text(name, text, **options):
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(content)
        return load(name, **options)

    return load_text


def separated(rows, delimiter=","):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


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

    same = load(rows()).digest
    changed = [
        load(rows(*change)).digest
        for change in [(15_000,), (15_000, "answer"), (19_999, "new")]
    ]
    shorter = load(rows()[:-1]).digest

    assert len({same, *changed, shorter}) == 5


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

    assert load(rows).examples[0].references == ("x", "2")
    assert load(arrays).examples[0].references == ("x", "2")
    assert load(columns, columns=names).examples[0].references == ("x", "2")


def test_a_dataset_ref_brings_its_columns_and_name(load):
    ref = DatasetRef(source=[{"q": "a", "c": "b"}], columns={"input": "q"}, name="n")

    data = load(ref)

    assert (data.name, data.examples[0].input) == ("n", "a")


def test_the_first_usual_column_is_used(load):
    row = {"question": "q", "input": "i", "answer": "a", "reference": "r"}

    (example,) = load([row]).examples

    assert (example.input, example.references) == ("i", ("r",))


def test_a_path_starts_at_the_folder_and_then_at_the_rootdir(tmp_path, load):
    suite = tmp_path / "suite"
    suite.mkdir()
    (tmp_path / "d.csv").write_text("input\nroot\n")
    assert load("d.csv", folder=suite).examples[0].input == "root"
    (suite / "d.csv").write_text("input\nsuite\n")
    assert load("d.csv", folder=suite).examples[0].input == "suite"
    assert load("d.csv", folder=suite).name == "d.csv"


CSV = 'id,input\n1,"two\nlines"\n\n2,b\n'
BAD_FILES = [
    ("d.csv", "", "d.csv has no rows; an evaluation needs one", "ZERO_ROWS"),
    ("d.csv", "input\n", "d.csv has no rows", "ZERO_ROWS"),
    ("d.json", "[]", "d.json has no rows", "ZERO_ROWS"),
    ("d.jsonl", "\n \n", "d.jsonl has no rows", "ZERO_ROWS"),
    (
        "d.csv",
        CSV + "2,c\n",
        "d.csv, line 6: id '2' occurs before, at d.csv, line 5; ids must be unique",
        "DUPLICATE_ROWS",
    ),
    ("d.csv", CSV + ",c\n", "d.csv, line 6: the id in column 'id' is empty", None),
    ("d.csv", CSV + "3,\n", "d.csv, line 6: column 'input' has no text", None),
    (
        "d.csv",
        CSV + "3,a,b\n",
        "d.csv, line 6: 3 cells, but the header has 2 columns; quote cells that hold "
        "the separator",
        None,
    ),
    ("d.tsv", "a\tinput\nx\n", "d.tsv, line 2: 1 cells, but the header has 2", None),
    ("d.csv", "a,a,input\n", "d.csv, line 1: column 'a' occurs twice", None),
    ("d.csv", CSV + '3,"open\n', "d.csv, line 6: unexpected end of data", None),
    (
        "d.csv",
        CSV.encode() + b"3,caf\xe9\n",
        "d.csv, line 6: not UTF-8 (byte 5: ",
        None,
    ),
    ("d.csv", b"\xff\xfei\0", "d.csv, line 1: not UTF-8 (byte 0: ", None),
    (
        "d.csv",
        "text,answer\na,b\n",
        "d.csv, line 2: no input column; expected one of input, question, prompt, "
        'query, instruction, or name it with columns={"input": …}; the columns are: '
        "text, answer",
        None,
    ),
    (
        "d.jsonl",
        '{"input": "a"}\n\n{"input": }\n',
        "d.jsonl, line 3, column 11: not valid JSON: Expecting value",
        None,
    ),
    ("d.jsonl", '["a"]', "d.jsonl, line 1: expected a mapping of columns, got", None),
    ("d.json", "", "d.json, column 1: not valid JSON", None),
    (
        "d.json",
        '[\n{"input": "a"},\n{"input" "b"}]',
        "d.json, line 3, column 10: not valid JSON: Expecting ':' delimiter",
        None,
    ),
    (
        "d.json",
        '{"input": "a"}',
        "d.json: expected a list of objects, got dict; one object per line is a .jsonl",
        None,
    ),
    ("d.json", '[{"input": "a"}, 3]', "d.json, row 1: expected a mapping of", None),
    (
        "d.jsonl",
        '{"input": "a"}\n{"input": {"b": 1}}\n',
        "d.jsonl, line 2: column 'input' holds dict, expected text",
        None,
    ),
    (
        "d.jsonl",
        '{"input": "a", "answers": ["b", null]}\n',
        "d.jsonl, line 1: column 'answers' holds NoneType, expected text",
        None,
    ),
    ("d.parquet", "PAR1 not", "d.parquet: not a readable parquet file: ", None),
    (
        "d.xlsx",
        "",
        "cannot read files ending in '.xlsx'; the known endings are: .csv, .tsv, "
        ".json, .jsonl, .ndjson, .parquet",
        None,
    ),
]


@pytest.mark.parametrize(("name", "text", "message", "reason"), BAD_FILES)
def test_a_bad_file_is_refused_with_the_place_and_what_is_allowed(
    load_text, name, text, message, reason
):
    with pytest.raises(DataError) as caught:
        load_text(name, text)

    assert message in str(caught.value)
    assert caught.value.reason == (reason or "BAD_DATA")


def test_line_numbers_are_right_after_quoted_line_breaks_and_blank_lines(load_text):
    data = load_text("d.csv", CSV)

    assert [(e.id, e.input) for e in data.examples] == [("1", "two\nlines"), ("2", "b")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("none.csv", "no data file 'none.csv'; looked for: /"),
        (3, "data=3 is nothing that can be read; give a path to a csv, tsv, json,"),
        ("s3://a/b.csv", "data='s3://a/b.csv' is nothing that can be read"),
        ([{"input": "a"}, "b"], "data, row 1: expected a mapping of columns, got str"),
        ([{"input": b"a"}], "data, row 0: column 'input' holds bytes, expected text"),
        ([{"input": numpy.array(["a", "b"])}], "column 'input' holds"),
        (pandas.DataFrame({"input": []}), "data has no rows"),
    ],
)
def test_bad_data_is_refused(load, data, message):
    with pytest.raises(DataError) as caught:
        load(data)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"inputs": "question"},
            "columns= of data has no field 'inputs'; the fields are: id, input, "
            "references, context; did you mean 'input'?",
        ),
        (
            {"input": "querstion"},
            "data, row 0: no column 'querstion', which columns= names for 'input'; the "
            "columns are: question, answer, topic; did you mean 'question'?",
        ),
        ({"references": ["answer", "b"]}, "no column 'b', which columns= names for"),
    ],
)
def test_columns_that_the_data_lacks_are_refused(load, columns, message):
    with pytest.raises(DataError) as caught:
        load(ROWS, columns=columns)

    assert message in str(caught.value)


def test_a_nan_among_references_is_refused_or_left_out_but_never_the_word_nan(load):
    try:
        references = (
            load([{"input": "a", "answers": ["x", float("nan")]}])
            .examples[0]
            .references
        )
    except DataError:
        references = ()

    assert "nan" not in references
