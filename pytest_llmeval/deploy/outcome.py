"""How a deployment ended, in a word, a sentence and an exit status."""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

from pytest_llmeval.records import Plan


DONE = ("DEPLOYED", "NOOP", "DRY_RUN", "RESTORED")
"""What was asked for is so: it was deployed, was live already, would be deployed, or
what was live before is live again because that was asked for."""
RESTORED_REASONS = ("ROLLED_BACK", "DEPLOY_FAILED")
# Apart from pytest's own, which are 0 to 5.
BLOCKED_STATUS, RESTORED_STATUS, BROKEN_STATUS = 10, 11, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a deployment did."""

    target: str
    reason: str
    """One of `DONE`; ``ROLLED_BACK`` or ``DEPLOY_FAILED`` when it failed and everything
    is as before; ``ROLLBACK_FAILED``; or why it was refused."""
    message: str
    plans: tuple[Plan, ...] = ()
    attempt: str = ""
    """Which try this is on the same data, for people."""

    @property
    def ok(self) -> bool:
        """Whether what was asked for is so."""
        return self.reason in DONE

    @property
    def exit_status(self) -> int:
        """0, or 10 refused, 11 failed and as before, 12 failed and not as before."""
        if self.ok:
            return 0
        if self.reason in RESTORED_REASONS:
            return RESTORED_STATUS
        return BROKEN_STATUS if self.reason == "ROLLBACK_FAILED" else BLOCKED_STATUS

    @property
    def details(self) -> list[str]:
        """What changes, or would, a line for each; then what a person should know."""
        lines = [
            line
            for plan in self.plans
            for line in (*(f"~ {text}" for text in plan.changes), *plan.notes)
        ]
        return [*lines, self.attempt] if self.attempt else lines

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON builtins, with the exit status."""
        return {**asdict(self), "exit_status": self.exit_status}

    @property
    def line(self) -> str:
        """What a person reads of it, on one line."""
        words = {
            "DEPLOYED": "deployed",
            "NOOP": "nothing to deploy",
            "DRY_RUN": "would be deployed",
            "RESTORED": "rolled back",
        }
        word = words.get(self.reason, f"not deployed: {self.reason}")
        return f"{word}: {self.message}"
