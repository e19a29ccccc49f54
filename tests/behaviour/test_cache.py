"""Stored replies: when they serve, and how a run says that they did."""

import re
import sqlite3

from .conftest import PASSING


def stored(suite, query):
    with sqlite3.connect(suite.path / ".llmeval/predictions.db") as connection:
        return connection.execute(query).fetchall()


def test_modes_say_which_replies_serve(suite, model_server):
    suite.ask_pinned(model_server)

    def asked(mode, decision="pass"):
        model_server.requests.clear()
        suite.run("evals", "--llmeval-cache", mode)
        assert suite.verdict["gates"][0]["decision"] == decision
        return len(model_server.requests)

    assert asked("off") == 40
    assert not (suite.path / ".llmeval/predictions.db").exists()
    assert asked("on") == 40
    model_server.answer = lambda message: "no"
    assert asked("on") == 0
    assert asked("refresh", "fail") == 40
    assert asked("only", "fail") == 0


def test_reply_of_a_plain_url_serves_only_its_run(suite, model_server):
    suite.ask(model_server)
    for runs in (1, 2):
        assert suite.run().ret == 0
        assert len(model_server.requests) == 40 * runs


def test_finished_run_is_judged_again_when_its_endpoint_is_down(suite, model_server):
    suite.ask(model_server)
    model_server.answer = lambda message: message.upper() if "3" in message else "no"
    assert suite.run().ret == 1
    (first,) = suite.verdict["gates"]
    model_server.stop_listening()

    suite.write("evals/test_qa.py", PASSING.replace("0.9)", "0.1)"))
    assert suite.run("evals", "--llmeval-cache", "only").ret == 0
    (again,) = suite.verdict["gates"]
    for field in ("value", "lower", "upper", "n", "errors"):
        assert again[field] == first[field]
    assert (first["decision"], again["decision"]) == ("fail", "pass")
    assert (first["cached"], again["cached"]) == (0, 40)


def test_row_that_is_not_stored_is_named_and_not_asked(suite, model_server):
    suite.ask_pinned(model_server)
    assert suite.run().ret == 0
    rows = (suite.path / "evals/data.jsonl").read_text()
    suite.write("evals/data.jsonl", rows + '{"id": "new", "input": "x", "answer": "X"}')
    result = suite.run("evals", "--llmeval-cache", "only")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["*--llmeval-cache only: 1 of 41 rows of data.jsonl have no stored*: new"]
    )
    verdict = suite.verdict
    assert (verdict["status"], verdict["reason"]) == ("fail", "MODEL_ERROR")
    assert len(model_server.requests) == 40


def test_each_evaluation_shows_what_it_took_and_how_old_its_replies_are(
    suite, model_server
):
    suite.set_ini(llmeval_prices="\n    m = 100 50")
    suite.ask(model_server)
    suite.set_ini(llmeval_model=f"{model_server.url}#m")
    model_server.status = lambda message: 400 if message.endswith("3") else 200
    junit = ("--junitxml", "out.xml")
    output = suite.run("evals", *junit).stdout.str()
    # 36 replies of 3 prompt and 2 output tokens: 36 * (300 + 100) / 1e6 dollars.
    usage = (
        r"data\.jsonl: 40 requests for 40 rows, 108 prompt tokens, 72 output tokens, "
        "0.0144 US dollars, median latency "
    )
    assert re.findall(rf"^  {usage}\d+ ms, 95 % within \d+ ms$", output, re.MULTILINE)
    assert len(re.findall(r"40 of 40 rows, .*, 4 in error", output)) == 1

    stored(suite, "UPDATE predictions SET stored_at = stored_at - 3 * 86400")
    model_server.status = lambda message: 200
    output = suite.run("evals", *junit).stdout.str()
    stored_then = "4 requests for 4 rows, 36 stored replies up to 3 d old, "
    assert f"\n  data.jsonl: {stored_then}" in output
    assert "requests for" not in (suite.path / "out.xml").read_text()


def test_reply_with_a_secret_is_written_nowhere(suite, model_server, monkeypatch):
    """An endpoint may say the key that it was sent, in replies and in refusals."""
    key = "canary-\"7f3a9b'\\x"
    monkeypatch.setenv("LLMEVAL_API_KEY", key)
    suite.ask(model_server)
    model_server.answer = lambda message: f"{message.upper()} {key}"
    model_server.status = lambda message: 400 if message.endswith("3") else 200
    result = suite.run("evals", "--junitxml", "out.xml")
    assert f"Bearer {key}" in {head["Authorization"] for head in model_server.headers}
    assert len(suite.rows) == 40
    assert stored(suite, "SELECT count(*) FROM predictions") == [(0,)]
    written = [path for path in suite.path.rglob("*") if path.is_file()]
    assert any(path.name == "results.jsonl" for path in written)
    for path in written:
        assert b"7f3a9b" not in path.read_bytes(), path
    assert "7f3a9b" not in result.stdout.str() + result.stderr.str()
