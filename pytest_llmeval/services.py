"""Processes that the workers of a run share, found by files in the run's directory.

The process that needs a service first starts it, in a session of its own, so that it
outlives whoever started it. A service holds a lock for as long as it lives, which the
kernel drops with it, however it ends: so no process id has to be trusted.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock
from filelock import Timeout

from pytest_llmeval.errors import ServiceError
from pytest_llmeval.text import one_line


START_S = 60.0
STOP_S = 5.0
PAUSE_S = 0.02
LOG_BYTES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a service listens."""

    port: int
    """Of 127.0.0.1."""
    token: str = field(repr=False)
    """A secret that clients of the run know from the service's file."""
    pid: int


class Service:
    """One service of a run, seen from its clients and from itself.

    Args:
        folder: Where the run's processes leave the addresses of services.
        name: Names the service's files; one process at most serves under it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.json"
        self._log = folder / f"{name}.log"
        self._starting = folder / f"{name}.starting"
        self._life = FileLock(folder / f"{name}.life", thread_local=False)
        self._users = folder / f"{name}.users"

    def find_or_start(self, module: str, arguments: Sequence[str]) -> Address:
        """Return where the service listens; start it when it does not live.

        Args:
            module: Serves when Python runs it, with folder and name as the first
                arguments; it calls `begin`, then `announce`.
            arguments: Further ones.

        Raises:
            ServiceError: it ended, or took too long, before it had an address.
        """
        folder, name = self._file.parent, self._file.stem
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._starting):
                process = None
                if not self._lives():
                    self._file.unlink(missing_ok=True)
                    process = self._start(module, [str(folder), name, *arguments])
                return self._await_address(process)
        except OSError as error:
            raise ServiceError(
                f"cannot start {name} in {folder}: {error}; choose another folder with "
                "--llmeval-dir"
            ) from None

    def begin(self) -> bool:
        """Take the name for this process; False when another one serves under it."""
        try:
            # Not at once: a client may be looking whether somebody has it.
            self._life.acquire(timeout=1.0)
        except Timeout:
            return False
        return True

    def announce(self, port: int, token: str) -> None:
        """Tell clients that this process now listens."""
        address = Address(port=port, token=token, pid=os.getpid())
        # Such a file is readable by its owner only.
        descriptor, scratch = tempfile.mkstemp(dir=self._file.parent)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(asdict(address), file)
        Path(scratch).replace(self._file)

    def hold(self) -> BinaryIO:
        """Note that this process uses the service, for as long as the file is open."""
        import fcntl

        file = self._users.open("ab")
        fcntl.flock(file, fcntl.LOCK_SH)
        return file

    def await_disuse(self, idle_s: float) -> None:
        """Return when nobody has held the service for some seconds.

        A lock says so, which the kernel drops with its process, however that ends.
        """
        import fcntl

        idle_since = time.monotonic()
        with self._users.open("ab") as file:
            while time.monotonic() - idle_since < idle_s:
                time.sleep(1.0)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    idle_since = time.monotonic()
                else:
                    fcntl.flock(file, fcntl.LOCK_UN)

    def stop(self) -> None:
        """End the service if it lives; one that has no address yet ends by itself."""
        with suppress(OSError), FileLock(self._starting, timeout=STOP_S):
            if self._file.exists() and self._lives():
                os.kill(self._read().pid, signal.SIGTERM)
                self._life.acquire(timeout=STOP_S)
                self._life.release()

    def lives(self) -> bool:
        """Return whether it lives, or is about to."""
        try:
            with FileLock(self._starting, timeout=0):
                return self._lives()
        except Timeout:
            return True

    def _lives(self) -> bool:
        # Only under the lock for starting: two that look see each other.
        try:
            self._life.acquire(blocking=False)
        except Timeout:
            return True
        self._life.release()
        return False

    def _read(self) -> Address:
        return Address(**json.loads(self._file.read_bytes()))

    def _start(self, module: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        # -P: a file of the suite must not be imported in place of an installed module.
        command = [sys.executable, "-P", "-m", module, *arguments]
        with self._log.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  # our own interpreter
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Reaps it; and a Popen that is dropped warns that its process still runs.
        threading.Thread(target=process.wait, daemon=True).start()
        return process

    def _await_address(self, process: subprocess.Popen[bytes] | None) -> Address:
        """Wait for the address, of a process that somebody else started when None."""
        deadline = time.monotonic() + START_S
        while not self._file.exists():
            has_ended = process is None or process.returncode is not None
            if has_ended and not self._lives():
                raise ServiceError(f"{self._file.stem} ended at once: {self._said()}")
            if time.monotonic() > deadline:
                if process is not None:
                    process.kill()
                raise ServiceError(
                    f"{self._file.stem} did not listen within {START_S:g} s: "
                    f"{self._said()}"
                )
            time.sleep(PAUSE_S)
        return self._read()

    def _said(self) -> str:
        said = self._log.read_bytes()[-LOG_BYTES:].decode("utf-8", "replace")
        return one_line(said, 500) or "it said nothing"


def lives_in(folder: Path) -> bool:
    """Return whether a service of a run lives."""
    return any(Service(folder, file.stem).lives() for file in folder.glob("*.life"))


def stop_all(folder: Path) -> None:
    """Stop every service of a run, and remove its files."""
    for file in folder.glob("*.json"):
        Service(folder, file.stem).stop()
    shutil.rmtree(folder, ignore_errors=True)
