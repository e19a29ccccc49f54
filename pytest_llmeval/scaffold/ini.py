"""The file that configures pytest: which one it is, and what it lacks for a suite."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmeval.given import INI_SECTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class PytestConfig:
    """A file with a section for pytest, or the one that is to be written."""

    name: str = "pytest.ini"
    section: str = "pytest"
    text: str = ""
    settings: Mapping[str, str]
    exists: bool = True

    @property
    def model(self) -> str | None:
        """The model under test, where it is set."""
        return self.settings.get("llmeval_model")

    def completed(self, needed: Mapping[str, str]) -> str:
        """Return the text with those settings that are missing, after the heading."""
        is_toml = self.name.endswith(".toml")
        lines = "".join(
            f'{name} = "{value}"\n' if is_toml else f"{name} = {value}\n"
            for name, value in needed.items()
            if name not in self.settings
        )
        if not lines:
            return self.text
        heading = re.compile(rf"^\[{re.escape(self.section)}\][^\n]*\n?", re.MULTILINE)
        found = heading.search(self.text)
        if found is None:
            gap = "\n" if self.text else ""
            return f"{self.text}{gap}[{self.section}]\n{lines}"
        before = found[0].rstrip("\n") + "\n"
        return f"{self.text[: found.start()]}{before}{lines}{self.text[found.end() :]}"


def find_config(folder: Path) -> PytestConfig:
    """Return the file that pytest would read here.

    Raises:
        OSError: a file cannot be read.
    """
    for name, sections in INI_SECTIONS.items():
        path = folder / name
        if not path.exists():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        tables = _tables(name, text)
        section = next((one for one in sections if one in tables), None)
        if section is None and "pytest" in name:
            section = sections[0]
        if section is not None:
            settings = tables.get(section, {})
            return PytestConfig(
                name=name, section=section, text=text, settings=settings
            )
    return PytestConfig(settings={}, exists=False)


def _tables(name: str, text: str) -> dict[str, dict[str, str]]:
    """Return the sections of a file; none when it is broken, which pytest will say."""
    if not name.endswith(".toml"):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(text)
        except configparser.Error:
            return {}
        return {section: dict(parser[section]) for section in parser.sections()}
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}
    found = {section: _table(document, section) for section in INI_SECTIONS[name]}
    return {
        section: {key: str(value) for key, value in table.items()}
        for section, table in found.items()
        if table is not None
    }


def _table(document: dict[str, Any], section: str) -> dict[str, Any] | None:
    table: Any = document
    for key in section.split("."):
        table = table.get(key) if isinstance(table, dict) else None
    return table if isinstance(table, dict) else None
