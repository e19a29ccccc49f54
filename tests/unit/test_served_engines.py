"""Engines behind a server: over a real connection, every outcome is as in process."""

import os
import socket
import threading
from multiprocessing.connection import Client

import pytest

from pytest_llmeval.backends.llamacpp import served
from pytest_llmeval.backends.llamacpp import server as serving
from pytest_llmeval.backends.llamacpp.engines import Engines
from pytest_llmeval.backends.llamacpp.served import served_engines
from pytest_llmeval.backends.llamacpp.server import Server
from pytest_llmeval.errors import CallError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.services import Service


TOKEN = "0123456789abcdef"
DIGEST = "ab" * 32
TEXT = "a\ud800 \N{RIGHT-TO-LEFT OVERRIDE} \0 \N{SNOWMAN}"


class Echo:
    """Answers with the body; knows how many it answers at once."""

    def __init__(self):
        self.at_once = self.most_at_once = 0
        self.full = threading.Event()

    def handle_chat_completions(self, body):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if "wait" in body:
            self.full.wait(body["wait"])
        self.at_once -= 1
        if "fail" in body:
            raise ValueError(body["fail"])
        return {"echo": body}


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def server(echo):
    server = Server(Engines(lambda: echo, 2), TOKEN)
    threading.Thread(target=server.accept, daemon=True).start()
    return server


@pytest.fixture
def places(server, tmp_path):
    """Engines of one of so many workers, of this server."""
    service = Service(tmp_path, f"gguf-{DIGEST[:16]}")
    assert service.begin()
    service.announce(server.port, TOKEN)

    def places(workers=2):
        path = tmp_path / "m.gguf"
        return served_engines(path, DIGEST, services=tmp_path, most=2, workers=workers)

    yield places
    service._life.release()


def test_answers_come_as_they_are(places):
    engines = places()
    assert engines.ask({"text": TEXT}) == {"echo": {"text": TEXT}}
    assert engines.ask({"n": 1.5e-300}) == {"echo": {"n": 1.5e-300}}


def test_body_that_cannot_be_used_fails_as_in_process(places, echo):
    outcomes = []
    for engines in (Engines(lambda: echo, 1), places()):
        with pytest.raises(CallError) as caught:
            engines.ask({"fail": "no such \ud800"})
        error = caught.value
        outcomes.append((type(error), error.kind, str(error), error.retry))
        assert engines.ask({}) == {"echo": {}}, "it goes on"
    assert outcomes[0] == outcomes[1]


def test_model_that_cannot_be_loaded_is_an_error_as_in_process(places, server):
    def start():
        raise ModelError("cannot load m.gguf")

    server._engines = Engines(start, 2)
    with pytest.raises(ModelError, match=r"^cannot load m\.gguf$") as caught:
        places().ask({})
    assert not isinstance(caught.value, CallError)


def test_workers_share_the_engines(places, echo):
    assert [places(workers).most for workers in (1, 2, 3)] == [2, 1, 1]
    body = {"wait": 0.3}
    threads = [threading.Thread(target=places(4).ask, args=[body]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert echo.most_at_once == 2


def test_connection_that_is_lost_is_made_again_by_the_next_try(places):
    engines = places()
    engines.ask({})
    sock = socket.socket(fileno=os.dup(engines._idle[0]._connection.fileno()))
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()
    with pytest.raises(CallError, match="the model's server is gone") as caught:
        engines.ask({})
    assert (caught.value.kind, caught.value.retry) == ("connection", True)
    assert engines.ask({}) == {"echo": {}}


@pytest.mark.parametrize("said", [b"", b"x" * 16, b'{"messages": []}'])
def test_client_without_the_token_is_sent_away(server, said):
    with Client((served.HOST, server.port)) as client:
        assert client.recv_bytes(256).startswith(b"#CHALLENGE#")
        client.send_bytes(said)
        assert client.recv_bytes(256) == b"#FAILURE#"
        with pytest.raises(EOFError):
            client.recv_bytes()


def test_server_without_the_token_is_told_nothing(places, server):
    server._token = b"somebody else"
    with pytest.raises(CallError, match="gone: AuthenticationError"):
        places().ask({})


def test_clients_that_say_nothing_keep_nobody_waiting(server, places):
    silent = [socket.create_connection((served.HOST, server.port)) for _ in range(3)]
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(places().ask({})), daemon=True
    )
    asking.start()
    asking.join(10)
    for client in silent:
        client.close()
    assert answers == [{"echo": {}}]


def test_only_this_machine_can_connect(server):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.port))


def test_server_is_used_until_nobody_has_been_connected_for_a_while(
    server, places, monkeypatch
):
    monkeypatch.setattr(serving, "IDLE_S", 0.2)
    engines = places()
    engines.ask({})
    waiting = threading.Thread(target=server.await_disuse, daemon=True)
    waiting.start()
    waiting.join(0.6)
    assert waiting.is_alive(), "a place is connected, if silent"
    engines.close()
    waiting.join(20)
    assert not waiting.is_alive()


def test_server_that_nobody_connects_to_ends(server, monkeypatch):
    monkeypatch.setattr(serving, "IDLE_S", 0.2)
    socket.create_connection((served.HOST, server.port)).close()  # without the token
    waiting = threading.Thread(target=server.await_disuse, daemon=True)
    waiting.start()
    waiting.join(20)
    assert not waiting.is_alive()
