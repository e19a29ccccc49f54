"""Finished runs as reports read them, left behind by real evaluations and decisions."""

from dataclasses import replace

from pytest_llmeval.evidence import Evidence
from pytest_llmeval.gate import explain
from pytest_llmeval.provenance import Provenance
from pytest_llmeval.report.run import read_run
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.verdict import judge
from pytest_llmeval.verdict import verdict_document


RUN = "20260101-000000-aaaaaa"
CODE = Provenance(
    commit="0123456789abcdef0123456789abcdef01234567",
    branch="main",
    dirty=False,
    ci_url="https://github.com/o/r/actions/runs/1",
    versions={},
)


def leave(folder, evaluations, decisions, *, test="evals/t.py::test_x", **changes):
    """Write the files of a run in which a test made these; return it as reports do.

    `changes` replace entries of the verdict.
    """
    directory = RunDirectory(folder, RUN)
    directory.create({})
    decisions = [replace(decision, test=test) for decision in decisions]
    evidence = Evidence(
        collected=[test], decisions=decisions, outcomes={test: "passed"}, exit_status=0
    )
    status, reason, detail = judge(evidence, None)
    verdict = verdict_document(
        run_id=RUN,
        status=status,
        reason=reason,
        detail=detail,
        evidence=evidence,
        gates=[{**one.to_dict(), "text": explain(one)} for one in decisions],
        manifest=None,
        provenance=CODE.to_dict(),
        evaluations=[
            _entry(directory, number, results, test)
            for number, results in enumerate(evaluations, 1)
        ],
        times=(1.0, 2.0),
    )
    directory.write(directory.verdict, {**verdict, **changes})
    return read_run(folder, RUN)


def _entry(directory, number, results, test):
    written = directory.append_rows(number, results.rows.lines())
    return {
        **results.summary(),
        "test": test,
        "rows_span": written.span,
        "rows_digest": written.digest,
    }
