"""An ordinary assert on a metric value explains itself, and is no gate."""

import json

import pytest


PLAIN = """\
def test_plain(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    assert {comparison}
"""
LINES = [
    "E*assert exact_match 0.000 >= 0.900",
    # 0 of 20: the upper bound is 1 - 0.05 ** (1 / 20) = 0.139.
    "E*interval 0.000 to 0.139 at 95 %, n=20, errors=0",
    "E*this is no gate: it is not in the verdict; use assert_metric(results, "
    '"exact_match", ">=", 0.9)',
    "E*worst rows:",
    "E*r0  score 0.000",
    "E*input:    q",
    "E*expected: A",
    "E*got:      Q*",
]


@pytest.fixture
def plain(suite):
    """Give the suite without its gate, and with a model that is always wrong."""

    def plain(comparison):
        suite.write("evals/test_qa.py", PLAIN.format(comparison=comparison))
        rows = [{"id": f"r{i}", "input": "q", "answer": "A"} for i in range(20)]
        suite.write_rows("evals/data.jsonl", rows)
        return suite

    return plain


def explained(result):
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(LINES)


@pytest.mark.parametrize(
    "comparison",
    ['results["exact_match"] >= 0.9', '0.9 <= results["exact_match"]'],
)
def test_failing_assert_explains_itself_and_is_no_gate(plain, comparison):
    suite = plain(comparison)
    explained(suite.run("evals", "-vv"))
    assert (suite.verdict["gates"], suite.verdict["status"]) == ([], "fail")


def test_short_form_has_all_but_the_further_rows(plain):
    result = plain('results["exact_match"] >= 0.9').run()
    explained(result)
    result.stdout.fnmatch_lines(["*Full output truncated*'-vv' to show"])


def test_summary_line_names_metric_value_and_bar(plain):
    result = plain('results["exact_match"] >= 0.9').run()
    result.stdout.fnmatch_lines(
        ["FAILED evals/test_qa.py::test_plain - assert exact_match 0.000 >= 0.900*"]
    )


def test_it_explains_itself_in_a_worker_too(plain):
    explained(plain('results["exact_match"] >= 0.9').run("evals", "-n", "2"))


def test_it_explains_itself_under_python_o(plain):
    suite = plain('results["exact_match"] >= 0.9')
    explained(suite.run_optimized("evals"))


def test_passing_assert_leaves_a_verdict_without_gates(plain):
    suite = plain('results["exact_match"] < 0.9 and not results["exact_match"] > 0.1')
    suite.run().assert_outcomes(passed=1)
    assert suite.verdict["reason"] == "NO_GATES"


def test_value_of_no_known_evaluation_is_explained_without_rows(plain):
    suite = plain("OTHER >= 0.9")
    source = (suite.path / "evals/test_qa.py").read_text()
    made = 'evaluate(str.upper, [{"input": "a", "answer": "B"}], ["exact_match"])'
    head = "from pytest_llmeval import evaluate as evaluate_here\n"
    made = f'OTHER = evaluate_here({made.removeprefix("evaluate(")}["exact_match"]\n'
    suite.write("evals/test_qa.py", head + made + source)
    result = suite.run("evals", "-vv")
    result.stdout.fnmatch_lines(["E*assert exact_match 0.000 >= 0.900", "E*no gate*"])
    result.stdout.no_fnmatch_line("*worst rows*")


def test_explanation_of_an_early_stopped_value_asks_nothing(suite, model_server):
    rows = [{"id": f"r{i}", "input": f"w{i}", "answer": f"W{i}"} for i in range(300)]
    suite.write_rows("evals/data.jsonl", rows)
    suite.write(
        "evals/test_qa.py",
        "from pytest_llmeval import assert_metric\n"
        "def test_early(evaluate):\n"
        '    unread = evaluate(data="data.jsonl", metrics=["exact_match"], name="a")\n'
        '    results = evaluate(data="data.jsonl", metrics=["exact_match"], name="b")\n'
        '    assert_metric(results, "exact_match", ">=", 0.5)\n'
        '    assert results["exact_match"] < 0.9\n',
    )
    suite.ask(model_server)
    result = suite.run("evals", "--llmeval-early-stop", "--llmeval-concurrency", "4")
    result.stdout.fnmatch_lines(["E*assert exact_match 1.000 < 0.900", "E*no gate*"])
    assert len(model_server.requests) < 100
    assert json.dumps(suite.verdict).count('"decision": "pass"') == 1
