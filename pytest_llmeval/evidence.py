"""What happened in a run, as far as its verdict depends on it.

Apart from `verdict`, because it is kept in every pytest run, evaluations or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from pytest_llmeval.records import Decision


# Every pytest run pays for what is generated here.
@dataclass(kw_only=True, repr=False, eq=False)
class Evidence:
    """Tests as collected and reported, gates as decided."""

    executed: bool = True
    """False for ``--collect-only`` and the like."""
    partial: str | None = None
    """The option that selects a part of the tests by what happened before."""
    selection: str | None = None
    """What makes the selection less than the whole suite, ``partial`` included."""
    grouped: bool = False
    """Whether node ids may end with ``@`` and a group, by ``--dist loadgroup``."""
    collected: list[str] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    """passed, missed, failed, skipped, xfailed, xpassed or a plugin's own word: the
    worst of a test's phases and subtests, once its teardown is reported."""
    collection_errors: list[str] = field(default_factory=list)
    collection_skips: list[str] = field(default_factory=list)
    """Modules and classes that were skipped as a whole."""
    teardown_errors: list[str] = field(default_factory=list)
    tries: dict[str, int] = field(default_factory=dict)
    reruns_allowed: bool = False
    lost: list[str] = field(default_factory=list)
    """xdist workers that ended before they said that they had done all."""
    hooks: dict[str, set[str]] = field(default_factory=dict)
    """For each hook of the run's end the files of xdist workers that implement it."""
    stopped: str | None = None
    """Why the run ended early, when it did."""
    decisions: list[Decision] = field(default_factory=list)
    undecided: list[tuple[str, str, str]] = field(default_factory=list)
    """Test, gate and cause, of gates over cases that were not decided."""
    over_budget: str | None = None
    """What the budget left out, when it was reached."""
    evaluation_errors: list[tuple[str | None, str, str]] = field(default_factory=list)
    """Test, reason and message of evaluations that could not be made."""
    exit_status: int = 0
    current: str | None = None
    """The test that runs, or ran last."""
    _unfinished: dict[tuple[str, str], str] = field(default_factory=dict)
    _workers: dict[str, str] = field(default_factory=dict)
    _places: dict[str, int] | None = None

    def started(self, test: str) -> None:
        """Note that a test is set up; what an earlier try of it decided is void."""
        self.current = test = self._name(test)
        self.retried(test, self.tries.get(test, 0) + 1)

    def retried(self, test: str, tries: int, worker: str = "") -> None:
        """Note which try of a test begins, or has begun in a worker."""
        test = self._name(test)
        if tries > self.tries.get(test, 1):
            self._unfinished.pop((test, worker), None)
            self.decisions = [d for d in self.decisions if d.test != test]
            errors = self.evaluation_errors
            self.evaluation_errors = [e for e in errors if e[0] != test]
        self.tries[test] = max(tries, self.tries.get(test, 0))

    def collect(self, tests: Iterable[str]) -> None:
        """Add to the tests that were collected those that are new."""
        names = map(self._name, tests)
        self.collected = list(dict.fromkeys([*self.collected, *names]))

    def reported(
        self, test: str, when: str, outcome: str, *, xfail: bool, worker: str = ""
    ) -> None:
        """Note a phase's report.

        Args:
            test: Its node id.
            when: ``setup``, ``call`` or ``teardown``.
            outcome: ``passed``, ``failed``, ``skipped``, or a plugin's own word.
            xfail: Whether the test was expected to fail.
            worker: Where it ran; with ``--dist each`` it runs in several.
        """
        test = self._name(test)
        if when == "teardown" and outcome == "failed":
            self.teardown_errors.append(test)
        elif when == "call" or outcome != "passed":
            expected = {"passed": "xpassed", "skipped": "xfailed"}
            word = expected.get(outcome, outcome) if xfail else outcome
            known = self._unfinished.setdefault((test, worker), word)
            self._unfinished[test, worker] = max(known, word, key=_badness)
        if when == "teardown":
            word = self._unfinished.pop((test, worker), "failed")
            if self._workers.setdefault(test, worker) != worker:
                word = max(word, self.outcomes.get(test, word), key=_badness)
            self.outcomes[test] = word

    def _name(self, test: str) -> str:
        """Return a node id without the group that xdist may have added to it."""
        if not self.grouped:
            return test
        at = test.find("@", max(test.rfind("::"), test.rfind("]")))
        return test[:at] if at > 0 else test

    def sort_decisions(self) -> None:
        """Put the decisions in the order of their tests."""
        self.decisions.sort(key=lambda decision: self.in_order(decision.test))

    def in_order(self, test: str | None) -> int:
        """Return a test's place in the collection; a marked function's is its first."""
        if self._places is None:
            self._places = {}
            for place, name in enumerate(self.collected):
                self._places.setdefault(name, place)
                self._places.setdefault(name.partition("[")[0], place)
        return self._places.get(test or "", len(self.collected))

    @property
    def rerun(self) -> dict[str, int]:
        """Tests that ran more than once, with the number of tries."""
        return {test: tries for test, tries in self.tries.items() if tries > 1}


def _badness(outcome: str) -> int:
    order = ("passed", "missed", "xpassed", "xfailed", "skipped")
    return order.index(outcome) if outcome in order else len(order)
