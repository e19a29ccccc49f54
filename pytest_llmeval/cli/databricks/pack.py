"""The command ``llmeval databricks pack``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmeval.cli.console import say
from pytest_llmeval.cli.console import write_file
from pytest_llmeval.errors import ConfigurationError


if TYPE_CHECKING:
    import pluggy

    from pytest_llmeval.config import Settings


def run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Write the wheel, and what a machine without git has to know."""
    from pytest_llmeval.project import run_in_project

    def act(settings: Settings, manager: pluggy.PluginManager) -> int:
        from pytest_llmeval.backends.databricks.wheel import own_wheel
        from pytest_llmeval.provenance import SOURCE
        from pytest_llmeval.provenance import describe_source

        wheel, folder = own_wheel(), options.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob(f"{wheel.name.partition('-')[0]}-*.whl"):
                old.unlink()  # a bundle takes every wheel that is there
            (folder / wheel.name).write_bytes(wheel.content)
        except OSError as error:
            raise ConfigurationError(f"cannot write in {folder}: {error}") from None
        source = describe_source(settings.rootdir, lasting=True)
        write_file(settings.rootdir / SOURCE, json.dumps(source, indent=2) + "\n")
        say(f"wrote {folder / wheel.name}")
        say(f"wrote {SOURCE}: commit {source['commit']}, {_state(source['dirty'])}")
        return 0

    return run_in_project([], act)


def _state(dirty: bool) -> str:
    return "with changes that are not committed" if dirty else "clean"
