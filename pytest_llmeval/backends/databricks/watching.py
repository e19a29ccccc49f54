"""Waits for a run, and tells what it does."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from types import TracebackType
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.backends.databricks.runs import Look
from pytest_llmeval.backends.databricks.runs import Runs
from pytest_llmeval.backends.databricks.storage import download
from pytest_llmeval.backends.databricks.storage import read
from pytest_llmeval.backends.databricks.workspace import WorkspaceError
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.records.jobs import LOG
from pytest_llmeval.records.jobs import RESULT
from pytest_llmeval.records.jobs import JobResult
from pytest_llmeval.text import age
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe


if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient


SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 2.0
"""Between two looks: so late is the end of a run seen at most."""
PAUSES_PER_WAIT = 20
"""Between the two, a twentieth of what the run has taken."""
LOG_PAUSE_S = 5.0
LONGEST_LOG = 2 * 1024 * 1024
"""Bytes that are shown at once: a log may be larger than memory."""
STILL_S = 60.0
"""Between two lines that say that nothing has changed."""
LOST_S = 900.0
"""How long the workspace may not answer before we give up; the run goes on."""
CANCEL_S = 120.0
INTERRUPTED = b"interrupted; ending the run (once more to leave it as it is)\n"
Tell = Callable[[str], None]


class LostRun(LLMEvalError, RuntimeError):
    """The workspace does not answer any more; whether the run goes on is not known."""


class Interruptions:
    """Notes Ctrl-C, SIGTERM and SIGHUP: no run is forgotten between two requests.

    A second one is raised as ever.
    """

    def __init__(self) -> None:
        self._noted = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruptions:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as by nohup
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted.set()
        self._restore()
        # No print: it may have come in the middle of one. The terminal may be gone.
        with suppress(OSError):
            os.write(2, INTERRUPTED)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def noted(self) -> bool:
        """Whether there was one."""
        return self._noted.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait; return at once, and True, when there is one or was one."""
        return self._noted.wait(seconds)


class Watch:
    """Looks at a run until it ends.

    Args:
        client: Of the workspace.
        out: The folder in a Volume where the run leaves its results.
        tell: Shows a line to the user.
    """

    def __init__(self, client: WorkspaceClient, out: str, tell: Tell) -> None:
        self._client, self._runs, self._out = client, Runs(client), out
        self._tell, self._shown, self._logged_at = tell, 0, 0.0

    def until_ended(
        self, run_id: int, wait: Callable[[float], bool], timeout_s: float | None
    ) -> Look:
        """Return the run once it has ended, or when it should be cancelled.

        Args:
            run_id: Of the run.
            wait: Waits for some seconds, and returns whether to stop.
            timeout_s: How long it may take at most.

        Raises:
            LostRun: the workspace has not answered for `LOST_S` seconds.
            WorkspaceError: it refuses to tell.
        """
        started = told = time.monotonic()
        said = ""
        while True:
            look = self._look(run_id)
            now = time.monotonic()
            self._show_log(look)
            if str(look) != said or now - told > STILL_S:
                said, told = str(look), now
                self._tell(f"{one_line(said, 500)} ({age(now - started)})")
            if look.has_ended:
                return look
            if timeout_s is not None and now - started > timeout_s:
                self._tell(f"it takes longer than {age(timeout_s)}; ending the run")
                return look
            if wait(_pause(now - started)):
                return look

    def cancel(self, run_id: int) -> Look:
        """Cancel a run and return it as it ends, which may be by itself before that.

        Raises:
            LostRun: it has not ended after `CANCEL_S` seconds.
            WorkspaceError: the workspace refuses.
        """
        self._runs.cancel(run_id)
        until = time.monotonic() + CANCEL_S
        while time.monotonic() < until:
            look = self._look(run_id)
            if look.has_ended:
                self._tell(one_line(look, 500))
                return look
            time.sleep(SHORTEST_PAUSE_S)
        raise LostRun(
            f"the run {run_id} was cancelled and is {one_line(look)} after "
            f"{age(CANCEL_S)}; look at {look.url}"
        )

    def last_words(self, look: Look) -> list[str]:
        """Return what a run has printed at its end; nothing that was shown already."""
        lines = self._runs.said(look)
        return lines[-1:] if self._shown else lines

    def result(self) -> JobResult | None:
        """Return what the run has left, or None when it has not come to its end.

        Raises:
            WorkspaceError: it cannot be read, or is no result.
        """
        content = read(self._client, f"{self._out}/{RESULT}")
        if content is None:
            return None
        try:
            return JobResult.from_dict(json.loads(content))
        except (ValueError, AttributeError) as error:
            raise WorkspaceError(
                f"{self._out}/{RESULT} is not what a job has written: "
                f"{one_line(error, 200)}"
            ) from error

    def _look(self, run_id: int) -> Look:
        """Look at a run, through failures of the network and of the workspace."""
        until = time.monotonic() + LOST_S
        while True:
            try:
                return self._runs.look(run_id)
            except WorkspaceError as error:
                if not error.is_passing:
                    raise
                if time.monotonic() > until:
                    raise LostRun(
                        f"no word of the run {run_id} for {age(LOST_S)} ({error}); it "
                        f"may go on. Wait for it with: llmeval databricks wait {run_id}"
                    ) from None
                self._tell(f"no answer, trying again: {one_line(error, 200)}")
                time.sleep(SHORTEST_PAUSE_S)

    def _show_log(self, look: Look) -> None:
        """Show the lines of the log that are new."""
        now = time.monotonic()
        is_early = now - self._logged_at < LOG_PAUSE_S and not look.has_ended
        if look.state == "PENDING" or is_early:
            return
        self._logged_at = now
        with suppress(WorkspaceError):  # it is not what decides
            start, new = self._new_log()
            end = len(new) if look.has_ended else new.rfind(b"\n") + 1
            if start > self._shown:
                left_out = start - self._shown
                self._tell(f"| ({left_out:,} bytes are left out: {self._out}/{LOG})")
            for line in new[:end].decode("utf-8", "replace").splitlines():
                self._tell(f"| {safe(line, 500)}".rstrip())
            self._shown = start + end

    def _new_log(self) -> tuple[int, bytes]:
        """Return what of the log is new, its end where it is long, and its place."""
        with tempfile.TemporaryFile() as file:
            download(self._client, f"{self._out}/{LOG}", file)
            start = max(self._shown, file.tell() - LONGEST_LOG)
            file.seek(start)
            return start, file.read()


def _pause(waited_s: float) -> float:
    return min(max(waited_s / PAUSES_PER_WAIT, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
