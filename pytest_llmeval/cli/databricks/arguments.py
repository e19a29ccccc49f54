"""Arguments that a run and a schedule have in common."""

from __future__ import annotations

import argparse
from pathlib import Path


TIMEOUT_MIN = 120


def add_work(command: argparse.ArgumentParser) -> None:
    """Add what a job does, what it needs for that, and where it runs."""
    command.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="files, folders or tests, as pytest takes them (default: evals)",
    )
    command.add_argument(
        "--volume",
        metavar="FOLDER",
        help="folder in a volume for what is sent and brought back, such as "
        "/Volumes/main/qa/evals (default: llmeval_databricks_volume)",
    )
    command.add_argument(
        "--files",
        metavar="FOLDER",
        help="folder for wheel and suite, in a volume or in /Workspace (default: files "
        "in that volume's folder)",
    )
    command.add_argument(
        "--wheel",
        type=Path,
        metavar="FILE",
        help="wheel of this package (default: packed from what is installed here)",
    )
    command.add_argument(
        "--install",
        action="append",
        default=[],
        metavar="REQUIREMENT",
        help="install this as well: a requirement of pip or a wheel file; several "
        "times (default: nothing)",
    )
    command.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME=SCOPE/KEY",
        help="give the job an environment variable from a Databricks secret; several "
        "times (default: none)",
    )
    command.add_argument(
        "--experiment",
        metavar="NAME",
        help="experiment in the workspace's MLflow (default: /Shared/llmeval)",
    )
    _add_compute(command)
    command.add_argument(
        "--timeout",
        type=_minutes,
        default=TIMEOUT_MIN,
        metavar="MINUTES",
        help=f"cancel the run after this (default: {TIMEOUT_MIN})",
    )


def _add_compute(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--cluster",
        metavar="new|ID",
        help="classic compute, a new cluster or one that is there (default: serverless "
        "compute)",
    )
    command.add_argument(
        "--node-type",
        metavar="TYPE",
        help="of a new cluster (default: the smallest with a local disk)",
    )
    command.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="of a new cluster (default: 0, everything on one machine)",
    )
    command.add_argument(
        "--spark-version",
        metavar="VERSION",
        help="of a new cluster (default: the newest with long term support)",
    )


def add_token(command: argparse.ArgumentParser) -> None:
    """Add the idempotency token."""
    command.add_argument(
        "--token",
        metavar="TOKEN",
        help="idempotency token: the same one never starts a second run (default: of "
        "what is run and of the attempt of the CI job; a new one outside CI)",
    )


def _minutes(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 7 * 24 * 60:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number of minutes, from 1 to a week (10080)"
        )
    return int(text)
