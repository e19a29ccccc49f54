"""A project as pytest reads it, with its plugins and without its suite.

Apart from `doctor`, which asks pytest in another process: what deploys has to be one.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_llmeval.config import build_settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.given import read_given
from pytest_llmeval.given import unknown_ini
from pytest_llmeval.hooks import register_backends
from pytest_llmeval.plugins import load_plugins


if TYPE_CHECKING:
    import pluggy

    from pytest_llmeval.config import Settings


Action = Callable[["Settings", "pluggy.PluginManager"], int]
# No conftest.py: who deploys must not run what was evaluated.
ARGUMENTS = (
    "--noconftest",
    "--capture=no",
    "-p",
    "no:cacheprovider",
    "-p",
    "pytest_llmeval.pytest_plugin",
)


def run_in_project(arguments: Sequence[str], action: Action) -> int:
    """Call an action with the settings and plugins that pytest finds from here.

    Args:
        arguments: Options as pytest takes them.
        action: What to do; it returns the exit status.

    Raises:
        ConfigurationError: pytest does not read them, or not the ini file.
    """
    reader = _Reader(action)
    status = int(pytest.main([*ARGUMENTS, *arguments], plugins=[reader]))
    if not reader.was_called and not status:  # else pytest has said what is wrong
        raise ConfigurationError("pytest cannot read this project: see above")
    return status


class _Reader:
    def __init__(self, action: Action) -> None:
        self._action, self.was_called = action, False

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> int:
        """Act instead of running tests."""
        self.was_called = True
        unknown = unknown_ini(config)
        if unknown is not None:
            raise ConfigurationError(unknown)
        load_plugins(config)
        settings = build_settings(config.rootpath, read_given(config))
        register_backends(config.pluginmanager)
        return self._action(settings, config.pluginmanager)
