import json
import socket
import time
from email.utils import formatdate

import pytest

from pytest_llmeval.config import Settings

from .chat_server import chat


pytestmark = pytest.mark.usefixtures("no_keys")


def errors(results):
    return [(e.kind, e.attempts, e.message) for e in results.errors]


@pytest.mark.parametrize("status", [301, 302, 400, 404, 422])
def test_a_lasting_refusal_is_not_tried_again(ask, server, status):
    server.script = [(status, {"Location": "/v2"}, b"because")]

    assert errors(ask()) == [(f"http_{status}", 1, f"HTTP {status}: because")]
    assert len(server.requests) == 1


def test_a_refusal_without_a_model_name_says_how_to_give_one(ask, server):
    server.script = [(404, {}, b"no model")]

    ((_, _, message),) = errors(ask(server.url))

    assert message == f"HTTP 404: no model (name the model with {server.url}#NAME)"


def test_a_rate_limit_is_tried_again_after_the_time_the_server_asks_for(ask, server):
    server.script = [(429, {"Retry-After": "0.9"}, b"slow down"), chat("4")]

    results = ask()

    first, second = (request[0] for request in server.requests)
    assert second - first >= 0.89
    assert results.errors == []
    assert results.rows[0].prediction.attempts == 2


def test_a_rate_limit_that_stays_is_the_error_of_its_row(ask, server):
    server.script = [(429, {"Retry-After": "0"}, b"slow down")]

    assert errors(ask(attempts=3)) == [("rate_limit", 3, "HTTP 429: slow down")]
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503, 529])
@pytest.mark.parametrize("wait", ["0"])
def test_a_passing_fault_is_tried_again(ask, server, status, wait):
    server.script = [(status, {"Retry-After": wait}, b"oops"), chat("4")]

    results = ask()

    assert results.errors == []
    assert len(server.requests) == 2


@pytest.mark.parametrize("wait", ["Wed, 21 Oct 2099", "-1", "inf", "nan"])
def test_a_retry_after_that_is_no_time_leaves_the_usual_wait(ask, server, wait):
    server.script = [(503, {"Retry-After": wait}, b"oops"), chat("4")]

    results = ask()

    first, second = (request[0] for request in server.requests)
    assert results.errors == []
    assert 0.2 < second - first < 5


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {}}]}',
        b'{"choices": [{"message": {"content": 3}}]}',
        b'{"choices": [{"message": {"content": [{"text": "4"}]}}]}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_malformed_reply_is_the_error_of_its_row(ask, server, body):
    server.script = [body]

    ((kind, attempts, _),) = errors(ask(attempts=1))

    assert (kind, attempts) == ("malformed", 1)


HUGE = 10**400


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [1],
        "many",
        {"completion_tokens": "7", "cost": "7"},
        {"completion_tokens": -7, "cost": -7},
        {"completion_tokens": HUGE, "cost": HUGE},
        {"completion_tokens": 7.5, "cost": float("inf")},
        {"completion_tokens": True, "cost": True},
    ],
    ids=["none", "list", "text", "texts", "negative", "huge", "odd", "booleans"],
)
def test_an_odd_usage_never_costs_the_reply(ask, server, usage):
    server.script = [chat("4", usage=usage)]

    results = ask(attempts=1)

    reply = results.rows[0].prediction.reply
    assert (reply.text, reply.output_tokens, reply.cost_usd) == ("4", None, None)


def test_a_reply_without_text_is_empty(ask, server):
    server.script = [chat(None)]

    results = ask()

    assert results.errors == []
    assert results.rows[0].prediction.text == ""


@pytest.mark.parametrize("size", [10, 300_000])
def test_a_reply_that_arrives_in_pieces_is_read_to_its_end(ask, server, size):
    whole = json.dumps(chat("x" * size)).encode()
    half = len(whole) // 2
    server.script = [[whole[:half], whole[half:]]]

    results = ask(attempts=1)

    assert results.errors == []
    assert results.rows[0].prediction.text == "x" * size


def test_a_dead_endpoint_is_the_error_of_each_row(ask):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    results = ask(
        f"http://127.0.0.1:{port}/v1", data=[{"input": x} for x in "abc"], attempts=1
    )

    assert [(e.kind, e.attempts) for e in results.errors] == [("connection", 1)] * 3
    assert f"127.0.0.1:{port}" in results.errors[0].message


def test_a_silent_endpoint_is_a_timeout(run, settings):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        short = Settings(
            rootdir=settings.rootdir, cache="off", timeout_s=0.2, attempts=1
        )
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        results = run(url, [{"input": "q"}], ["json_valid"], settings=short)

    assert errors(results) == [("timeout", 1, "no reply within 0.2 s")]


def in_seconds(seconds):
    return formatdate(time.time() + seconds, usegmt=True)


def test_a_retry_after_that_is_a_date_is_kept(ask, server):
    server.script = [(503, {"Retry-After": in_seconds(2)}, b"oops"), chat("4")]

    results = ask()

    first, second = (request[0] for request in server.requests)
    assert results.errors == []
    assert 0.99 <= second - first < 5, "dates have whole seconds"


def test_a_retry_after_of_the_past_is_no_wait(ask, server):
    server.script = [(503, {"Retry-After": in_seconds(-60)}, b"oops"), chat("4")]

    ask()

    first, second = (request[0] for request in server.requests)
    assert second - first < 0.2


@pytest.mark.parametrize("wait", ["61", in_seconds(3_600)], ids=["seconds", "date"])
def test_a_retry_after_beyond_a_minute_is_one_attempt(ask, server, wait):
    server.script = [(429, {"Retry-After": wait}, b"tomorrow")]

    ((kind, attempts, message),) = errors(ask(attempts=3))

    assert (kind, attempts, len(server.requests)) == ("rate_limit", 1, 1)
    assert message.startswith("HTTP 429: tomorrow; it asks to wait ")
    assert message.endswith(" s, which is too long")
