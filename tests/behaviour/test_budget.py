"""What a run may spend: requests, tokens, dollars, seconds."""

import time

import pytest

from .conftest import PASSING
from .conftest import ROWS


PRICES = "\n    m = 100000 100000"
"""A request of the model server is half a dollar: 5 tokens at 0.1 dollars each."""
SLOTS = 4
SLOW = ("--llmeval-concurrency", str(SLOTS))


@pytest.fixture
def limited(suite, model_server):
    suite.ask(model_server)
    suite.set_ini(llmeval_model=f"{model_server.url}#m", llmeval_prices=PRICES)
    model_server.answer = model_server.slowly
    return suite


def left_out(suite):
    """Ids of the rows that the budget left out, and what their errors say."""
    errors = [(row["id"], error) for row in suite.rows for error in row["errors"]]
    assert {error["kind"] for _, error in errors} <= {"budget"}
    return [row_id for row_id, _ in errors], {error["message"] for _, error in errors}


def add_second_test(suite):
    test = PASSING.replace("test_quality", "test_more")
    suite.write("evals/test_second.py", test.replace("data.jsonl", "more.jsonl"))
    rows = [{**row, "input": f"more {row['input']}"} for row in ROWS]
    rows = [{**row, "answer": row["input"].upper()} for row in rows]
    suite.write_rows("evals/more.jsonl", rows)


def test_requests_are_counted_exactly_and_the_next_command_goes_on(
    limited, model_server
):
    add_second_test(limited)
    result = limited.run("evals", *SLOW, "--llmeval-max-requests", "10")
    assert result.ret == 1
    assert model_server.asked[10:] == [], "the second test asks for nothing"
    ids, messages = left_out(limited)
    assert len(ids) == 30 + 40
    assert messages == {"--llmeval-max-requests 10 is reached"}
    for gate in limited.verdict["gates"]:
        assert (gate["decision"], gate["reason"]) == ("error", "BUDGET")
    verdict = limited.verdict
    assert (verdict["status"], verdict["reason"]) == ("incomplete", "BUDGET")
    result.stdout.fnmatch_lines(["*exact_match: error BUDGET: 30 of 40 rows*"])

    assert limited.run("evals", *SLOW).ret == 0
    assert len(model_server.requests) == 80
    assert model_server.repeated == 0
    assert limited.verdict["status"] == "pass"


def test_gate_that_passes_without_the_rows_left_out_makes_no_pass(limited):
    test = PASSING.replace('">=", 0.9', '">=", 0.1, on_error="worst"')
    limited.write("evals/test_qa.py", test)
    result = limited.run("evals", *SLOW, "--llmeval-max-requests", "30")
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    verdict = limited.verdict
    assert verdict["gates"][0]["decision"] == "pass"
    assert (verdict["status"], verdict["reason"]) == ("incomplete", "BUDGET")
    line = (
        "verdict: incomplete (BUDGET: 10 of 40 rows of data.jsonl were not evaluated)"
    )
    result.stdout.fnmatch_lines([line])


def test_run_over_its_budget_deploys_nothing(suite, model_server):
    suite.ask_pinned(model_server)
    suite.update_gates()
    suite.commit()
    deploy = ("--llmeval-cache", "off", "--llmeval-deploy", "registry:qa@champion")
    result = suite.run("evals", *deploy, "--llmeval-max-requests", "10")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["not deployed: BUDGET: *"])
    assert suite.deployment["reason"] == "BUDGET"


def test_tries_after_a_failure_count_as_requests(limited, model_server):
    model_server.status = lambda message: 503
    limited.run("evals", *SLOW, "--llmeval-max-requests", "10")
    assert len(model_server.requests) == 10
    assert model_server.repeated > 0
    assert limited.verdict["reason"] == "BUDGET"


def test_requests_of_all_workers_count_together(limited, model_server):
    add_second_test(limited)
    options = ("-n", "2", "--llmeval-max-requests", "10")
    result = limited.run("evals", *SLOW, *options)
    result.assert_outcomes(failed=2)
    assert len(model_server.requests) == 10
    result.stdout.fnmatch_lines(["*error BUDGET*--llmeval-max-requests 10 is reached*"])


@pytest.mark.parametrize(
    ("option", "limit", "says"),
    [
        ("--llmeval-max-tokens", "50", "--llmeval-max-tokens 50 is reached"),
        ("--llmeval-max-cost-usd", "5", "--llmeval-max-cost-usd 5 is reached"),
    ],
)
def test_tokens_and_dollars_stop_what_has_not_begun(
    limited, model_server, option, limit, says
):
    assert limited.run("evals", *SLOW, option, limit).ret == 1
    # What is on its way when the tenth reply comes may go past the limit.
    assert 10 <= len(model_server.requests) < 10 + SLOTS
    ids, messages = left_out(limited)
    assert len(ids) == 40 - len(model_server.requests)
    assert all(message.startswith(says) for message in messages)
    assert limited.verdict["reason"] == "BUDGET"


def test_no_request_begins_after_the_seconds(limited, model_server):
    came = []

    def note(message):
        came.append(time.monotonic())
        time.sleep(0.2)
        return message.upper()

    model_server.answer = note
    began = time.monotonic()
    assert limited.run("evals", *SLOW, "--llmeval-max-seconds", "1.5").ret == 1
    assert len(came) < 40
    # The run's clock starts with its process, at most this much after ours.
    assert max(came, default=began) - began < 1.5 + 1.0
    ids, messages = left_out(limited)
    assert len(ids) == 40 - len(came)
    assert messages == {"--llmeval-max-seconds 1.5 is reached"}


def test_dollars_need_a_price(limited, model_server):
    limited.set_ini(llmeval_model=f"{model_server.url}#unknown")
    result = limited.run("evals", *SLOW, "--llmeval-max-cost-usd", "5")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*add a line MODEL = PROMPT OUTPUT*llmeval_prices*"])
    assert len(model_server.requests) <= SLOTS


def test_price_that_cannot_be_read_is_refused_before_any_call(limited, model_server):
    limited.set_ini(llmeval_prices="\n    m = 1 2\n    gpt = cheap")
    result = limited.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    line = "*llmeval_prices has the line 'gpt = cheap'; write MODEL = PROMPT OUTPUT*"
    result.stderr.fnmatch_lines([line])
    assert model_server.requests == []
