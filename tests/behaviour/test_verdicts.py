"""What a run's verdict says: only a complete run with passing gates passes."""

import json

import pytest


SECOND = """
def test_second(evaluate):
    results = evaluate(data=DATA, metrics=["exact_match"])
    assert_metric(results, "exact_match", ">=", 0.8)
"""
TWICE = [{"id": "a", "input": "x", "answer": "X"}] * 2
BROKEN = """\
import pytest
from pytest_llmeval import CallableModel


@pytest.fixture
def llmeval_model():
    return CallableModel(lambda prompt: "wrong", version="1")
"""


def reason(suite):
    return suite.verdict["status"], suite.verdict["reason"]


def test_a_complete_passing_run_passes(suite):
    suite.update_gates()
    commit = suite.commit()
    result = suite.run("evals", "--llmeval-require")
    assert result.ret == 0
    verdict = suite.verdict
    assert (verdict["status"], verdict["reason"]) == ("pass", "OK")
    assert verdict["commit"] == commit
    assert verdict["dirty"] is False
    assert verdict["exit_status"] == 0
    assert verdict["model"]["name"].endswith("<lambda>")
    assert verdict["model"]["version"] == "1"
    assert verdict["datasets"][0]["rows"] == 40
    (gate,) = verdict["gates"]
    # 40 of 40 right: the exact binomial bound is 0.05 ** (1 / 40).
    assert gate["lower"] == pytest.approx(0.05 ** (1 / 40), abs=1e-9)
    assert (gate["value"], gate["n"], gate["decision"]) == (1.0, 40, "pass")
    assert len(suite.rows) == 40


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("skip", "import pytest\npytest.skip('down')", "SKIPPED"),
        ("xfail", "import pytest\npytest.xfail('known')", "XFAIL"),
        ("fails", "raise RuntimeError('x')", "TESTS_FAILED"),
        ("exits", "import pytest\npytest.exit('done', returncode=0)", "INCOMPLETE"),
    ],
)
def test_another_test_that_does_not_pass_blocks(suite, name, body, expected):
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    suite.write("evals/test_z.py", f"def test_{name}():\n{lines}")
    result = suite.run("evals", "--llmeval-require")
    assert suite.verdict["reason"] == expected
    assert suite.verdict["status"] != "pass"
    assert result.ret != 0


def test_process_that_ends_itself_leaves_an_incomplete_verdict(suite):
    suite.write("evals/test_z.py", "import os\ndef test_z():\n    os._exit(0)\n")
    assert suite.run().ret == 0
    assert reason(suite) == ("incomplete", "INCOMPLETE")


def test_failing_gate_in_an_expected_failure_is_xfail(suite):
    suite.write("evals/conftest.py", BROKEN)
    source = (suite.path / "evals/test_qa.py").read_text()
    marked = source.replace(
        "def test_quality", "import pytest\n@pytest.mark.xfail\ndef test_quality"
    )
    suite.write("evals/test_qa.py", marked)
    assert suite.run().ret == 0
    assert reason(suite) == ("fail", "XFAIL")


def test_gate_that_is_swallowed_still_fails_the_verdict(suite):
    suite.write("evals/conftest.py", BROKEN)
    source = (suite.path / "evals/test_qa.py").read_text()
    swallowed = source.replace(
        '    assert_metric(results, "exact_match", ">=", 0.9)',
        "    try:\n"
        '        assert_metric(results, "exact_match", ">=", 0.9)\n'
        "    except AssertionError:\n"
        "        pass",
    )
    suite.write("evals/test_qa.py", swallowed)
    assert suite.run().ret == 0
    assert reason(suite) == ("fail", "GATE_FAILED")


def test_gate_in_a_thread_is_recorded(suite):
    suite.write("evals/conftest.py", BROKEN)
    source = (suite.path / "evals/test_qa.py").read_text()
    threaded = source.replace(
        '    assert_metric(results, "exact_match", ">=", 0.9)',
        "    import threading\n"
        "    gate = (results, 'exact_match', '>=', 0.9)\n"
        "    thread = threading.Thread(target=assert_metric, args=gate)\n"
        "    thread.start()\n"
        "    thread.join()",
    )
    suite.write("evals/test_qa.py", threaded)
    suite.run("evals", "-p", "no:threadexception")
    assert reason(suite) == ("fail", "GATE_FAILED")


def test_asserts_stripped_by_the_optimiser_do_not_strip_gates(suite, monkeypatch):
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    suite.write("evals/conftest.py", BROKEN)
    assert suite.run().ret == 1
    assert reason(suite) == ("fail", "GATE_FAILED")


def test_rerun_until_it_passes_blocks_and_counts_the_tries(suite):
    suite.write(
        "evals/conftest.py",
        BROKEN.replace(
            'lambda prompt: "wrong", version="1"',
            "MODEL, version=str(next(TRIES))",
        )
        + "\nimport itertools\nTRIES = itertools.count(1)\n"
        "def MODEL(prompt):\n"
        '    return prompt.upper() if STATE.append(1) or len(STATE) > 40 else ""\n'
        "STATE = []\n",
    )
    result = suite.run("evals", "--reruns", "3")
    assert result.ret == 0
    assert reason(suite) == ("fail", "RERUN")
    assert suite.verdict["tries"] == {"evals/test_qa.py::test_quality": 2}


@pytest.mark.parametrize(
    "selection",
    [
        ("evals", "-k", "quality"),
        ("evals", "--deselect", "evals/test_qa.py::test_second"),
        ("evals/test_qa.py::test_quality",),
    ],
)
def test_selection_that_leaves_a_required_gate_out_is_gate_missing(suite, selection):
    source = (suite.path / "evals/test_qa.py").read_text()
    suite.write("evals/test_qa.py", source + SECOND)
    suite.update_gates()
    assert suite.run(*selection, "--llmeval-require").ret == 1
    assert reason(suite) == ("fail", "GATE_MISSING")
    assert suite.run(*selection).ret == 0, "without --llmeval-require it stays green"


def test_selecting_nothing_decides_no_gates(suite):
    suite.update_gates()
    assert suite.run("evals", "-m", "nothing", "--llmeval-require").ret == 5
    assert reason(suite) == ("fail", "NO_GATES")


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan"])
def test_nothing_executed_is_no_verdict_on_the_model(suite, option):
    suite.update_gates()
    suite.run("evals", option, "--llmeval-require")
    assert reason(suite) == ("incomplete", "NOT_EXECUTED")


def test_last_failed_runs_are_partial(suite):
    suite.write(
        "pytest.ini", (suite.path / "pytest.ini").read_text().split("addopts")[0]
    )
    suite.run("evals", "--llmeval-tracking", "off")
    suite.run("evals", "--llmeval-tracking", "off", "--lf")
    assert reason(suite) == ("incomplete", "PARTIAL_RUN")


def test_collection_error_blocks(suite):
    suite.write("evals/test_z.py", "import nosuch\n")
    result = suite.run("evals", "--continue-on-collection-errors")
    assert result.ret == 1
    assert reason(suite) == ("fail", "COLLECTION_ERROR")


def test_error_in_a_session_fixtures_teardown_blocks(suite):
    suite.write(
        "evals/test_z.py",
        "import pytest\n"
        "@pytest.fixture(scope='session')\n"
        "def upload():\n    yield\n    raise OSError('upload failed')\n"
        "def test_z(upload):\n    pass\n",
    )
    assert suite.run().ret == 1
    assert reason(suite) == ("fail", "TEARDOWN_ERROR")


def test_status_that_another_plugin_changes_last_counts(suite):
    suite.write(
        "evals/conftest.py",
        (suite.path / "evals/conftest.py").read_text()
        + "\n@pytest.hookimpl(trylast=True)\n"
        "def pytest_sessionfinish(session):\n    session.exitstatus = 1\n",
    )
    assert suite.run().ret == 1
    assert reason(suite) == ("fail", "TESTS_FAILED")


def test_listed_test_without_a_gate_is_no_assertion(suite):
    suite.update_gates()
    source = (suite.path / "evals/test_qa.py").read_text()
    suite.write("evals/test_qa.py", source.split("    assert_metric(")[0])
    assert suite.run("evals", "--llmeval-require").ret == 1
    assert reason(suite) == ("fail", "NO_ASSERTION")


def test_lowered_bar_is_a_changed_gate(suite):
    suite.update_gates()
    source = (suite.path / "evals/test_qa.py").read_text()
    suite.write("evals/test_qa.py", source.replace("0.9)", "0.5)"))
    assert suite.run("evals", "--llmeval-require").ret == 1
    assert reason(suite) == ("fail", "GATE_CHANGED")
    assert "threshold is 0.5 and 0.9 is required" in suite.verdict["detail"]


def test_edited_row_is_a_changed_dataset(suite):
    suite.update_gates()
    path = suite.path / "evals/data.jsonl"
    path.write_text(path.read_text().replace("word 7", "Word 7"))
    assert suite.run("evals", "--llmeval-require").ret == 1
    assert reason(suite) == ("fail", "DATASET_CHANGED")


def test_new_gate_is_unlisted(suite):
    suite.update_gates()
    source = (suite.path / "evals/test_qa.py").read_text()
    suite.write("evals/test_qa.py", source + SECOND)
    assert suite.run("evals", "--llmeval-require").ret == 1
    assert reason(suite) == ("fail", "GATE_UNLISTED")


def test_gates_on_two_models_are_mixed(suite):
    source = (suite.path / "evals/test_qa.py").read_text()
    other = SECOND.replace(
        "evaluate(data", "evaluate(CallableModel(str.upper, version='2'), data"
    )
    suite.write(
        "evals/test_qa.py",
        source + "\nfrom pytest_llmeval import CallableModel\n" + other,
    )
    assert suite.run().ret == 0
    assert reason(suite) == ("fail", "MIXED_MODELS")


@pytest.mark.parametrize(
    ("model", "data", "expected"),
    [
        ("lambda p: 1 / 0", None, "ROWS_MISSING"),
        ("str.upper", [], "ZERO_ROWS"),
        ("str.upper", TWICE, "DUPLICATE_ROWS"),
    ],
)
def test_data_and_model_errors_have_their_own_reason(suite, model, data, expected):
    suite.write("evals/conftest.py", BROKEN.replace('lambda prompt: "wrong"', model))
    if data is not None:
        suite.write_rows("evals/data.jsonl", data)
    assert suite.run().ret == 1
    assert reason(suite) == ("fail", expected)


def test_verdict_is_signed_and_the_key_is_out_of_reach(suite, monkeypatch):
    from pytest_llmeval.seal import broken_seal

    monkeypatch.setenv("LLMEVAL_SIGNING_KEY", "a long signing key")
    suite.write(
        "evals/test_z.py",
        "import os\n"
        "def test_z():\n    assert 'LLMEVAL_SIGNING_KEY' not in os.environ\n",
    )
    assert suite.run().ret == 0
    text = (suite.run_directory / "verdict.json").read_text()
    assert broken_seal(json.loads(text), "a long signing key") is None
    forged = json.loads(text.replace('"n": 40', '"n": 41'))
    assert broken_seal(forged, "a long signing key")
    assert "a long signing key" not in text


SKIPPER = (
    "import pytest\n@pytest.fixture\ndef f():\n    yield\n    pytest.skip('late')\n"
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (SKIPPER + "def test_z(f):\n    pass\n", "SKIPPED"),
        ("import pytest\npytest.importorskip('nosuch')\n", "SKIPPED"),
        (
            "def test_z(subtests):\n"
            "    import pytest\n"
            "    with subtests.test():\n"
            "        pytest.skip('one of them')\n",
            "SKIPPED",
        ),
        (
            "import unittest\n"
            "class TestZ(unittest.TestCase):\n"
            "    @unittest.expectedFailure\n"
            "    def test_z(self):\n        self.fail()\n",
            "XFAIL",
        ),
        (
            "import pytest\n@pytest.mark.parametrize('row', [])\n"
            "def test_z(row):\n    pass\n",
            "SKIPPED",
        ),
    ],
    ids=["teardown", "module", "subtest", "unittest", "empty"],
)
def test_what_was_skipped_anywhere_blocks(suite, source, expected):
    suite.write("evals/test_z.py", source)
    suite.run()
    assert suite.verdict["status"] == "fail"
    assert suite.verdict["reason"] == expected


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        ("pytest_sessionfinish():\n    raise OSError('upload failed')", "INCOMPLETE"),
        ("pytest_sessionfinish():\n    pytest.exit('stop')", "INCOMPLETE"),
        ("pytest_terminal_summary():\n    raise OSError('x')", "INCOMPLETE"),
        (
            "pytest_runtest_logreport(report):\n    report.outcome = 'quarantined'",
            "TESTS_FAILED",
        ),
    ],
)
def test_plugin_that_fails_at_the_end_or_renames_outcomes_blocks(suite, hook, expected):
    conftest = (suite.path / "evals/conftest.py").read_text()
    mark = "@pytest.hookimpl(tryfirst=True)\n" if "logreport" in hook else ""
    suite.write("evals/conftest.py", f"{conftest}\n\n{mark}def {hook}\n")
    suite.run()
    assert suite.verdict["status"] != "pass"
    assert suite.verdict["reason"] == expected


def test_status_5_of_another_plugin_blocks(suite):
    conftest = (suite.path / "evals/conftest.py").read_text()
    hook = "@pytest.hookimpl(trylast=True)\ndef pytest_sessionfinish(session):\n"
    suite.write(
        "evals/conftest.py", f"{conftest}\n\n{hook}    session.exitstatus = 5\n"
    )
    assert suite.run().ret == 5
    assert reason(suite) == ("fail", "TESTS_FAILED")


def test_rows_whose_call_cancels_itself_do_not_vanish(suite):
    suite.write(
        "evals/conftest.py",
        "import asyncio, pytest\n"
        "from pytest_llmeval import CallableModel\n\n\n"
        "async def model(example):\n"
        "    if example.id in ('r3', 'r7'):\n"
        "        raise asyncio.CancelledError\n"
        "    return example.input.upper()\n\n\n"
        "@pytest.fixture\n"
        "def llmeval_model():\n    return CallableModel(model, version='1')\n",
    )
    assert suite.run().ret == 1
    assert reason(suite) == ("fail", "ROWS_MISSING")
    (gate,) = suite.verdict["gates"]
    assert gate["rows"] == 40


def test_required_verdict_cannot_be_switched_off_unseen(suite):
    result = suite.run("evals", "--llmeval-require", "-p", "no:llmeval-run")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*-p no:llmeval-run*"])


def test_changed_columns_are_a_changed_gate(suite):
    suite.update_gates()
    source = (suite.path / "evals/test_qa.py").read_text()
    changed = source.replace(
        "data=DATA,", 'data=DATA, columns={"references": "input"},'
    )
    suite.write("evals/test_qa.py", changed.replace(">=", "<=").replace("0.9", "1"))
    suite.run("evals", "--llmeval-require")
    assert reason(suite) == ("fail", "GATE_CHANGED")
    assert "request is" in suite.verdict["detail"]


def test_gate_on_something_that_is_no_metric_name_is_recorded(suite):
    source = (suite.path / "evals/test_qa.py").read_text()
    changed = source.replace('(results, "exact_match"', "(results, len")
    suite.write("evals/test_qa.py", changed)
    assert suite.run().ret == 1
    assert reason(suite) == ("fail", "BAD_TYPE")


def test_function_with_the_name_of_a_known_metric_is_refused(suite):
    source = (suite.path / "evals/test_qa.py").read_text()
    function = "def exact_match(prediction, example) -> bool:\n    return True\n\n\n"
    suite.write(
        "evals/test_qa.py",
        function + source.replace('["exact_match"]', "[exact_match]"),
    )
    result = suite.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*'exact_match' has the name of a known metric*"])
