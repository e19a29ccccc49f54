"""What can be seen of a project, so that nobody has to be asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.provenance import ask_git
from pytest_llmeval.scaffold.ini import PytestConfig
from pytest_llmeval.scaffold.ini import find_config


EMBEDDED = "gguf:smollm2"
FIRST_SUITE = "test_questions.py"
# What goes into files of other languages must not be able to end a string there.
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
REGISTERED = re.compile(r"models:/([A-Za-z0-9_][A-Za-z0-9_.-]*)[/@]?[A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """A folder that a suite is written into."""

    folder: Path
    name: str
    """Of the project, plain enough for a name in any of the files."""
    config: PytestConfig
    is_root: bool
    """Whether the folder is where CI systems look: no part of a larger checkout."""
    branch: str
    """The default branch."""
    remote: str
    """The URL of the remote repository, or nothing."""
    has_own_suite: bool
    """Whether evals/ holds other tests than those that `init` writes."""
    has_manifest: bool

    @property
    def is_embedded(self) -> bool:
        """Whether the model under test is the embedded one, as that of a new suite."""
        return self.config.model in (None, EMBEDDED)

    @property
    def model_name(self) -> str:
        """The registered model under test; without one the project's name."""
        found = REGISTERED.fullmatch(self.config.model or "")
        return found[1] if found else self.name


def look_around(folder: Path) -> Surroundings:
    """Look at a folder, which may be missing yet, and ask git about it.

    Raises:
        ConfigurationError: the folder cannot be read.
    """
    try:
        suite = {path.name for path in (folder / "evals").glob("**/test_*.py")}
        return Surroundings(
            folder=folder,
            name=re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).strip("-")
            or "suite",
            config=find_config(folder),
            is_root=_is_root(folder),
            branch=_default_branch(folder),
            remote=_git(folder, "remote", "get-url", "origin"),
            has_own_suite=bool(suite - {FIRST_SUITE}),
            has_manifest=(folder / "evals/gates.toml").exists(),
        )
    except OSError as error:
        raise ConfigurationError(f"cannot read {folder}: {error}") from None


def _is_root(folder: Path) -> bool:
    root = _git(folder, "rev-parse", "--show-toplevel")
    return not root or Path(root) == folder.resolve()


def _default_branch(folder: Path) -> str:
    head = _git(folder, "symbolic-ref", "--short", "refs/remotes/origin/HEAD")
    names = (
        head.removeprefix("origin/"),
        _git(folder, "branch", "--format=%(refname:short)", "--list", "main"),
        _git(folder, "branch", "--format=%(refname:short)", "--list", "master"),
        _git(folder, "symbolic-ref", "--short", "HEAD"),
    )
    return next(filter(PLAIN.fullmatch, names), "main")


def _git(folder: Path, *arguments: str) -> str:
    """Return what git says, and nothing where it fails or there is no checkout."""
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    return (ask_git(existing, *arguments) or b"").decode("utf-8", "replace").strip()
