"""The entry point ``llmeval-job``: runs a suite as a job, and leaves its results.

It is called by a Databricks job, with the suite as an archive or a folder. It never
ends the interpreter, which is the cluster's: it returns on green and raises on red.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.job.deployment import Deployment
from pytest_llmeval.job.output import Output
from pytest_llmeval.job.place import open_place
from pytest_llmeval.job.suite import run_suite
from pytest_llmeval.records.jobs import asked_files


class JobFailed(LLMEvalError, RuntimeError):
    """The suite, or the deployment after it, did not end with 0."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the suite; results are in ``--out`` before this returns or raises.

    Raises:
        JobFailed: the exit status is not 0.
        ConfigurationError: the arguments or the suite cannot be used.
    """
    options, for_pytest = _read(sys.argv[1:] if arguments is None else arguments)
    asked = asked_files(for_pytest)
    with (
        Output(options.out) as output,
        open_place(
            options.suite,
            cwd=options.cwd,
            secrets=options.secret,
            experiment=options.experiment,
        ) as place,
    ):
        environment = dict(os.environ)
        status = run_suite(place, for_pytest)
        if options.deploy is not None:
            deployment = Deployment(
                suite=options.suite,
                cwd=options.cwd,
                target=options.deploy,
                rollback=options.rollback,
                environment=environment,
            )
            status = deployment.follow(place.home, status)
        output.keep(place, asked, status)
    if status:
        raise JobFailed(
            f"the suite ended with exit status {status}; its results are in "
            f"{options.out}"
        )


def _read(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    given = list(arguments)
    at = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(prog="llmeval-job", exit_on_error=False)
    parser.add_argument("--suite", type=_absolute, required=True)
    parser.add_argument("--out", type=_absolute, required=True)
    parser.add_argument("--cwd", default=".")
    parser.add_argument("--secret", action="append", default=[])
    parser.add_argument("--experiment")
    parser.add_argument("--deploy")
    parser.add_argument("--rollback", action="store_true")
    try:
        return parser.parse_args(given[:at]), given[at + 1 :]
    except (argparse.ArgumentError, SystemExit) as error:
        raise ConfigurationError(
            f"llmeval-job {' '.join(given[:at])!r:.300}: {error}; it takes --suite and "
            "--out, and pytest's arguments after --"
        ) from None


def _absolute(text: str) -> Path:
    return Path(text).absolute()  # the working directory changes
