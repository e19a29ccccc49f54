"""A process that holds a port and passes requests on to one model server behind it.

It starts ``mlflow models serve`` for a version, waits until that is healthy, switches
over between two requests, and stops the old one when the requests in flight there have
ended. What is live is what it says: it outlives whoever deploys.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from pytest_llmeval.services import Service
from pytest_llmeval.text import one_line


HOST = "127.0.0.1"
CONTROL = "/llmeval/live"
PAUSE_S = 0.2
DRAIN_S = 30.0
STOP_S = 10.0
LARGEST_BODY = 64 * 2**20
LOG_TAIL = 1_000
HOP_BY_HOP = {
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


class Server:
    """One model server, in a session of its own.

    Args:
        model: The registered model.
        version: Its version.
        tags: What it is to be known by.
        log: Takes what it prints.
    """

    def __init__(
        self, model: str, version: str, tags: dict[str, str], log: Path
    ) -> None:
        self.model, self.version, self.tags, self._log = model, version, tags, log
        self.at = time.time()
        self.in_flight = 0
        self.url = ""
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, tracking_uri: str, client: aiohttp.ClientSession) -> None:
        """Start it, and return once it is healthy; raises RuntimeError otherwise."""
        with socket.create_server((HOST, 0)) as probe:
            port: int = probe.getsockname()[1]
        self.url = f"http://{HOST}:{port}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LLMEVAL_")}
        # MLflow starts uvicorn by its name, also where this environment is not active.
        scripts = str(Path(sys.executable).parent)
        kept["PATH"] = os.pathsep.join([scripts, kept.get("PATH", os.defpath)])
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "pytest_llmeval.backends.mlflow.guard"),
                *(sys.executable, "-m", "mlflow", "models", "serve"),
                *("--model-uri", f"models:/{self.model}/{self.version}"),
                *("--env-manager", "local", "--host", HOST, "--port", str(port)),
                stdin=asyncio.subprocess.PIPE,  # it ends with us
                stdout=log,
                stderr=log,
                env={**kept, "MLFLOW_TRACKING_URI": tracking_uri},
                start_new_session=True,
            )
        while not await self._is_healthy(client):
            if self._process.returncode is not None:
                said = self._log.read_bytes()[-LOG_TAIL:].decode("utf-8", "replace")
                raise RuntimeError(f"it ended: {one_line(said, 500)}")
            await asyncio.sleep(PAUSE_S)

    async def _is_healthy(self, client: aiohttp.ClientSession) -> bool:
        try:
            async with client.get(f"{self.url}/ping") as reply:
                return reply.status == 200
        except (aiohttp.ClientError, OSError):
            return False

    @property
    def lives(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.returncode is None

    async def stop(self) -> None:
        """Let the requests in flight end, then end the process."""
        deadline = time.monotonic() + DRAIN_S
        while self.in_flight and time.monotonic() < deadline:
            await asyncio.sleep(PAUSE_S)
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_S)
            os.killpg(process.pid, signal.SIGKILL)  # what is left of its session


class Front:
    """Passes requests on, and switches over when it is told to."""

    def __init__(self, folder: Path, name: str, token: str) -> None:
        self._folder, self._name, self._token = folder, name, token
        self._live: Server | None = None
        self._history: list[str | None] = []
        """The versions before, as deployments have replaced them."""
        self._busy, self._problem = False, ""
        self._client: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.ended = asyncio.Event()

    def app(self) -> web.Application:
        """Return what answers at the port."""
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_get(CONTROL, self._tell)
        app.router.add_post(CONTROL, self._take)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        app.cleanup_ctx.append(self._open)
        return app

    async def _open(self, app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None),
            # A connection that is kept may be one that the server is just closing.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        ) as client:
            self._client = client
            yield
            if self._live is not None:
                await self._live.stop()

    def _state(self) -> dict[str, Any]:
        live = self._live if self._live is not None and self._live.lives else None
        problem = self._problem
        if self._live is not None and live is None:
            problem = f"version {self._live.version} has died"
        return {
            "model": live.model if live else None,
            "version": live.version if live else None,
            "at": live.at if live else None,
            "tags": live.tags if live else {},
            "previous": self._history[-1:],
            "busy": self._busy,
            "problem": problem,
        }

    async def _tell(self, request: web.Request) -> web.Response:
        return web.json_response(self._state())

    async def _take(self, request: web.Request) -> web.Response:
        """Begin to serve another version, unless another one is live than expected."""
        given = request.headers.get("Authorization", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            return web.json_response({"error": "not authorized"}, status=401)
        order = await request.json()
        state = self._state()
        live = {"model": state["model"], "version": state["version"]}
        if self._busy or live not in (order["before"], order["after"]):
            return web.json_response(state, status=409)
        if live != order["after"]:
            self._busy, self._problem = True, ""
            task = asyncio.create_task(self._switch(order))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return web.json_response(self._state(), status=202)

    async def _switch(self, order: dict[str, Any]) -> None:
        old, new = self._live, None
        model, version = order["after"]["model"], order["after"]["version"]
        try:
            if version is not None:
                log = self._folder / f"{self._name}-{version}.log"
                new = Server(model, version, order["tags"], log)
                assert self._client is not None  # noqa: S101  # for the type checker
                starting = new.start(order["tracking_uri"], self._client)
                await asyncio.wait_for(starting, order["wait_s"])
            self._remember(old.version if old is not None else None, version, order)
            self._live = new
        except Exception as error:  # noqa: BLE001  # told to who asks
            self._problem = f"version {version}: {str(error) or type(error).__name__}"
            if new is not None:
                await new.stop()
        else:
            if old is not None:
                await old.stop()
            if new is None:
                self.ended.set()
        finally:
            self._busy = False

    def _remember(
        self, old: str | None, new: str | None, order: dict[str, Any]
    ) -> None:
        if order["tags"]:  # a deployment; what comes back has none
            self._history.append(old)
        elif self._history[-1:] == [new]:
            self._history.pop()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        server = self._live
        if server is None or self._client is None:
            return web.Response(status=502, text="no version is live at this port\n")
        headers = _end_to_end(request.headers)
        server.in_flight += 1
        answer: web.StreamResponse | None = None
        try:
            body = await request.read()
            async with self._client.request(
                request.method,
                server.url + request.raw_path,
                headers=headers,
                data=body or None,
                allow_redirects=False,
            ) as reply:
                answer = web.StreamResponse(
                    status=reply.status, headers=_end_to_end(reply.headers)
                )
                await answer.prepare(request)
                async for part in reply.content.iter_any():
                    await answer.write(part)
                await answer.write_eof()
                return answer
        except aiohttp.ClientError as error:
            if answer is not None:  # a part of it is sent: break off, aloud
                raise
            text = f"version {server.version} does not answer: {type(error).__name__}\n"
            return web.Response(status=502, text=text)
        finally:
            server.in_flight -= 1


def _end_to_end(headers: Any) -> list[tuple[str, str]]:
    return [(k, v) for k, v in headers.items() if k.lower() not in HOP_BY_HOP]


async def _serve(folder: Path, name: str) -> None:
    service, token = Service(folder, name), secrets.token_hex(16)
    if not service.begin():
        return
    front = Front(folder, name, token)
    runner = web.AppRunner(front.app(), handle_signals=False, auto_decompress=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, int(name)).start()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, front.ended.set)
        service.announce(int(name), token)
        await front.ended.wait()
        (folder / f"{name}.json").unlink(missing_ok=True)
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2]))
