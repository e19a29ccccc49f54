"""A wheel of this package as it is installed here: the job runs what runs here."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest_llmeval
from pytest_llmeval.errors import ConfigurationError


DISTRIBUTION = "pytest-llmeval-gate"
NAME = "pytest_llmeval_gate"
ENTRY_POINT = "llmeval-job"
WHEEL = (
    "Wheel-Version: 1.0\nGenerator: llmeval\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
)
MOMENT = (1980, 1, 1, 0, 0, 0)
"""Of every file, so that the same content gives the same bytes."""
FILE_NAME = re.compile(
    r"[A-Za-z0-9_.]+-[A-Za-z0-9_.!+]+(-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel file."""

    name: str
    content: bytes


def read_wheel(path: Path) -> Wheel:
    """Return a wheel that the user names.

    Raises:
        ConfigurationError: it is none, or cannot be read.
    """
    if not FILE_NAME.fullmatch(path.name):
        raise ConfigurationError(
            f"{path.name!r:.200} is not the name of a wheel, such as "
            f"{NAME}-0.1.0-py3-none-any.whl"
        )
    try:
        return Wheel(name=path.name, content=path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None


def own_wheel() -> Wheel:
    """Pack the package that is imported here, with a digest in its version.

    With the digest a cluster that has another build of the same version installs this
    one, which pip would take for the same.

    Raises:
        ConfigurationError: what is installed is older than its source.
    """
    found = importlib.metadata.distribution(DISTRIBUTION)
    metadata = found.read_text("METADATA") or ""
    entry_points = found.read_text("entry_points.txt") or ""
    if ENTRY_POINT not in entry_points:  # installed editable, before there was one
        raise ConfigurationError(
            f"the installed {DISTRIBUTION} has no entry point {ENTRY_POINT}: it is "
            "older than its source; install it again"
        )
    files = _package_files()
    digest = hashlib.sha256(metadata.encode())
    for name, content in files.items():
        digest.update(name.encode() + hashlib.sha256(content).digest())
    public = found.version.partition("+")[0]
    version = f"{public}+local.{digest.hexdigest()[:12]}"
    info = f"{NAME}-{version}.dist-info"
    said = re.sub(r"(?m)^Version: .*$", f"Version: {version}", metadata, count=1)
    files[f"{info}/METADATA"] = said.encode()
    files[f"{info}/WHEEL"] = WHEEL.encode()
    files[f"{info}/entry_points.txt"] = entry_points.encode()
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    return Wheel(name=f"{NAME}-{version}-py3-none-any.whl", content=_zip(files))


def _package_files() -> dict[str, bytes]:
    package = Path(pytest_llmeval.__file__).parent
    return {
        path.relative_to(package.parent).as_posix(): path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def _record(files: dict[str, bytes], own: str) -> bytes:
    lines = []
    for name, content in files.items():
        hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
        lines.append(f"{name},sha256={hashed.rstrip(b'=').decode()},{len(content)}\n")
    return "".join([*lines, f"{own},,\n"]).encode()


def _zip(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name, MOMENT)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
    return packed.getvalue()


def extra(name: str) -> list[str]:
    """Return what an extra of this package requires, without markers."""
    end = re.compile(rf"\s*;\s*extra\s*==\s*['\"]{name}['\"]$")
    required = importlib.metadata.requires(DISTRIBUTION) or ()
    return [end.sub("", line) for line in required if end.search(line)]
