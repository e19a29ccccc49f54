"""Which files a suite and its pipelines consist of, and what stands in them."""

from __future__ import annotations

import sys
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from typing import TypeAlias

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.scaffold.files import text_of
from pytest_llmeval.scaffold.placeholders import fill
from pytest_llmeval.scaffold.requirement import requirement
from pytest_llmeval.scaffold.surroundings import EMBEDDED
from pytest_llmeval.scaffold.surroundings import REGISTERED
from pytest_llmeval.scaffold.surroundings import Surroundings


Wanted: TypeAlias = Literal["github", "jenkins", "databricks"]

TEMPLATES = Path(__file__).with_name("templates")
SUITE = "evals"
REQUIREMENTS = "evals/requirements.txt"
MANIFEST = "evals/gates.toml"
SETTINGS = {"llmeval_model": EMBEDDED, "llmeval_confidence": "0.95"}
IGNORED = (".llmeval/", "mlflow.db", "mlartifacts/")
IGNORED_BY_BUNDLE = (".databricks/", ".llmeval-source.json", "dist/")
REQUIREMENT_USERS = {"github", "jenkins"}
ONLY_AT_THE_ROOT = {"github": ".github/workflows/", "jenkins": "Jenkinsfile"}


def wanted_files(seen: Surroundings, wanted: Collection[Wanted]) -> dict[str, str]:
    """Return the text of each file by its path, as it ought to be.

    Files that others have written are completed, so that a comparison shows what they
    lack.

    Raises:
        ConfigurationError: a pipeline is wanted where nothing would read it.
    """
    _check_place(seen, wanted)
    files = {} if seen.has_own_suite else _suite(seen.folder)
    files[seen.config.name] = seen.config.completed(_settings(seen, wanted))
    files[".gitignore"] = _gitignore(seen.folder, wanted)
    if REQUIREMENT_USERS & set(wanted):
        files[REQUIREMENTS] = _requirements(seen.folder)
    values = placeholders(seen)
    for name in wanted:
        files |= {
            path: fill(text, values, path) for path, text in _templates(name).items()
        }
    return files


def placeholders(seen: Surroundings) -> Mapping[str, str]:
    """Return what stands for the placeholders of the templates."""
    model = seen.config.model or ""
    return {
        "BRANCH": seen.branch,
        "EMBEDDED": EMBEDDED.removeprefix("gguf:") if seen.is_embedded else "",
        "INSTALL": f"-r {REQUIREMENTS}",
        "MODEL": model if REGISTERED.fullmatch(model) else _candidate(seen),
        "NAME": seen.name,
        "PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
        "SUITE": f"{SUITE}/",
        "TARGET": f"registry:{seen.model_name}@champion",
    }


def notes(seen: Surroundings, wanted: Collection[Wanted]) -> Iterator[str]:
    """Yield what somebody has to know, or to correct, who has asked for pipelines."""
    values = placeholders(seen)
    if seen.has_own_suite:
        yield "evals/ has a suite already; no first suite and no manifest is written"
    if REQUIREMENT_USERS & set(wanted) and "==" in requirement():
        yield (
            f"pip has to find {requirement()} where CI runs, and it is not on PyPI "
            f"yet: see {REQUIREMENTS}"
        )
    if "jenkins" in wanted and not REGISTERED.fullmatch(seen.config.model or ""):
        yield (
            f"the target {values['TARGET']} is a guess: llmeval_model in "
            f"{seen.config.name} names no model of a registry"
        )
    if "databricks" in wanted and values["MODEL"] != seen.config.model:
        yield (
            f"the model {values['MODEL']} is a guess: correct it in databricks.yml, or "
            "give --var=model=MODEL"
        )
    if "github.com" in seen.remote and not wanted:
        yield "the remote repository is at GitHub: llmeval init --github"


def _candidate(seen: Surroundings) -> str:
    return f"models:/main.evals.{seen.model_name}@candidate"


def _check_place(seen: Surroundings, wanted: Collection[Wanted]) -> None:
    for name in wanted:
        if name in ONLY_AT_THE_ROOT and not seen.is_root:
            raise ConfigurationError(
                f"{seen.folder} is a part of a larger git checkout, and "
                f"{ONLY_AT_THE_ROOT[name]} is read at its root only; run it there: "
                f"llmeval init --{name}"
            )


def _suite(folder: Path) -> dict[str, str]:
    files = _templates("suite")
    is_ours = all(
        text_of(folder / name) in (None, text)
        for name, text in files.items()
        if name != MANIFEST
    )
    if not is_ours:  # its gates are others
        del files[MANIFEST]
    return files


def _settings(seen: Surroundings, wanted: Collection[Wanted]) -> dict[str, str]:
    refs = {"llmeval_deploy_refs": seen.branch} if "jenkins" in wanted else {}
    return SETTINGS | refs


def _gitignore(folder: Path, wanted: Collection[Wanted]) -> str:
    text = text_of(folder / ".gitignore") or ""
    lines = IGNORED + (IGNORED_BY_BUNDLE if "databricks" in wanted else ())
    missing = [line for line in lines if line not in text.split()]
    gap = "\n" if missing and text and not text.endswith("\n") else ""
    return text + gap + "".join(f"{line}\n" for line in missing)


def _requirements(folder: Path) -> str:
    lines = ["# What CI installs to run the suite.", requirement()]
    if (folder / "requirements.txt").exists():
        lines.append("-r ../requirements.txt")
    if "[build-system]" in (text_of(folder / "pyproject.toml") or ""):
        lines.append(".")
    return "".join(f"{line}\n" for line in lines)


def _templates(name: str) -> dict[str, str]:
    root = TEMPLATES / name
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
