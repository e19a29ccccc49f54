"""The endpoint that every contender asks: a process of its own that counts requests.

Written by hand on an asyncio protocol, because a slower server would hide what the
clients cost. ``POST`` anything is a chat completion; ``GET /stats`` are the counts.
"""

import argparse
import asyncio
import json
import re
from dataclasses import asdict
from dataclasses import dataclass
from functools import partial

from benchmarks.workload import HANGING
from benchmarks.workload import answer


CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
QUESTION = re.compile(rb"Question (\d+):")
RATE_LIMITED = b"429 Too Many Requests\r\nRetry-After: 1"
FAILING = b"500 Internal Server Error"


@dataclass
class Counts:
    requests: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    first_s: float | None = None
    """Monotonic time at which the first request was read."""
    last_s: float | None = None

    def begin(self, now_s: float) -> None:
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.first_s = now_s if self.first_s is None else self.first_s
        self.last_s = now_s


class Endpoint:
    """What all connections share: how to answer, and the counts."""

    def __init__(self, *, latency_ms: float, faults: bool) -> None:
        self.latency_s, self.faults = latency_ms / 1000, faults
        self.counts = Counts()
        self._asked: set[int] = set()

    def fault(self, number: int) -> bytes | None:
        """Return the status that refuses a question, which is only its first time."""
        if not self.faults or number in self._asked:
            return None
        self._asked.add(number)
        if number % 20 == 7:
            return RATE_LIMITED
        return FAILING if number % 50 == 11 else None

    def hangs(self, number: int) -> bool:
        return self.faults and number == HANGING


class Connection(asyncio.Protocol):
    """One kept-alive connection; a client sends its next request after the reply."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint, self._loop = endpoint, asyncio.get_running_loop()
        self._received, self._is_asked = b"", False

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._end()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        length = CONTENT_LENGTH.search(head)
        if not blank or len(body) < (int(length[1]) if length else 0):
            return
        self._received = b""
        if head.startswith(b"GET /stats "):
            self._send(b"200 OK", asdict(self._endpoint.counts))
        else:
            self._ask(int(QUESTION.search(body)[1]))

    def _ask(self, number: int) -> None:
        self._is_asked = True
        self._endpoint.counts.begin(self._loop.time())
        if not self._endpoint.hangs(number):
            self._loop.call_later(self._endpoint.latency_s, self._reply, number)

    def _reply(self, number: int) -> None:
        if not self._is_asked:
            return  # the client has gone
        self._end()
        refusal = self._endpoint.fault(number)
        if refusal is None:
            self._send(b"200 OK", completion(answer(number)))
        else:
            self._send(refusal, {"error": {"message": "a planned fault"}})

    def _end(self) -> None:
        self._endpoint.counts.in_flight -= self._is_asked
        self._is_asked = False

    def _send(self, status: bytes, document: dict) -> None:
        body = json.dumps(document).encode()
        self._transport.write(
            b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (status, len(body), body)
        )


def completion(text: str) -> dict:
    message = {"role": "assistant", "content": text}
    return {
        "id": "bench",
        "object": "chat.completion",
        "created": 0,
        "model": "bench",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 8, "total_tokens": 20},
    }


async def serve(endpoint: Endpoint) -> None:
    loop = asyncio.get_running_loop()
    connection = partial(Connection, endpoint)
    server = await loop.create_server(connection, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--faults", action="store_true", help="the mix of `faults`")
    options = parser.parse_args()
    endpoint = Endpoint(latency_ms=options.latency_ms, faults=options.faults)
    asyncio.run(serve(endpoint))


if __name__ == "__main__":
    main()
