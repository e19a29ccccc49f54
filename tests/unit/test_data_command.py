"""The command `llmeval data check`: exit statuses, texts, files."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmeval.cli import main
from pytest_llmeval.data_check.describe import describe

from .checked_data import LONG
from .checked_data import check
from .checked_data import rows_of
from .checked_data import same
from .hostile import hostile


# The command.


@pytest.fixture
def llmeval(tmp_path, monkeypatch, capsys):
    """Run the command on tables of rows, which become files; return status and text."""
    monkeypatch.chdir(tmp_path)

    def llmeval(rows, *options, train=None):
        arguments = ["data", "check", "data.jsonl", *options]
        for name, table in (("data", rows), ("train", train)):
            if table is not None:
                lines = "".join(json.dumps(row) + "\n" for row in table)
                (tmp_path / f"{name}.jsonl").write_text(lines)
        if train is not None:
            arguments += ["--train", "train.jsonl"]
        status = main(arguments)
        said = capsys.readouterr()
        return status, said.out + said.err

    return llmeval


CLEAN = rows_of("How old is it?", "Who was here today?")
PROBLEMS = {
    "duplicates": same("a b", "A b"),
    "contradictions": same("a", "a", answers=["x", "y"]),
    "near": rows_of(LONG, f"{LONG} 13"),
    "references": same("a", "b", answers=["x", ""]),
    "inputs": same("a", " "),
}


def test_clean_data_has_the_exit_status_0(llmeval):
    train = rows_of("another question", "and one more")
    status, text = llmeval(CLEAN, train=train)

    assert status == 0
    assert text.endswith(
        "ok       leaks           no row shares 8 words in a row with train.jsonl\n"
        "\n0 problems, 0 notes\n"
    )


@pytest.mark.parametrize("subject", PROBLEMS)
def test_each_problem_has_the_exit_status_1_and_a_next_step(llmeval, subject):
    status, text = llmeval(PROBLEMS[subject])

    assert status == 1
    assert f"\nproblem  {subject:<14}  " in text
    assert text.count("problem  ") == text.count(" next: ") == 1
    assert text.endswith(
        "\n1 problem, 0 notes\nfor the ids of all these rows: --json FILE\n"
    )


def test_a_leak_has_the_exit_status_1(llmeval):
    status, text = llmeval(CLEAN, train=CLEAN[1:])

    assert status == 1
    assert "1 row of 2 (50 %) shares 8 words in a row, or a shorter input" in text
    assert "r1 ~ r1: who was here today answer 1" in text


def test_a_note_has_the_exit_status_0(llmeval):
    status, text = llmeval([{"id": "a", "input": "q"}])

    assert status == 0
    assert "note     references      no row has a reference\n" in text
    assert "\n0 problems, 1 note\n" in text


def test_thresholds_are_those_of_the_command(llmeval):
    rows = rows_of(LONG, f"{LONG} 13")  # 8 and 9 shingles: 0.889
    train = rows_of("one two three four")

    assert llmeval(rows, "--near", "0.88")[0] == 1
    assert llmeval(rows, "--near", "0.89")[0] == 0
    assert llmeval(rows, "--near", ".89", "--ngram", "4", train=train)[0] == 1
    assert llmeval(rows, "--near", ".89", "--ngram", "5", train=train)[0] == 0


def test_columns_are_named_for_both_or_for_each(llmeval):
    rows = [{"q": "a b c", "a1": "x", "a2": "y"}]
    own = ["--columns", "input=q", "references=a1", "references=a2"]

    status, text = llmeval(rows, *own, train=[{**rows[0], "more": 1}])
    assert (status, "1 row of 1" in text) == (1, True)
    assert "a1  1 filled  references\n" in text
    assert "a2  1 filled  references\n" in text

    other = ["--train-columns", "input=other"]
    status, text = llmeval(rows, *own, *other, train=[{"other": "A b c"}])
    assert (status, "1 row of 1" in text) == (1, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--near", "0"], "'0' is not above 0 and at most 1"),
        (["--near", "nan"], "'nan' is not above 0 and at most 1"),
        (["--near", "x"], "'x' is not above 0 and at most 1"),
        (["--ngram", "0"], "'0' is not a number of words"),
        (["--ngram", "-1"], "'-1' is not a number of words"),
        (["--columns", "input"], "'input' is not FIELD=COLUMN: input=q"),
    ],
)
def test_what_cannot_be_is_refused(llmeval, capsys, options, message):
    with pytest.raises(SystemExit) as caught:
        llmeval(CLEAN, *options)

    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_huge_run_of_words_takes_no_time(llmeval):
    assert llmeval(CLEAN, "--ngram", "999999999", train=CLEAN)[0] == 1


def test_data_that_is_not_there_is_named(llmeval):
    status, text = llmeval(CLEAN, "--train", "nosuch.csv")

    assert status == 1
    assert text.startswith("llmeval: no data file 'nosuch.csv'; looked for: ")


def test_the_json_file_has_every_row_and_is_strict(llmeval, tmp_path):
    rows = same(*[f"q{at // 2}" for at in range(40)])
    status, text = llmeval(rows, "--json", "out.json")

    def refuse(name):
        raise AssertionError(name)

    document = json.loads((tmp_path / "out.json").read_bytes(), parse_constant=refuse)
    assert (status, text.splitlines()[-1]) == (1, "wrote out.json")
    assert document["status"] == "problem"
    assert document["data"]["rows"] == 40
    assert document["data"]["fields"]["references"] == ["reference"]
    assert document["languages"]["inputs"] == 40
    (finding,) = (one for one in document["findings"] if one["status"] == "problem")
    assert finding["affected"] == 20
    assert finding["items"] == [[f"r{at}", f"r{at + 1}"] for at in range(0, 40, 2)]


def test_a_json_file_that_cannot_be_written_is_named(llmeval):
    status, text = llmeval(CLEAN, "--json", "no/such/folder.json")

    assert status == 1
    assert text.startswith("llmeval: cannot write no/such/folder.json: No such file")


@given(st.lists(hostile, min_size=1, max_size=4), hostile)
def test_hostile_data_is_never_printed_raw(texts, column):
    inputs = [*texts, *texts, *(f"{LONG} {text}" for text in texts)]
    rows = [
        {"id": f"{at} {text}", "input": text, "reference": text, f"c{column}": text}
        for at, text in enumerate(inputs)
    ]
    report = check(rows, rows)

    for line in describe(report):
        assert all(char.isprintable() or char == "\t" for char in line), line
        for command in ("##[", "##vso[", "##teamcity["):
            assert command not in line
        assert not line.lstrip().startswith("::")


def test_a_secret_of_this_environment_is_neither_printed_nor_written(
    llmeval, tmp_path, monkeypatch
):
    monkeypatch.setenv("A_TOKEN", "s3cr3t-value")
    rows = same("a", "a", f"{LONG} s3cr3t-value")
    for row in rows:
        row["id"] += " s3cr3t-value"

    _, text = llmeval(rows, "--json", "out.json", train=rows)

    assert "r0 [redacted], r1 [redacted]" in text
    assert "s3cr3t" not in text + (tmp_path / "out.json").read_text()


DOCS = Path(__file__).parents[2] / "docs"
SAMPLE = re.compile(r"\$ llmeval (data check [^\n]*)\n(.*?)```", re.DOTALL)


def test_the_sample_in_the_documentation_is_real(capsys, monkeypatch):
    page = (DOCS / "models-and-data.md").read_text(encoding="utf-8")
    command, shown = SAMPLE.search(page).groups()
    monkeypatch.chdir(DOCS / "examples" / "data")

    status = main(command.split())

    assert (status, capsys.readouterr().out) == (1, shown)


SEEDED = """\
import sys
from pytest_llmeval.data_check.words import key_of, sequence_hashes
print(key_of("a B"), sequence_hashes(["x", "y", "z"], 2))
"""


def test_hashes_are_the_same_in_every_process():
    said = {
        subprocess.run(
            (sys.executable, "-c", SEEDED),
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_a_query_is_checked_by_a_sample_of_its_rows(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    query = "SELECT 'q' || id AS id, 'same' AS input, id AS answer FROM range(500)"
    assert main(["data", "check", query, "--spark", "sail", "--sample", "40"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("a sample of 40 rows; for more: --sample N\n")
    assert "query, 40 rows" in said
    assert "1 input stands in several rows with different references" in said
