"""A suite as one archive, the same bytes for the same files."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.given import INI_SECTIONS
from pytest_llmeval.provenance import SOURCE
from pytest_llmeval.provenance import ask_git
from pytest_llmeval.provenance import describe_source
from pytest_llmeval.provenance import in_checkout
from pytest_llmeval.records.jobs import suite_name
from pytest_llmeval.text import counted
from pytest_llmeval.text import first_few
from pytest_llmeval.text import secrets_in


LARGEST = 200 * 1024 * 1024
"""Bytes of all files, before they are compressed."""
NEVER = ("__pycache__", "node_modules", "mlruns", "mlartifacts", "venv")
"""Folders that are left out where there is no git to ask; hidden ones are too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """An archive of a project, with what a machine without git has to know of it."""

    name: str
    """Of the file; it holds a digest of the content."""
    content: bytes
    files: int
    untracked: tuple[str, ...]
    """Files that git does not track, and that are not in the archive."""


def pack_suite(
    rootdir: Path, paths: Iterable[str], cwd: Path, *, lasting: bool = False
) -> Suite:
    """Return the project as an archive: what git tracks, as it is on disk.

    Where there is no git it is every file, but for hidden ones and caches.

    Args:
        rootdir: The project's root, as pytest finds it.
        paths: What is to be run, as pytest takes it; each has to be in the archive.
        cwd: Where relative ones start.
        lasting: Whether it is for runs to come, and not of this run of a CI job.

    Raises:
        ConfigurationError: something is missing, too large, or holds a secret.
    """
    names = _tracked(rootdir)
    untracked = () if names is None else _untracked(rootdir)
    if names is None:
        _check_project(rootdir)
        names = sorted(_all_files(rootdir))
    names = [name for name in names if name != SOURCE]
    _check_paths(rootdir, paths, cwd, names)
    _check_size(rootdir, names)
    source = json.dumps(
        describe_source(rootdir, lasting=lasting), indent=2, sort_keys=True
    )
    content = _archive(rootdir, names, source.encode())
    return Suite(
        name=suite_name(content),
        content=content,
        files=len(names),
        untracked=tuple(untracked),
    )


def _tracked(rootdir: Path) -> list[str] | None:
    """Return the tracked files that are there, or None where there is no checkout."""
    names = _git(rootdir, "ls-files", "-z", "--recurse-submodules")
    if names is None:
        return None
    return sorted(name for name in names if (rootdir / name).exists())


def _untracked(rootdir: Path) -> tuple[str, ...]:
    names = _git(rootdir, "ls-files", "-z", "--others", "--exclude-standard")
    return tuple(name for name in names or () if name != SOURCE)


def _git(rootdir: Path, *arguments: str) -> list[str] | None:
    """Return the names of files that git lists, whatever bytes they are of."""
    said = ask_git(rootdir, *arguments)
    if said is None:
        return None
    return [os.fsdecode(name) for name in said.split(b"\0") if name]


def _check_project(rootdir: Path) -> None:
    """Refuse a checkout that git does not read, and a root for want of a better one."""
    if in_checkout(rootdir):
        raise ConfigurationError(
            f"{rootdir} is in a git checkout, and git does not say which files it "
            "tracks, so that all of them would go to the job; see there: git ls-files"
        )
    if not any((rootdir / name).exists() for name in INI_SECTIONS):
        raise ConfigurationError(
            f"pytest takes {rootdir} for the project's root, which has no ini file and "
            "is no checkout, and all of it would go to the job; put a pytest.ini into "
            "the project, and name paths in it"
        )


def _all_files(folder: Path, prefix: str = "") -> Iterator[str]:
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name in NEVER:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _all_files(path, f"{prefix}{path.name}/")
        else:
            yield f"{prefix}{path.name}"


def _check_paths(
    rootdir: Path, paths: Iterable[str], cwd: Path, names: list[str]
) -> None:
    """Refuse what would not be found on the cluster."""
    for text in paths:
        path = (cwd / text.partition("::")[0]).resolve()
        inside = path.is_relative_to(rootdir)
        name = path.relative_to(rootdir).as_posix() if inside else ""
        if not inside or not path.exists():
            raise ConfigurationError(
                f"{text!r:.200} is not in {rootdir}, which is what the job gets; give "
                "a path below it"
            )
        if name != "." and not any(
            n == name or n.startswith(f"{name}/") for n in names
        ):
            raise ConfigurationError(
                f"git tracks nothing at {text!r:.200}, and the job gets only what git "
                f"tracks; add it with: git add {text}"
            )


def _check_size(rootdir: Path, names: Iterable[str]) -> None:
    sizes = {name: (rootdir / name).lstat().st_size for name in names}
    total = sum(sizes.values())
    if total > LARGEST:
        largest = sorted(sizes, key=lambda name: -sizes[name])
        raise ConfigurationError(
            f"{counted(len(sizes), 'file')} in {rootdir} are {total / 1e6:,.0f} MB, "
            f"and at most {LARGEST / 1e6:,.0f} MB go to a job; the largest are "
            f"{first_few(largest)}. Put data into a table or a volume, and name it in "
            "data="
        )


def _archive(rootdir: Path, names: Iterable[str], source: bytes) -> bytes:
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, compresslevel=6) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in names:
            _add(archive, rootdir, name)
        _add_bytes(archive, tarfile.TarInfo(SOURCE), source)
    return packed.getvalue()


def _add(archive: tarfile.TarFile, rootdir: Path, name: str) -> None:
    path = rootdir / name
    if not path.resolve().is_relative_to(rootdir) or not path.is_file():
        raise ConfigurationError(
            f"{name!r:.200} in {rootdir} leads out of it, or is no file, so that a job "
            "cannot have it; replace it by a file"
        )
    content = path.read_bytes()
    secrets = secrets_in(content)
    if secrets:
        raise ConfigurationError(
            f"{name!r:.200} holds the value of {secrets[0]}, and a secret must not go "
            "into a suite; take it out, and give the job the variable with --secret "
            f"{secrets[0]}=SCOPE/KEY"
        )
    member = tarfile.TarInfo(name)
    member.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    _add_bytes(archive, member, content)


def _add_bytes(
    archive: tarfile.TarFile, member: tarfile.TarInfo, content: bytes
) -> None:
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
