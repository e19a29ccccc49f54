"""The folder where a job leaves its results, and its log while it runs."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TextIO

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.job.place import Place
from pytest_llmeval.records.jobs import ARCHIVE
from pytest_llmeval.records.jobs import JUNIT
from pytest_llmeval.records.jobs import LOG
from pytest_llmeval.records.jobs import RESULT
from pytest_llmeval.records.jobs import RUN_MEMBER
from pytest_llmeval.records.jobs import AskedFile
from pytest_llmeval.records.jobs import JobResult
from pytest_llmeval.text import redact


LOG_PAUSE_S = 5.0
LONGEST_SHOWN = 1024 * 1024
"""Bytes of the log that are shown while it grows: each time the file is written anew,
since files in a Volume cannot be added to."""


class Output:
    """Keeps what a job prints and leaves; `result.json` is the last file written.

    Args:
        folder: In a Volume; made where it is not there.

    Raises:
        ConfigurationError: nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = Path(tempfile.mkdtemp(prefix="llmeval-log-")) / LOG
        self._file = self._log.open("w", encoding="utf-8", errors="backslashreplace")
        self._stdout, self._stderr = sys.stdout, sys.stderr
        self._ended, self._shown = threading.Event(), 0
        self._thread = threading.Thread(target=self._show_log, daemon=True)

    def __enter__(self) -> Output:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write_result(JobResult(exit_status=None))  # of an earlier try
        except OSError as error:
            shutil.rmtree(self._log.parent, ignore_errors=True)
            raise ConfigurationError(
                f"cannot write to {self._folder}: {error}; the job's owner needs WRITE "
                "VOLUME there"
            ) from None
        sys.stdout = _Tee(self._stdout, self._file)
        sys.stderr = _Tee(self._stderr, self._file)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.stdout, sys.stderr = self._stdout, self._stderr
        if error is not None:
            self._file.write(f"{type(error).__name__}: {error}\n")
        self._end_log()
        self._file.close()
        shutil.rmtree(self._log.parent, ignore_errors=True)

    def keep(self, place: Place, asked: Sequence[AskedFile], status: int) -> None:
        """Keep a finished suite's reports and run directory, then its result.

        Args:
            place: Where it ran.
            asked: Reports that its arguments asked for.
            status: The exit status of the job.
        """
        run = _newest_run(place.home)
        if place.junit.exists():
            _redact_file(place.junit)
        archive = self._log.with_name(ARCHIVE)
        with tarfile.open(archive, "w:gz") as files:
            if run is not None:
                files.add(run, RUN_MEMBER, filter=_plain)
            for number, one in enumerate(asked):
                report = place.junit if one.is_junit else place.rootdir / one.path
                if report.is_file():
                    files.add(report, f"files/{number}", filter=_plain)
        if place.junit.exists():
            shutil.copyfile(place.junit, self._folder / JUNIT)
        shutil.copyfile(archive, self._folder / ARCHIVE)
        self._end_log()
        run_id = None if run is None else run.name
        self._write_result(JobResult(exit_status=status, run_id=run_id))

    def _write_result(self, result: JobResult) -> None:
        text = json.dumps(result.to_dict())
        (self._folder / RESULT).write_text(text, encoding="utf-8")

    def _end_log(self) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._file.flush()
        shutil.copyfile(self._log, self._folder / LOG)

    def _show_log(self) -> None:
        while not self._ended.wait(LOG_PAUSE_S):
            self._file.flush()
            size = self._log.stat().st_size
            if self._shown < size <= LONGEST_SHOWN:
                shutil.copyfile(self._log, self._folder / LOG)
                self._shown = size


def _newest_run(home: Path) -> Path | None:
    last = home / "last"
    return home / "runs" / last.read_text().strip() if last.exists() else None


def _redact_file(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(redact(text), encoding="utf-8")


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Keep files and folders; what serves the run's own processes is gone by now."""
    return member if member.isfile() or member.isdir() else None


class _Tee(io.TextIOBase):
    """Writes to the task's own output and to the log."""

    def __init__(self, shown: TextIO, kept: TextIO) -> None:
        self._shown, self._kept = shown, kept

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As the task's own output has it."""
        return self._shown.encoding

    def write(self, text: str) -> int:
        """Write to both, secrets taken out: many may read them."""
        shown = redact(text)
        if not self._kept.closed:  # who has kept this may write after the job
            self._kept.write(shown)
        self._shown.write(shown)
        return len(text)

    def flush(self) -> None:
        """Flush what is shown; the log is flushed when it is copied."""
        self._shown.flush()

    def isatty(self) -> bool:
        """Say that nobody is there."""
        return False

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def fileno(self) -> int:
        """Return the task's own, for whoever goes around this."""
        return self._shown.fileno()
