"""What a deployment is planned from, and what a target has to give for it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Literal
from typing import Protocol
from typing import runtime_checkable

from pytest_llmeval.text import utc


Step = Literal["deploy", "challenge", "promote", "withdraw", "rollback"]
Live = Mapping[str, Any]
"""What is live at a target, in builtins and in the target's own form. Two of them are
equal when nothing differs that the target would write. It is kept in files, so it
holds no secret; what else a target preserves it reads again when it writes."""
Note = Callable[[str], None]
"""Keeps a line for a write, before it is made: ``PUT /serving-endpoints/qa/config``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """How far a version is to go."""

    step: Step = "deploy"
    traffic: int = 100
    """The share of requests that it gets at a serving endpoint, in percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a target says of itself."""

    live: Live
    text: str
    """A phrase for people: ``version 3``, ``nothing``."""
    busy: bool = False
    """Whether it is changing to something else, and will come to an end with that."""
    challenger: bool = False
    """Whether a second version has a share of the traffic."""
    problem: str = ""
    """Why its last change did not succeed."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What the version that is live carries: its run, verdict and commit."""

    @property
    def deployed_at(self) -> str:
        """When a deployment has made it live, as text that sorts by time."""
        return self.tags.get("llmeval.deployed_at", "")

    def is_deployed_since(self, started_at: float) -> bool:
        """Return whether a deployment came after a moment, Unix time in seconds."""
        return self.deployed_at > utc(started_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a deployment does at one target; nothing when `before` is `after`."""

    target: str
    before: Live
    """Comes back when the deployment fails."""
    after: Live
    changes: tuple[str, ...]
    """A line for people for each thing that changes; empty when all is as wanted."""
    summary: str
    """One sentence for people: ``registry:qa@champion: version 2 -> version 3``."""
    notes: tuple[str, ...] = ()
    """What a person should know before they agree."""


class DeployTarget(Protocol):
    """A place where a model version can go live.

    Planning, waiting, reading back, rolling back and keeping books are not its work.
    """

    name: str
    """As the user wrote it: ``registry:qa@champion``."""
    place: str
    """What it is in the world, the same from every process on a machine."""
    order: int
    """Targets of a lower order are changed first: what serves (0) before what only
    names the version that is live (1)."""

    def read(self) -> State:
        """Return what is live now; changes nothing."""

    def plan(self, verdict: Mapping[str, Any] | None, move: Move, state: State) -> Plan:
        """Compare what is wanted with what is live; changes nothing.

        Args:
            verdict: A complete one that passed; None for the steps ``withdraw``, which
                takes a challenger away, and ``rollback``, which returns to what was
                live before, as the world itself tells it.
            move: How far the version is to go.
            state: What `read` has just returned.

        Raises:
            DeploymentRefused: the world is not as the verdict saw it.
        """

    def write(
        self, before: Live, after: Live, tags: Mapping[str, str], note: Note
    ) -> None:
        """Change what is live from one state to another, and return without waiting.

        Called again after a crash: what is done already is left alone.

        Args:
            before: What is live unless somebody else has changed it meanwhile.
            after: What is to be live.
            tags: What the version is to carry from then on, for people and baselines;
                empty when an earlier state comes back.
            note: Called before each write.

        Raises:
            DeploymentRefused: SUPERSEDED: neither of the two is live, so somebody else
                has deployed; nothing was written.
        """


@runtime_checkable
class BaselineTarget(Protocol):
    """A target that remembers which run evaluated the version that is live there."""

    def live(self) -> tuple[str, Mapping[str, str]]:
        """Return the version that is live, and its tags.

        Raises:
            DeploymentRefused: none is.
        """

    def mark(self, version: str, tags: Mapping[str, str]) -> None:
        """Tag a version; what is live stays."""
