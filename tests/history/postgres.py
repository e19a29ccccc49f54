"""A real PostgreSQL server for tests: nothing is mocked, nothing stays."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


NEEDED = "needs PostgreSQL, Debian's package postgresql"
SYNC_OFF = ("-c", "fsync=off")


def is_installed() -> bool:
    return _program("initdb") is not None and _program("postgres") is not None


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a server; give the URL of its database ``postgres``."""
    # Not in pytest's folders, which are for the user alone that runs pytest.
    with tempfile.TemporaryDirectory(prefix="llmeval-postgres-") as name:
        folder = Path(name)
        account = _account(folder)
        data = folder / "data"
        initdb = [_program("initdb"), "-D", data, "-U", "me", "--auth=trust"]
        _run([*initdb, "--no-sync", "--encoding=UTF8"], folder, account)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        address = ["-h", "127.0.0.1", "-p", str(port), "-k", ""]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [_program("postgres"), "-D", data, *address, *SYNC_OFF],
                stdout=log,
                stderr=log,
                cwd=folder,
                **account,
            )
        try:
            _wait_for(port, server)
            yield f"postgresql://me@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # does not wait for clients
            server.wait(30)


def _run(command: list[Any], folder: Path, account: dict[str, Any]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, check=False, **account
    )
    assert done.returncode == 0, done.stderr


def _program(name: str) -> str | None:
    """Find a program of the server; Debian keeps them apart."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([os.environ["PATH"], *map(str, folders)])
    return shutil.which(name, path=path)


def _account(folder: Path) -> dict[str, Any]:
    """Return for `subprocess` who runs the server: it refuses to be root."""
    if os.getuid() != 0:
        return {}
    shutil.chown(folder, "nobody")
    return {"user": "nobody", "extra_groups": []}


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert server.poll() is None, "PostgreSQL did not start"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return
