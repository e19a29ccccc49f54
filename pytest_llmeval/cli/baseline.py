"""The commands ``llmeval baseline ...``."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import add_directory
from pytest_llmeval.cli.console import add_group
from pytest_llmeval.cli.console import say
from pytest_llmeval.errors import ConfigurationError


if TYPE_CHECKING:
    from pytest_llmeval.config import Settings


def add(commands: Commands) -> None:
    """Add the commands that set and show the baseline."""
    baseline_commands = add_group(
        commands, "baseline", "say which run speaks for the version that is live"
    )

    set_ = baseline_commands.add_parser(
        "set",
        help="make a run the baseline of the version that it evaluated",
        description="Tag the version that an alias names with a run that evaluated it. "
        "Gates on a change then compare with that run. A deployment does the same.",
        epilog="example: llmeval baseline set 20261125-083532-6ecb96",
    )
    set_.add_argument("run_id", metavar="RUN", help="id of a complete, uploaded run")
    set_.add_argument(
        "--alias", default="champion", help="the live alias (default: champion)"
    )
    set_.set_defaults(run=_set)

    show = baseline_commands.add_parser(
        "show",
        help="say which run it is",
        description="Say which version an alias names, and which run speaks for it. "
        "Exit with 1 when none does.",
        epilog="example: llmeval baseline show docs-qa@champion",
    )
    show.add_argument(
        "name", metavar="NAME@ALIAS", help="a registered model and its live alias"
    )
    show.set_defaults(run=_show)
    for command in baseline_commands.choices.values():
        add_directory(command, "folder of the runs (default: .llmeval)")
        command.add_argument(
            "--tracking",
            metavar="URI",
            help="MLflow tracking URI (default: where the run was uploaded to, else "
            "MLFLOW_TRACKING_URI or sqlite:///mlflow.db)",
        )


def _set(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.deploy.baseline import set_baseline
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
    say(done)
    return 0


def _show(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.deploy.baseline import find_live
    from pytest_llmeval.hooks import headless_manager

    settings = _registry_settings(options, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        version, tags = find_live(options.name, headless_manager().hook, settings)
    run_id = tags.get("llmeval.run_id")
    say(f"version      {version}")
    say(f"run          {run_id or 'none; make one with: llmeval baseline set RUN'}")
    for name in ("verdict", "commit"):
        if f"llmeval.{name}" in tags:
            say(f"{name:<12} {tags[f'llmeval.{name}']}")
    return 0 if run_id else 1


def _registry_settings(options: argparse.Namespace, uri: str | None) -> Settings:
    from pytest_llmeval.config import Settings

    tracking = options.tracking or uri or "auto"
    return Settings(directory=str(options.dir), tracking=tracking)
