import numpy
import pandas
import pytest

from pytest_llmeval.errors import DataError


ROW = [{"question": "q", "answer": "a", "topic": "t"}]


@pytest.fixture
def load_text(tmp_path, load):
    def load_text(name, text, **options):
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(content)
        return load(name, **options)

    return load_text


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
    (
        "d.csv",
        CSV + '2,"of\ntwo lines"\n',
        "d.csv, line 6: id '2' occurs before, at d.csv, line 5",
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
        ("ftp://a/b.csv", "data='ftp://a/b.csv' is nothing that can be read"),
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
        load(ROW, columns=columns)

    assert message in str(caught.value)


def test_a_nan_among_references_is_refused_or_left_out_but_never_the_word_nan(load):
    try:
        (example,) = load([{"input": "a", "answers": ["x", float("nan")]}]).examples
        references = example.references
    except DataError:
        references = ()

    assert "nan" not in references
