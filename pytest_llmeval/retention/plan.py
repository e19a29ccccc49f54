"""From limits to what is to go, and why."""

from __future__ import annotations

import time
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Literal
from typing import NamedTuple

from pytest_llmeval.amounts import size
from pytest_llmeval.cache import held_before
from pytest_llmeval.retention.folder import TRASH
from pytest_llmeval.retention.folder import RunFolder
from pytest_llmeval.retention.folder import changed_at
from pytest_llmeval.retention.folder import folders_in
from pytest_llmeval.retention.folder import read_runs
from pytest_llmeval.retention.folder import size_of
from pytest_llmeval.retention.guards import find_guards
from pytest_llmeval.text import age
from pytest_llmeval.text import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may stay; None sets no limit."""

    older_than_s: float | None = None
    """Of runs, stored predictions and Spark's answers."""
    max_bytes: int | None = None
    """Of the whole folder."""
    keep: int | None = None
    """So many of the newest runs stay; alone, no others do."""
    rows_older_than_s: float | None = None

    def __bool__(self) -> bool:
        given = (self.older_than_s, self.max_bytes, self.keep, self.rows_older_than_s)
        return any(limit is not None for limit in given)


class Doomed(NamedTuple):
    """Something that is to go."""

    kind: Literal["trash", "run", "rows", "answers", "predictions"]
    name: str
    size_bytes: int
    why: str
    paths: tuple[Path, ...] = ()
    before: float | None = None
    """Predictions that were stored before, Unix time in seconds."""
    limit_bytes: int | None = None
    """Or the size that the oldest predictions have to make room for."""


@dataclass(kw_only=True)
class Plan:
    """What is to go, and what stays although it is beyond a limit."""

    total_bytes: int
    remove: list[Doomed] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    """Run ids, with the reasons why they stay."""

    @property
    def freed_bytes(self) -> int:
        """What is to go takes so much."""
        return sum(one.size_bytes for one in self.remove)

    @property
    def left_bytes(self) -> int:
        """What stays takes so much."""
        return self.total_bytes - self.freed_bytes


def make_plan(home: Path, limits: Limits, named: Iterable[str] = ()) -> Plan:
    """Decide what goes; changes nothing.

    Args:
        home: The ``.llmeval`` folder.
        limits: What may stay.
        named: The baselines that the gate manifest names.

    Raises:
        ConfigurationError: the books of deployments, or stored predictions, cannot be
            read.
    """
    plan = Plan(total_bytes=size_of(home))
    trash = home / TRASH
    if trash.is_dir() and not trash.is_symlink():
        why = "an llmeval gc that did not come to its end has left it"
        plan.remove.append(Doomed("trash", TRASH, size_of(trash), why))
    _Planner(home, limits, plan, named).decide()
    return plan


class _Planner:
    def __init__(
        self, home: Path, limits: Limits, plan: Plan, named: Iterable[str]
    ) -> None:
        self._home, self._limits, self._plan = home, limits, plan
        self._now, self._runs = time.time(), read_runs(home)
        self._guards = find_guards(home, self._runs, named)
        newest = self._runs[-limits.keep :] if limits.keep else []
        self._newest = {run.run_id for run in newest}

    def decide(self) -> None:
        """Fill the plan."""
        gone = self._decide_runs()
        left = [run for run in self._runs if run.run_id not in gone]
        without_rows = self._decide_rows(left)
        self._decide_answers(left)
        self._decide_predictions()
        if self._limits.max_bytes is not None:
            self._make_room(left, without_rows)

    def _decide_runs(self) -> set[str]:
        gone = {
            run.run_id: why
            for run in self._runs
            if (why := self._too_old(run)) and self._may_go(run)
        }
        for run in self._runs:
            if run.run_id not in gone:
                for baseline in run.baselines:
                    why = f"it is the baseline of {run.run_id}"
                    self._guards.setdefault(baseline, why)
                    if gone.pop(baseline, None):
                        self._plan.kept[baseline] = why
        for run in self._runs:
            if run.run_id in gone:
                self._remove_run(run, gone[run.run_id])
        return set(gone)

    def _too_old(self, run: RunFolder) -> str | None:
        limits, old_s = self._limits, self._now - run.ended_at
        if run.run_id in self._newest:
            return None
        if limits.older_than_s is not None:
            return age(old_s) + " old" if old_s > limits.older_than_s else None
        if limits.keep is not None and limits.max_bytes is None:
            return f"not one of the newest {limits.keep}"
        return None

    def _may_go(self, run: RunFolder) -> bool:
        """Return whether nothing holds a run that a limit wants away."""
        reason = self._guards.get(run.run_id)
        if reason is not None:
            self._plan.kept[run.run_id] = reason
        return reason is None

    def _decide_rows(self, left: Sequence[RunFolder]) -> set[str]:
        limit, gone = self._limits.rows_older_than_s, set()
        for run in left if limit is not None else ():
            old_s = self._now - run.ended_at
            if run.rows and old_s > limit and self._may_go(run):  # type: ignore[operator]  # there is one
                self._remove_rows(run, f"{age(old_s)} old")
                gone.add(run.run_id)
        return gone

    def _decide_answers(self, left: Sequence[RunFolder]) -> None:
        """Let Spark's answers go that no run's rows lie beside, and none is running."""
        limit = self._limits.older_than_s
        if limit is None or "it is running" in self._guards.values():
            return
        used = {path.parent.parent for run in left for path in run.paths[1:]}
        for path in folders_in(self._home / "spark"):
            old_s = self._now - changed_at(path)
            if old_s > limit and path not in used and path.name != "newest":
                tables = {table for one in self._plan.remove for table in one.paths}
                inside = sum(size_of(one) for one in tables if path in one.parents)
                self._plan.remove.append(
                    Doomed(
                        "answers",
                        path.name,
                        size_of(path) - inside,
                        f"{age(old_s)} old",
                        (path,),
                    )
                )

    def _decide_predictions(self) -> None:
        limit, path = self._limits.older_than_s, self._home / "predictions.db"
        if limit is None or path.is_symlink() or not path.is_file():
            return
        before = self._now - limit
        number, size_bytes = held_before(path, before)
        if number:
            why = f"{counted(number, 'prediction')} older than {age(limit)}"
            self._plan.remove.append(
                Doomed("predictions", path.name, size_bytes, why, before=before)
            )

    def _make_room(self, left: Sequence[RunFolder], without_rows: set[str]) -> None:
        """Let go until the rest fits: rows, then runs, then predictions; oldest first.

        A verdict is small and tells the history, and an answer costs to ask for again.
        """
        most = self._limits.max_bytes or 0
        why = f"the folder takes more than {size(most)}"
        free = [run for run in left if run.run_id not in self._newest]
        for run in free:
            has_rows = bool(run.rows) and run.run_id not in without_rows
            if self._plan.left_bytes > most and has_rows and self._may_go(run):
                self._remove_rows(run, why)
        for run in free:
            if self._plan.left_bytes > most and self._may_go(run):
                self._forget_rows(run)
                self._remove_run(run, why)
        path, over = self._home / "predictions.db", self._plan.left_bytes - most
        if over > 0 and path.is_file() and not path.is_symlink():
            self._make_room_in(path, over, why)

    def _make_room_in(self, path: Path, over: int, why: str) -> None:
        self._plan.remove = [o for o in self._plan.remove if o.kind != "predictions"]
        over = self._plan.left_bytes - (self._limits.max_bytes or 0)
        held, limit = size_of(path), max(size_of(path) - over, 0)
        self._plan.remove.append(
            Doomed("predictions", path.name, held - limit, why, limit_bytes=limit)
        )

    def _forget_rows(self, run: RunFolder) -> None:
        ours = ("rows", run.run_id)
        self._plan.remove = [one for one in self._plan.remove if one[:2] != ours]

    def _remove_run(self, run: RunFolder, why: str) -> None:
        self._plan.remove.append(
            Doomed("run", run.run_id, run.size_bytes, why, run.paths)
        )

    def _remove_rows(self, run: RunFolder, why: str) -> None:
        self._plan.remove.append(
            Doomed("rows", run.run_id, run.rows_bytes, why, run.rows)
        )
