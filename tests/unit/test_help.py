"""Help texts: all there, in one form, and readable at 80 columns."""

import argparse
import re
import shlex
import textwrap

import pytest

from pytest_llmeval import cli
from pytest_llmeval import pytest_plugin
from pytest_llmeval.config import Settings
from pytest_llmeval.options import OPTIONS


def commands(parser):
    """Yield each command with its name, those of commands too."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from commands(command)


COMMANDS = list(commands(cli._parser()))


def test_all_commands_are_looked_at():
    names = {command.prog for command in COMMANDS}
    assert {"llmeval doctor", "llmeval cache", "llmeval cache info"} <= names
    assert len(COMMANDS) == 44


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.prog)
def test_a_command_is_described_with_an_example_of_itself(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert re.fullmatch(r"[A-Z][^\n]*\.", command.description)
    assert re.match(rf"(example|help of a command): {command.prog}\b", command.epilog)
    for action in command._actions:
        assert action.help or isinstance(action, argparse._SubParsersAction)
    assert max(map(len, command.format_help().splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.prog)
def test_an_example_is_a_command_that_is_understood(command):
    if command.epilog.startswith("example: "):
        _, _, example = command.epilog.partition("llmeval ")
        options, _ = cli._parser().parse_known_args(shlex.split(example))
        assert callable(options.run)


def shown_default(field):
    value = getattr(Settings(), field)
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value or "none")


@pytest.mark.parametrize("option", OPTIONS, ids=lambda o: o.name)
def test_an_options_default_is_named_and_true(option):
    (said,) = re.findall(r"\(default: ([^),]+)", option.help)
    expected = shown_default(option.field)
    assert said == expected or (said, expected) == ("no limit", "none")
    assert not option.help.endswith(".")
    for choice in option.choices:
        assert re.search(rf"\b{choice}\b", option.help) or option.metavar is None


def test_an_option_without_a_twin_is_explained_in_the_ini_section():
    for option in OPTIONS:
        if option.ini:
            explained = option.help if option.option is None else option.option
            assert explained in option.ini_help


@pytest.mark.parametrize("name", pytest_plugin.__all__)
def test_a_fixture_has_a_sentence_and_an_example(name):
    function = getattr(pytest_plugin, name)
    first, *rest = textwrap.dedent(f"    {function.__doc__}").split("\n\n")
    assert first.strip().endswith(".")
    assert "\n" not in first.strip()
    example = re.compile(rf"^    def .*\b{name}\b", re.MULTILINE)
    assert any(map(example.search, rest))
