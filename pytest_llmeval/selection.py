"""What makes a pytest run less than the whole suite, by its command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import pytest


def partial_by(config: pytest.Config) -> str | None:
    """Return the option that selects tests by how they came out before."""
    options = {"lf": "--lf", "stepwise": "--sw", "stepwise_skip": "--sw-skip"}
    for name, option in options.items():
        if getattr(config.option, name, False):
            return f"{option} selects a part of the tests"
    return None


def narrowed_by(config: pytest.Config, suite: Path) -> str | None:
    """Return what in the command line leaves a part of the suite out."""
    narrowing = {
        "keyword": "-k",
        "markexpr": "-m",
        "deselect": "--deselect",
        "ignore": "--ignore",
        "ignore_glob": "--ignore-glob",
    }
    for name, option in narrowing.items():
        if getattr(config.option, name, None):
            return f"{option} selects a part of the tests"
    for argument in config.args:
        path = (config.invocation_params.dir / argument.partition("::")[0]).resolve()
        if suite.resolve().is_relative_to(path) and "::" not in argument:
            return None
    return f"the arguments do not cover the folder {suite}"
