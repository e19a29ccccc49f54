"""Plugins that a project names itself, for pytest and for commands alike.

A plugin of its own, because the signing key has to be gone before the project's code
is imported, and ``pythonpath`` to hold: no function of one plugin comes between.
"""

from __future__ import annotations

import pytest

from pytest_llmeval.text import one_line


INI = "llmeval_plugins"


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Load them before a conftest.py can import one, whose asserts are rewritten."""
    load_plugins(early_config)


def load_plugins(config: pytest.Config) -> None:
    """Import and register the modules that ``llmeval_plugins`` names.

    Those that are there already stay as they are.

    Raises:
        UsageError: one of them cannot be imported, or is not to be loaded.
    """
    for name in str(config.getini(INI)).split():
        try:
            config.pluginmanager.import_plugin(name)
        except Exception as error:  # noqa: BLE001  # the module's own code
            cause = error.__cause__ or error
            raise pytest.UsageError(
                f"llmeval: {INI} names {name!r}, which cannot be imported "
                f"({type(cause).__name__}: {one_line(cause, 300)}); it must be a "
                "module that Python finds: install it, or set pythonpath = . in the "
                "ini file for one in the rootdir"
            ) from None
        if not config.pluginmanager.has_plugin(name):
            raise pytest.UsageError(
                f"llmeval: {INI} names {name!r}, which is not loaded: -p no:{name} "
                "blocks it, or it skips itself when it is imported. Its hooks may "
                "speak against a deployment, so that they hold or the ini file does "
                "not name them"
            )
