"""Sessions drawn at random, on the state machine: what must not go live never does.

A session has a number of defects, which are known because it was made with them; the
judge, the refusals and the deployer see only what a session leaves. Targets fail, lose
answers, are changed by others, and the process dies between two lines.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pytest_llmeval.config import Settings
from pytest_llmeval.deploy.deployer import Deployer
from pytest_llmeval.deploy.deployer import Order
from pytest_llmeval.evidence import Evidence
from pytest_llmeval.gate import explain
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.provenance import Provenance
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Gate
from pytest_llmeval.records import ModelRef
from pytest_llmeval.verdict import Manifest
from pytest_llmeval.verdict import judge
from pytest_llmeval.verdict import manifest_entry
from pytest_llmeval.verdict import verdict_document
from tests.unit.file_target import MANIFEST_DIGEST
from tests.unit.file_target import FileTarget
from tests.unit.file_target import Targets
from tests.unit.file_target import write_manifest


FAULTS = ("", "refuse", "ignore", "lose", "never")
OLD, NEW, THEIRS = "1", "2", "7"
MODEL = ModelRef(
    scheme="models", name="m", version=NEW, pinned=True, requested="models:/m/2"
)
PROVENANCE = Provenance(
    commit="c1", branch="main", dirty=False, ci_url=None, versions={}
)


class Killed(BaseException):
    """The process ends here: nothing that would run after it runs."""


class Session:
    """What a session leaves, sound but for the defects that were drawn into it."""

    def __init__(self, draw: random.Random) -> None:
        self._draw, self.defects = draw, list[str]()
        self.tests = [f"t.py::test_{n}" for n in range(draw.randint(1, 4))]
        self.decisions = [self._decision(test) for test in self.tests]
        self.manifest: Manifest | None = Manifest(
            path=Path("gates.toml"),
            digest=MANIFEST_DIGEST,
            gates=tuple(manifest_entry(decision) for decision in self.decisions),
        )
        self.evidence = Evidence(
            collected=list(self.tests),
            outcomes=dict.fromkeys(self.tests, "passed"),
            tries=dict.fromkeys(self.tests, 1),
        )
        self.provenance, self.age_s = PROVENANCE, 0.0
        for _ in range(draw.choice((0, 0, 0, 1, 1, 2))):
            name = draw.choice(sorted(DEFECTS))
            if name not in self.defects:
                self.defects.append(name)
                DEFECTS[name](self)

    def _decision(self, test: str) -> Decision:
        return Decision(
            gate=Gate(metric="rouge1", op=">=", threshold=0.4, confidence=0.95),
            status="pass",
            reason="OK",
            test=test,
            n=200,
            rows=200,
            value=0.45,
            model=MODEL,
            dataset_digest="sha256:d",
            request_digest="sha256:r",
        )

    @property
    def any(self) -> int:
        """The number of one of the tests."""
        return self._draw.randrange(len(self.tests))

    def change(self, **changes: object) -> None:
        """Change one of the decisions."""
        if self.decisions:  # an earlier defect may have left none
            number = self._draw.randrange(len(self.decisions))
            self.decisions[number] = replace(self.decisions[number], **changes)

    def end(self, word: str) -> None:
        """Have one of the tests come out otherwise."""
        self.evidence.outcomes[self.tests[self.any]] = word

    def verdict(self) -> dict[str, object]:
        self.evidence.decisions = self.decisions
        status, reason, detail = judge(self.evidence, self.manifest)
        now = time.time() - self.age_s
        return verdict_document(
            run_id="run-1",
            status=status,
            reason=reason,
            detail=detail,
            evidence=self.evidence,
            gates=[{**one.to_dict(), "text": explain(one)} for one in self.decisions],
            manifest=self.manifest,
            provenance=self.provenance.to_dict(),
            evaluations=[],
            times=(now - 10, now),
        )


def _drop_test(session: Session) -> None:
    """Deselect one of the tests, or ignore its file."""
    test = session.tests[session.any]
    session.evidence.collected.remove(test)
    session.evidence.outcomes.pop(test, None)
    session.decisions = [one for one in session.decisions if one.test != test]


def _ungated(session: Session) -> None:
    test = session.tests[session.any]
    session.decisions = [one for one in session.decisions if one.test != test]


def _unlisted(session: Session) -> None:
    gate = Gate(metric="rougeL", op=">=", threshold=0.4, confidence=0.95)
    unlisted = replace(session._decision(session.tests[session.any]), gate=gate)
    session.decisions.append(unlisted)


def _no_manifest(session: Session) -> None:
    session.manifest = None


def _lax(session: Session) -> None:
    """Judge by another manifest than the project's."""
    if session.manifest is not None:
        session.manifest = replace(session.manifest, digest="sha256:lax")


def _lower_bar(session: Session) -> None:
    gate = Gate(metric="rouge1", op=">=", threshold=0.1, confidence=0.95)
    session.change(gate=gate)


def _point(session: Session) -> None:
    gate = Gate(metric="rouge1", op=">=", threshold=0.4)
    session.decisions = [replace(one, gate=gate) for one in session.decisions]
    session.manifest = replace(
        session.manifest or Manifest(path=Path("g"), digest=MANIFEST_DIGEST, gates=()),
        gates=tuple(manifest_entry(one) for one in session.decisions),
    )


def _unpinned(session: Session) -> None:
    model = replace(MODEL, scheme="http", pinned=False)
    session.decisions = [replace(one, model=model) for one in session.decisions]


DEFECTS = {
    "collection error": lambda s: s.evidence.collection_errors.append("u.py"),
    "deselected": _drop_test,
    "dirty": lambda s: setattr(s, "provenance", replace(PROVENANCE, dirty=True)),
    "error": lambda s: s.change(status="error", reason="ROWS_MISSING"),
    "exit status": lambda s: setattr(s.evidence, "exit_status", 3),
    "failed": lambda s: s.change(status="fail", reason="GATE_FAILED"),
    "failed test": lambda s: s.end("failed"),
    "inconclusive": lambda s: s.change(status="inconclusive", reason="INCONCLUSIVE"),
    "interrupted": lambda s: setattr(s.evidence, "stopped", "interrupted"),
    "lax manifest": _lax,
    "lost worker": lambda s: s.evidence.lost.append("gw1"),
    "lower bar": _lower_bar,
    "mixed models": lambda s: s.decisions.append(
        replace(s._decision(s.tests[0]), model=replace(MODEL, version="9"))
    ),
    "no commit": lambda s: setattr(s, "provenance", replace(PROVENANCE, commit=None)),
    "no manifest": _no_manifest,
    "not executed": lambda s: setattr(s.evidence, "executed", False),
    "not gated": _ungated,
    "not reported": lambda s: s.evidence.outcomes.pop(s.tests[s.any], None),
    "old": lambda s: setattr(s, "age_s", 90_000.0),
    "other commit": lambda s: setattr(s, "provenance", replace(PROVENANCE, commit="0")),
    "over budget": lambda s: setattr(s.evidence, "over_budget", "3 rows"),
    "partial": lambda s: setattr(s.evidence, "partial", "--lf"),
    "point gate": _point,
    "rerun": lambda s: s.evidence.tries.update({s.tests[s.any]: 3}),
    "skipped": lambda s: s.end("skipped"),
    "teardown": lambda s: s.evidence.teardown_errors.append(s.tests[s.any]),
    "unlisted": _unlisted,
    "unpinned": _unpinned,
    "xfailed": lambda s: s.end("xfailed"),
    "xpassed": lambda s: s.end("xpassed"),
}


def play(seed: int, folder: Path) -> tuple[str, list[str]]:
    """Let one session happen; return how it ended, and what is wrong with that."""
    draw = random.Random(seed)
    session = Session(draw)
    targets = [
        FileTarget(folder / f"target{n}", order=draw.randint(0, 1))
        for n in range(draw.randint(1, 3))
    ]
    for target in targets:
        target.path.write_text(OLD)
        if draw.random() < 0.3:
            target.faults = draw.choices(FAULTS, k=2)
    write_manifest(folder)
    raced = _disturb(draw, targets)
    manager = headless_manager()
    manager.register(Targets(*targets))
    settings = Settings(rootdir=folder, tracking="off", deploy_timeout_s=0.05)
    order = Order(
        target=",".join(target.name for target in targets),
        path=folder / "deployment.json",
        verdict=session.verdict(),
    )

    def deployer() -> Deployer:  # of a new process
        return Deployer(manager.hook, settings, PROVENANCE, say=lambda line: None)

    try:
        word = deployer().apply(order).reason
    except Killed:
        word = "killed"
    ended = word
    for target in targets:  # from here on everything works again
        target.faults, target.busy, target.on_note = [], False, lambda line: None
    if word in ("killed", "ROLLBACK_FAILED"):
        settled = deployer().settle()
        word = word if settled is None else settled.reason
    wrong = list(_find(session, word, targets, raced))
    wrongs = [f"seed {seed}, {session.defects}, {ended}: {text}" for text in wrong]
    return ("refused" if session.defects else ended), wrongs


def _disturb(draw: random.Random, targets: list[FileTarget]) -> list[FileTarget]:
    """Have the process die, or somebody else deploy, at one of the next writes."""
    raced: list[FileTarget] = []
    kind, left = (
        draw.choice(("", "", "kill", "race")),
        draw.randint(1, 2 * len(targets)),
    )
    victim = draw.choice(targets)

    def count(line: str) -> None:
        nonlocal left
        left -= 1
        if left:
            return
        if kind == "kill":
            raise Killed
        if kind == "race":
            victim.path.write_text(THEIRS)
            raced.append(victim)

    for target in targets:
        target.on_note = count
    return raced


def _find(session, word, targets, raced):
    versions = [target.version for target in targets if target not in raced]
    written = any(NEW in target.writes for target in targets)
    if session.defects and written:
        yield "it was written"
    if len(set(versions)) > 1:
        yield f"the end is mixed: {versions}"
    if word == "DEPLOYED" and set(versions) - {NEW}:
        yield f"it says DEPLOYED, and {versions} are live"
    if word != "DEPLOYED" and NEW in versions and not raced:
        yield f"it says {word}, and {versions} are live"


def play_many(seeds: range) -> tuple[Counter[str], list[str]]:
    """Let a session happen for each seed; return the ends and what is wrong."""
    ends, wrong = Counter[str](), list[str]()
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            end, found = play(seed, Path(folder))
        ends[end] += 1
        wrong += found
    return ends, wrong
