"""Where the marker stands, what it takes, and rows that mean harm."""

import xml.etree.ElementTree as ET

import pytest

from .case_suites import CASES
from .case_suites import GATED
from .conftest import Suite


HEAD = "import pytest\n\nfrom pytest_llmeval import Gate\n\n\n"
MARK = '@pytest.mark.llmeval_cases("data.jsonl"{})\n'
SECRET = "canary-7f3a9b21"
HOSTILE = [
    {"id": "a::b[c]\nd", "input": "x\ud800\x1b[31m\x00", "answer": "no"},
    {"id": "s\ud800", "input": "y", "answer": "Y"},
    {"id": "l" * 10_000, "input": "z", "answer": "Z"},
    {"id": "---", "input": "e", "answer": "E"},
    {"id": f"of {SECRET}", "input": SECRET, "answer": "q"},
    {"id": "../../x", "input": "p", "answer": "P"},
]
ECHOING = """\
import pytest

from pytest_llmeval import CallableModel


@pytest.fixture
def llmeval_model():
    return CallableModel(lambda prompt: prompt + "\\ud800\\x1b[0m", version="1")
"""
HARMED = """\
import pytest

from pytest_llmeval import Gate


GATES = [Gate("tone\\ud800", ">=", 0, bounds=(0, 1))]


@pytest.mark.llmeval_cases("data.jsonl", gates=GATES)
def test_word(llmeval_case):
    llmeval_case.record("tone\\ud800", 1)
    assert not llmeval_case.prediction, llmeval_case.prediction * 3
"""


def test_marker_of_a_class_or_module_is_for_those_tests_that_use_a_case(cases: Suite):
    cases.write(
        "evals/test_qa.py",
        HEAD
        + 'pytestmark = pytest.mark.llmeval_cases("data.jsonl", limit=2)\n\n\n'
        + "def test_row(llmeval_case):\n    assert llmeval_case.input\n\n\n"
        + "def test_plain():\n    pass\n\n\n"
        + MARK.format(", limit=3")
        + "def test_own(llmeval_case):\n    assert llmeval_case.input\n\n\n"
        + MARK.format(", limit=4")
        + "class TestAll:\n"
        + "    def test_in_class(self, llmeval_case):\n        pass\n\n"
        + "    def test_none(self):\n        pass\n",
    )
    result = cases.run("evals", "-v")
    result.assert_outcomes(passed=2 + 1 + 3 + 4 + 1)
    tests = [one["test"].rpartition("::")[2] for one in cases.verdict["evaluations"]]
    rows = [one["rows"] for one in cases.verdict["evaluations"]]
    assert tests == ["test_row", "test_own", "test_in_class"]
    assert rows == [2, 3, 4]


def test_two_markers_of_one_function_are_refused(cases: Suite) -> None:
    marks = MARK.format(", limit=2") + MARK.format(", limit=3")
    cases.write(
        "evals/test_qa.py", f"{HEAD}{marks}def test_word(llmeval_case):\n    pass\n"
    )
    result = cases.run("evals")
    assert result.ret == 2
    assert "it stands twice here; write a function for each" in result.stdout.str()


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('@pytest.mark.parametrize("way", [1, 2])\n', ""),
        ("@pytest.fixture(params=[1, 2])\ndef way(request):\n    pass\n\n\n", ""),
    ],
)
def test_cases_that_something_multiplies_say_what_to_do(cases, workers, before, after):
    test = "def test_word(llmeval_case, way):\n    pass\n"
    marked = MARK.format(", limit=2")
    cases.write("evals/test_qa.py", HEAD + before + marked + test)
    result = cases.run("evals", "-n", workers)
    assert result.ret == 1
    result.assert_outcomes(errors=4)
    assert "no other parametrization may multiply them" in result.stdout.str()
    assert "write a function for each" in result.stdout.str()


def test_fixture_without_a_marker_names_it_and_nothing_else(cases: Suite) -> None:
    cases.write("evals/test_qa.py", "def test_word(llmeval_case):\n    pass\n")
    result = cases.run("evals")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["llmeval_case needs the marker that names the data: *"]
    )
    assert "no attribute" not in result.stdout.str()
    cases.write(
        "evals/test_qa.py", f"{HEAD}{MARK.format('')}def test_word():\n    pass\n"
    )
    result = cases.run("evals")
    assert result.ret == 2
    assert "the test must use the fixture llmeval_case" in result.stdout.str()


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        (", 3", "only data may stand without a name"),
        (', data="data.jsonl"', "only data may stand without a name"),
        (", limit=True", "limit=True must be a whole number"),
        (', limit="3"', "limit='3' must be a whole number"),
        (', metrics="token_f1"', "metrics='token_f1' must be a list"),
        (', gates=Gate("pass_rate", ">=", 1)', "must be a list"),
        (", gates=None", "gates=None must be a list"),
        (", name=3", "name=3 must be a text"),
        (", columns=3", "columns=3 must be a mapping"),
        (", params=3", "params=3 must be a mapping"),
        (', gates=[Gate("a", "=>", 1)]', "holds a: op='=>' is none of: >=, >, <="),
        (', gates=[Gate("a", ">=", "1")]', "the threshold '1' is str, not a number"),
        (', gates=[Gate("a", ">=", 1, on_error="skip")]', "on_error='skip' is none of"),
    ],
)
def test_marker_is_checked_before_any_row_is_asked(refusal, marker, message):
    assert message in refusal(CASES.replace('"data.jsonl"', f'"data.jsonl"{marker}'))


@pytest.fixture
def refusal(cases: Suite):
    """Return what a suite says that must not get past its collection."""

    def collect(text: str) -> str:
        cases.write("evals/test_qa.py", text)
        result = cases.run("evals")
        assert result.ret == 2
        assert not (cases.path / ".llmeval").exists()
        return result.stdout.str()

    return collect


@pytest.mark.parametrize(
    ("data", "files"),
    [
        ("[{'input': 'a', 'answer': 'A'}]", {}),
        ("__import__('pandas').DataFrame([{'input': 'a', 'answer': 'A'}])", {}),
        ("'rows.csv'", {"evals/rows.csv": "input,answer\na,A\n"}),
        (
            "'twice://a'",
            {
                "conftest.py": "def pytest_llmeval_load_dataset(ref):\n"
                "    if str(ref.source).startswith('twice:'):\n"
                "        yield 'here', {'input': 'a', 'answer': 'A'}\n"
            },
        ),
    ],
)
def test_data_of_any_kind_makes_cases(cases: Suite, data: str, files) -> None:
    for name, text in files.items():
        cases.write(name, text)
    cases.write("evals/test_qa.py", CASES.replace('"data.jsonl"', data))
    cases.run("evals").assert_outcomes(passed=1)
    assert cases.rows[0]["prediction"] == "A"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_hostile_rows_harm_no_output_and_no_row_is_lost(cases, monkeypatch, workers):
    monkeypatch.setenv("SOME_TOKEN", SECRET)
    cases.write("evals/conftest.py", ECHOING)
    cases.write("evals/test_qa.py", HARMED)
    cases.write_rows("evals/data.jsonl", HOSTILE)
    options = ("-ra", "-v", "--junitxml", "junit.xml", "--llmeval-html", "run.html")
    result = cases.run("evals", "-n", workers, *options)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*1 passed, 6 missed*"])
    assert "\x1b" not in result.stdout.str()
    assert len(cases.rows) == 6
    named = ET.parse(cases.path / "junit.xml").findall(".//testcase")
    assert len({case.get("name") for case in named}) == 7
    assert all(len(case.get("name", "")) <= 51 for case in named)
    written = [
        p for p in cases.path.rglob("*") if p.is_file() and p.name != "data.jsonl"
    ]
    assert [p for p in written if SECRET.encode() in p.read_bytes()] == []
    assert SECRET not in result.stdout.str()


def test_habits_of_editors_make_no_verdict(cases: Suite) -> None:
    cases.write("evals/test_qa.py", GATED)
    result = cases.run("evals", "--collect-only", "-q")
    assert "evals/test_qa.py::test_word[r39]" in result.outlines
    assert "test_word[" in cases.run("evals", "--setup-plan").stdout.str()
    result = cases.run("evals", "--fixtures")
    result.stdout.fnmatch_lines(
        ["llmeval_case -- *", "*One row of the data that the *"]
    )
    assert "llmeval_cases(data, *" in cases.run("evals", "--markers").stdout.str()
    assert not (cases.path / ".llmeval").exists()
    assert cases.run("evals", "-p", "no:terminal").ret == 0
    assert cases.verdict["status"] == "pass"


@pytest.mark.parametrize("family", ["xunit1", "xunit2"])
def test_junit_of_many_scores_stays_small(cases: Suite, family: str) -> None:
    scores = "    [llmeval_case.record(f's{i}', 0.5) for i in range(40)]\n    assert"
    cases.write("evals/test_qa.py", GATED.replace("    assert", scores))
    options = ("--junitxml", "junit.xml", "-o", f"junit_family={family}")
    assert cases.run("evals", *options).ret == 0
    case = ET.parse(cases.path / "junit.xml").find(".//testcase[@name='test_word[r0]']")
    assert case is not None
    assert len(case.findall(".//property[@value='0.5']")) == 40
    assert (cases.path / "junit.xml").stat().st_size < 43 * 3_000
