"""Has what passed go live after the suite, or what failed taken back."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_llmeval.job.place import bring


COMMAND = "import sys; from pytest_llmeval.cli import main; sys.exit(main())"
BLOCKED, BROKEN = 10, (11, 12)
"""Exit statuses of ``llmeval deploy``: refused; failed, everything as before or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What goes live after a suite, decided where none of the suite's code has run."""

    suite: Path
    """As it was sent; the copy in which pytest has run may be another by then."""
    cwd: str
    target: str
    """As ``llmeval deploy`` takes it."""
    rollback: bool
    """Whether the version that has failed a gate is taken back."""
    environment: Mapping[str, str]
    """From before the suite, with the key that verdicts are signed with."""

    def follow(self, home: Path, status: int) -> int:
        """Deploy on a pass, take back on a failed gate; return the job's exit status.

        Args:
            home: The ``.llmeval`` folder of the run.
            status: How pytest ended.
        """
        last = home / "last"
        if not last.exists():
            if status == 0:
                sys.stdout.write("not deployed: NO_GATES: nothing was evaluated\n")
            return status or BLOCKED
        verdict = home / "runs" / last.read_text().strip() / "verdict.json"
        if status == 0:
            model = json.loads(verdict.read_bytes())["model"] or {}
            step = "promote" if model.get("scheme") == "endpoints" else "apply"
            return self._run(step, "--verdict", str(verdict), "--dir", str(home))
        if not self.rollback:
            return status
        failed = ("--failed", str(verdict), "--dir", str(home))
        ended = self._run("rollback", *failed)
        return ended if ended in BROKEN else status

    def _run(self, step: str, *more: str) -> int:
        # -P: the suite's folder is no place for modules of ours and Python's own.
        command = (sys.executable, "-P", "-c", COMMAND, "deploy", step)
        with tempfile.TemporaryDirectory(prefix="llmeval-deploy-") as folder:
            rootdir = Path(folder).resolve() / "suite"
            bring(self.suite, rootdir)
            done = subprocess.run(  # noqa: S603  # our own command
                (*command, "--target", self.target, "--yes", *more),
                cwd=rootdir / self.cwd,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
        sys.stdout.write(done.stdout)  # which is kept in the log
        return done.returncode
