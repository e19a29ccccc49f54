"""What a job and whoever waits for it say to each other: by files in one folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from typing import NamedTuple

from pytest_llmeval.errors import ConfigurationError


RESULT = "result.json"
LOG = "pytest.log"
JUNIT = "junit.xml"
ARCHIVE = "results.tar.gz"
RUN_MEMBER = "run"
"""The folder of the archive with the run's directory."""
SUITE_NAME = re.compile(r"suite-[0-9a-f]{64}\.tar\.gz")
RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
REPORT_OPTIONS = ("--llmeval-markdown", "--llmeval-html")
JUNIT_OPTIONS = ("--junitxml", "--junit-xml")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """How a job's suite ended."""

    exit_status: int | None
    """pytest's own, or that of the deployment after it; None until the end."""
    run_id: str | None = None
    """Names the run; None where nothing was evaluated."""

    def to_dict(self) -> dict[str, Any]:
        """Return it in builtins."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> JobResult:
        """Read what `to_dict` gave.

        Raises:
            ValueError: it is not that.
        """
        status, run_id = given.get("exit_status"), given.get("run_id")
        # Beyond 255 a process would end with the rest of a division: 256 is 0.
        is_status = status is None or (type(status) is int and 0 <= status <= 255)
        if not is_status or not (run_id is None or RUN_ID.fullmatch(str(run_id))):
            raise ValueError(f"not the result of a job: {dict(given)!r:.200}")
        return cls(exit_status=status, run_id=run_id)


def suite_name(content: bytes) -> str:
    """Return the name of an archive with a suite, which holds its digest."""
    return f"suite-{hashlib.sha256(content).hexdigest()}.tar.gz"


class AskedFile(NamedTuple):
    """A report that an argument of pytest asks for."""

    path: str
    """From the rootdir; that of the junit file from the working directory."""
    is_junit: bool


def asked_files(arguments: Sequence[str]) -> list[AskedFile]:
    """Return the reports that pytest's arguments ask for, to be brought home.

    Raises:
        ConfigurationError: a path is absolute or leaves its folder.
    """
    found = []
    for at, argument in enumerate(arguments):
        option, has_value, value = argument.partition("=")
        if option not in (*REPORT_OPTIONS, *JUNIT_OPTIONS):
            continue
        if not has_value:
            value = arguments[at + 1] if at + 1 < len(arguments) else ""
        if not value or PurePath(value).is_absolute() or ".." in PurePath(value).parts:
            raise ConfigurationError(
                f"{option} {value!r} is on a machine that is gone after the job; give "
                "a relative path, which is written here when the job has ended"
            )
        found.append(AskedFile(value, is_junit=option in JUNIT_OPTIONS))
    return found
