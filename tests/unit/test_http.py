from dataclasses import replace

import pytest

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.models import load_model

from .chat_server import chat


pytestmark = pytest.mark.usefixtures("no_keys")


def test_chat_sends_model_messages_and_parameters(ask, server):
    params = {"system": "be brief", "max_tokens": 5, "temperature": 0.0}
    usage = {"prompt_tokens": 9, "completion_tokens": 1}
    server.script = [chat("4", usage=usage)]

    results = ask(prompt="Q: {input}", params=params)

    ((_, path, headers, body),) = server.requests
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "Q: 2+2?"},
        ],
        "max_tokens": 5,
        "temperature": 0.0,
    }
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in headers
    reply = results.rows[0].prediction.reply
    assert (reply.text, reply.prompt_tokens, reply.output_tokens) == ("4", 9, 1)
    assert str(results.model) == f"http:127.0.0.1:{server.server_port}/v1#tiny"
    assert results.model.pinned is False


@pytest.mark.parametrize("name", ["tiny", "{url}#tiny", "http:{address}#tiny"])
def test_a_reply_costs_what_llmeval_prices_says(run, server, settings, name):
    usage = {"prompt_tokens": 1_000, "completion_tokens": 500}
    server.script = [chat("4", usage=usage)]
    url = f"{server.url}#tiny"
    name = name.format(url=server.url, address=server.url.removeprefix("http://"))
    priced = replace(settings, prices={"other": (9, 9), name: (0.40, 1.60)})

    results = run(url, [{"input": "q"}] * 2, ["json_valid"], settings=priced)

    assert results.usage.cost_usd == pytest.approx(2 * 0.0012, rel=1e-12)


def test_a_cost_that_the_endpoint_reports_goes_before_the_price(run, server, settings):
    server.script = [chat("4", usage={"prompt_tokens": 1, "cost": 0.25})]
    priced = replace(settings, prices={"tiny": (1, 1)})

    results = run(
        f"{server.url}#tiny", [{"input": "q"}], ["json_valid"], settings=priced
    )

    assert results.usage.cost_usd == 0.25


def test_a_url_without_a_name_names_no_model(ask, server):
    ask(server.url + "/")

    assert server.requests[0][1] == "/v1/chat/completions"
    assert "model" not in server.requests[0][3]


@pytest.mark.parametrize(
    ("ending", "path", "field"),
    [
        ("/completions", "/v1/completions", "prompt"),
        ("/chat/completions", "/v1/chat/completions", "messages"),
        ("/chat/completions?v=1", "/v1/chat/completions?v=1", "messages"),
        ("?v=1", "/v1/chat/completions?v=1", "messages"),
    ],
)
def test_the_whole_address_of_an_endpoint_is_kept(ask, server, ending, path, field):
    server.script = [{**chat("4"), "choices": [{"text": "4", "message": {}}]}]

    ask(server.url + ending, params={"system": "be brief"})

    assert server.requests[0][1] == path
    assert field in server.requests[0][3]


def test_completions_send_one_text_and_read_one(ask, server):
    server.script = [{"choices": [{"text": " 4"}]}]

    results = ask(f"{server.url}/completions#base", params={"system": "be brief"})

    assert server.requests[0][3] == {"model": "base", "prompt": "be brief\n\n2+2?"}
    assert results.rows[0].prediction.text == " 4"


def test_the_key_goes_to_the_endpoint(ask, server, monkeypatch):
    monkeypatch.setenv("LLMEVAL_API_KEY", "key-of-llmeval")
    ask()

    assert server.requests[0][2]["Authorization"] == "Bearer key-of-llmeval"


def test_the_key_of_openai_is_never_sent_to_another_host(ask, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-openai")
    ask()

    assert "key-of-openai" not in str(server.requests)


def test_openai_uses_its_own_key_and_base_url(ask, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-openai")
    monkeypatch.setenv("LLMEVAL_API_KEY", "key-of-llmeval")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)

    results = ask("openai:/gpt-tiny")

    assert server.requests[0][2]["Authorization"] == "Bearer key-of-openai"
    assert server.requests[0][3]["model"] == "gpt-tiny"
    assert results.model.scheme == "openai"
    assert results.model.requested == "openai:/gpt-tiny"


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("scheme", ["http", "openai"])
def test_a_refused_key_stops_the_evaluation(ask, server, monkeypatch, status, scheme):
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.script = [(status, {}, b"no \x1b[31m key-of-openai")]
    model = "openai:/tiny" if scheme == "openai" else server.url
    variable = "OPENAI_API_KEY" if scheme == "openai" else "LLMEVAL_API_KEY"

    with pytest.raises(ModelError) as caught:
        ask(model, data=[{"input": str(i)} for i in range(500)])

    message = str(caught.value)
    assert f"/v1/chat/completions refuses with HTTP {status}, so no further" in message
    assert message.endswith(rf"key in {variable}. It said: no \x1b[31m [redacted]")
    assert len(server.requests) <= 32


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "http://me:secret@host/v1",
            "'http://[redacted]@host/v1' has a user name or password in it; give the "
            "key in the environment variable LLMEVAL_API_KEY instead",
        ),
        ("https://tok@host/v1", "'https://[redacted]@host/v1' has a user name or"),
        ("http:///v1", "'http:///v1' has no host"),
        ("http://[::1/v1", "http://[::1/v1"),
        ("openai:/", "openai:/ needs a model name: openai:/gpt-4.1-mini"),
        (
            "openai:/gpt-tiny",
            "openai:/gpt-tiny needs the environment variable OPENAI_API_KEY",
        ),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(hook, settings, model, message):
    with pytest.raises(ConfigurationError) as caught:
        load_model(model, hook, settings)

    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
