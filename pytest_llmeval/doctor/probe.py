"""A pytest plugin that says what pytest reads and which model it loads, and no more.

It runs in a process of its own, because that imports what the suite imports.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.config import Settings
from pytest_llmeval.config import build_settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.given import overridden
from pytest_llmeval.given import read_given
from pytest_llmeval.given import unknown_ini
from pytest_llmeval.hooks import hookimpl
from pytest_llmeval.hooks import register_backends
from pytest_llmeval.models import load_model


if TYPE_CHECKING:
    import pytest


MARK = "llmeval doctor: "
"""Begins the lines that we print; others are of the code that is imported."""
PLUGIN = "pytest_llmeval.pytest_plugin"


@hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int:
    """Run instead of the tests."""
    told: dict[str, Any] = {
        "rootdir": str(config.rootpath),
        "inifile": str(config.inipath) if config.inipath else None,
        "given": {},
        "error": "pytest does not load the plugin pytest-llmeval-gate: it is blocked "
        "by -p, or plugins are not loaded by themselves",
    }
    if not config.pluginmanager.has_plugin(PLUGIN):
        _tell(told)
        return 0
    given = {name: value for name, value in read_given(config).items() if value}
    told["given"], told["error"] = given, unknown_ini(config)
    _tell({**told, "origins": {name: _origin(config, name) for name in given}})
    if told["error"] is None:
        _tell({"model": _loaded(config, given)})
    return 0


def _tell(what: dict[str, Any]) -> None:
    sys.stdout.write(f"\n{MARK}{json.dumps(what)}\n")
    sys.stdout.flush()


def _origin(config: pytest.Config, name: str) -> str:
    """Return where an option or ini value stands."""
    if not name.startswith("--"):
        if name in overridden(config):
            return "-o"
        return config.inipath.name if config.inipath else "the ini file"
    if _holds(config.invocation_params.args, name):
        return f"{name} on the command line"
    if _holds(shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), name):
        return f"{name} in PYTEST_ADDOPTS"
    return f"{name} in addopts"


def _holds(arguments: Any, name: str) -> bool:
    return any(str(argument).partition("=")[0] == name for argument in arguments)


def _loaded(config: pytest.Config, given: dict[str, Any]) -> dict[str, str]:
    try:
        settings = build_settings(config.rootpath, given)
        return {} if settings.model is None else _load(config, settings)
    except Exception as error:  # noqa: BLE001  # the suite's own hooks may raise any
        return {"error": str(error)}


def _load(config: pytest.Config, settings: Settings) -> dict[str, str]:
    model = str(settings.model)
    store = sqlite_file(settings.tracking_uri)
    needs_store = model.startswith(("models:/", "runs:/"))
    if needs_store and store is not None and not store.exists():
        # Opening it would make it.
        raise ConfigurationError(f"{model} cannot be found: there is no {store} yet")
    register_backends(config.pluginmanager)
    with TemporaryDirectory() as scratch:  # for the lock of MLflow's store
        loaded = load_model(model, config.hook, replace(settings, directory=scratch))
        loaded.close()
    return {"ref": str(loaded.ref)}


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite URI, None for others."""
    if not uri.startswith("sqlite:"):
        return None
    return Path(uri.partition(":///")[2].partition("?")[0])
