"""What is installed: this package, one that must not be beside it, and the extras."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator

from packaging.requirements import Requirement

from pytest_llmeval.doctor.findings import Finding


PACKAGE = "pytest-llmeval-gate"
CLASH = "pytest-llmeval"
EXTRAS = (
    *("local", "xdist", "metrics", "data", "spark", "sail"),
    *("databricks", "databricks-connect", "postgres"),
)


def check_package(_: object) -> Iterator[Finding]:
    """Look at this package, and at the one that owns the same folder."""
    versions = [f"{name} {version_of(name)}" for name in (PACKAGE, "pytest", "mlflow")]
    versions.append(f"Python {platform.python_version()}")
    yield Finding("ok", "package", ", ".join(versions))
    if version_of(CLASH) is not None:
        yield Finding(
            "problem",
            "package",
            f"{CLASH} {version_of(CLASH)} is installed too, and owns the same folder "
            "pytest_llmeval",
            f"pip uninstall -y {CLASH} {PACKAGE} && pip install {PACKAGE}",
        )


def check_extras(_: object) -> Iterator[Finding]:
    """Look at each package that an extra brings."""
    for text in importlib.metadata.requires(PACKAGE) or ():
        requirement = Requirement(text)
        marker = requirement.marker
        for extra in EXTRAS:
            if marker is not None and marker.evaluate({"extra": extra}):
                yield _check_extra(extra, requirement)


def _check_extra(extra: str, requirement: Requirement) -> Finding:
    version = version_of(requirement.name)
    install = f'pip install "{PACKAGE}[{extra}]"'
    if version is None:
        text = f"{extra}: {requirement.name} is not installed"
        return Finding("note", "extra", text, f"where you need it: {install}")
    shown = f"{extra}: {requirement.name} {version}"
    if not requirement.specifier.contains(version, prereleases=True):
        text = f"{shown} is not {requirement.specifier}"
        return Finding("problem", "extra", text, f"{install} --upgrade")
    return Finding("ok", "extra", shown)


def version_of(name: str) -> str | None:
    """Return the version of an installed distribution, without importing it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
