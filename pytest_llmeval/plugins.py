"""Plugins that a project names itself, for pytest and for commands alike."""

from __future__ import annotations

import pytest


INI = "llmeval_plugins"


def load_plugins(config: pytest.Config) -> None:
    """Import and register the modules that ``llmeval_plugins`` names.

    Raises:
        UsageError: one of them cannot be imported.
    """
    for name in str(config.getini(INI)).split():
        try:
            config.pluginmanager.import_plugin(name)
        except Exception as error:  # noqa: BLE001  # the module's own code
            cause = f"{type(error).__name__}: {error}"
            raise pytest.UsageError(
                f"llmeval: {INI} names {name!r}, which cannot be imported ({cause}); "
                "it must be a module that Python finds: install it, or set "
                "pythonpath = . in the ini file for one in the rootdir"
            ) from None
