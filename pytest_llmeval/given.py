"""What stands on the command line and in the ini file, by its name.

Apart from `config`, which makes settings of it, because it is read in every pytest run
on the machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.options import OPTIONS


if TYPE_CHECKING:
    import pytest


OPTION_NAMES = tuple(option.option for option in OPTIONS if option.option)
# In the order in which pytest looks; a file of its own counts even when it is empty.
INI_SECTIONS: dict[str, tuple[str, ...]] = {
    "pytest.toml": ("pytest",),
    ".pytest.toml": ("pytest",),
    "pytest.ini": ("pytest",),
    ".pytest.ini": ("pytest",),
    "pyproject.toml": ("tool.pytest.ini_options", "tool.pytest"),
    "tox.ini": ("pytest",),
    "setup.cfg": ("tool:pytest",),
}
INI_NAMES = tuple(option.ini for option in OPTIONS if option.ini)


def read_given(config: pytest.Config) -> dict[str, Any]:
    """Return each option and ini value; None, False or empty where it is not given."""
    options = {name: config.getoption(name) for name in OPTION_NAMES}
    return options | {name: config.getini(name) for name in INI_NAMES}


def overridden(config: pytest.Config) -> set[str]:
    """Return the names of the ini values that ``-o`` gives."""
    given: Sequence[str] = config.getoption("override_ini") or ()
    return {text.partition("=")[0] for text in given}


def unknown_ini(config: pytest.Config) -> str | None:
    """Return what is wrong with the first ini value that we would know if it were one.

    pytest only warns of it, and a gate would be decided without it.
    """
    with warnings.catch_warnings():
        # Deprecated for reading values; nothing else lists the names that are there.
        warnings.simplefilter("ignore")
        listed = getattr(config, "inicfg", ())
    names = {*listed, *overridden(config)}  # pytest 8 keeps those of -o apart
    for name in sorted(names):
        if name.startswith("llmeval") and not _is_registered(config, name):
            place = "-o" if name in overridden(config) else config.inipath
            return (
                f"{name} in {place} is not an ini value{_ini_hint(name)}; the ini "
                f"values are: {', '.join(sorted(INI_NAMES))}"
            )
    return None


def _is_registered(config: pytest.Config, name: str) -> bool:
    """Return whether we or another plugin have that ini value."""
    if name in INI_NAMES:
        return True
    try:
        config.getini(name)
    except ValueError:
        return False
    return True


def _ini_hint(name: str) -> str:
    from pytest_llmeval.config import nearest

    name = name.replace("-", "_")
    option = f"--{name.replace('_', '-')}"
    if option in OPTION_NAMES and name not in INI_NAMES:
        return f"; it is for the command line only: {option}"
    return nearest(name, INI_NAMES, prefix="llmeval_")


def option_hints(arguments: Sequence[str]) -> dict[str, str]:
    """Return what may be meant by each argument that looks like an option of ours."""
    names = {argument.partition("=")[0] for argument in arguments}
    wrong = {name for name in names if name.startswith("--llmeval")}
    hints = {name: _option_hint(name) for name in wrong.difference(OPTION_NAMES)}
    return {name: hint for name, hint in hints.items() if hint}


def _option_hint(name: str) -> str:
    from pytest_llmeval.config import nearest

    ini = name.removeprefix("--").replace("-", "_")
    if ini in INI_NAMES:
        return f"it is an ini value: -o {ini}=VALUE"
    return nearest(name, OPTION_NAMES, prefix="--llmeval-").removeprefix("; ")
