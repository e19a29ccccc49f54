"""What a check finds, and how checks run: at the same time, and not for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Literal
from typing import NamedTuple
from typing import TypeVar

from pytest_llmeval.text import one_line


LIMIT_S = 15.0
"""What all checks may take together, in seconds; each probe has a shorter time-out."""
Status = Literal["ok", "note", "problem"]
Subject = TypeVar("Subject")


class Finding(NamedTuple):
    """One thing that was looked at."""

    status: Status
    """A note is worth knowing; a problem keeps the next run from its end."""
    subject: str
    """One word for what was looked at: ``model``, ``store`` …"""
    text: str
    """What is there, or what is wrong."""
    next: str = ""
    """What to do about it; empty when there is nothing to do."""


class SettingLine(NamedTuple):
    """One setting as it is in force."""

    name: str
    value: str
    source: str
    """Where it was set, or ``default``."""


class Diagnosis(NamedTuple):
    """All that was found."""

    rootdir: str
    inifile: str | None
    settings: Sequence[SettingLine]
    """Empty when they cannot be read; the first finding says why."""
    findings: Sequence[Finding]

    @property
    def status(self) -> Status:
        """The worst of all findings."""
        found = {finding.status for finding in self.findings}
        return "problem" if "problem" in found else "note" if "note" in found else "ok"


def run_checks(
    checks: Sequence[Callable[[Subject], Iterable[Finding]]],
    subject: Subject,
    limit_s: float = LIMIT_S,
) -> list[Finding]:
    """Run all checks at the same time; return what they find, in their order.

    Args:
        checks: Each named ``check_…`` after what it looks at.
        subject: What each is given.
        limit_s: After these seconds a check that still runs is left alone.
    """
    running = [_Running(check, subject) for check in checks]
    deadline = time.monotonic() + limit_s
    return [finding for one in running for finding in one.findings(deadline, limit_s)]


class _Running:
    """A check in a thread of its own, which does not keep the process from its end."""

    def __init__(
        self, check: Callable[[Subject], Iterable[Finding]], subject: Subject
    ) -> None:
        self._name = check.__name__.removeprefix("check_")
        self._found: list[Finding] | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(
            target=self._run, args=(check, subject), daemon=True
        )
        self._thread.start()

    def _run(
        self, check: Callable[[Subject], Iterable[Finding]], subject: Subject
    ) -> None:
        try:
            self._found = list(check(subject))
        except Exception as error:  # noqa: BLE001  # the other checks still count
            self._error = error

    def findings(self, deadline: float, limit_s: float) -> Iterator[Finding]:
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._found is not None:
            yield from self._found
        elif self._error is not None:
            kind = type(self._error).__name__
            text = f"the check broke off: {kind}: {one_line(self._error)}"
            yield Finding("problem", self._name, text, "report it as a bug")
        else:
            text = f"the check did not come to its end within {limit_s:g} s"
            yield Finding("problem", self._name, text, "see whether its network hangs")
