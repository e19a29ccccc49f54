"""Brings a job's reports and run directory to this machine."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmeval.backends.databricks.storage import download
from pytest_llmeval.backends.databricks.workspace import WorkspaceError
from pytest_llmeval.records.jobs import ARCHIVE
from pytest_llmeval.records.jobs import JUNIT
from pytest_llmeval.records.jobs import RESULT
from pytest_llmeval.records.jobs import RUN_MEMBER
from pytest_llmeval.records.jobs import AskedFile
from pytest_llmeval.records.jobs import JobResult
from pytest_llmeval.store import RunDirectory


if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient


def bring_results(
    client: WorkspaceClient,
    out: str,
    result: JobResult,
    asked: Sequence[AskedFile],
    home: Path,
    rootdir: Path,
    *,
    overwrite: bool,
) -> tuple[RunDirectory | None, list[Path]]:
    """Return the run that a job has left, now in the ``.llmeval`` folder here.

    Args:
        client: Of the workspace.
        out: Where the job has left its results.
        result: What it has left.
        asked: Reports that pytest's arguments ask for.
        home: The ``.llmeval`` folder.
        rootdir: Where relative paths of reports start, but for junit.
        overwrite: Whether reports replace files that are there.

    Returns:
        The run, None where nothing was evaluated; and the reports that were written.

    Raises:
        WorkspaceError: the archive is not there, or not what a job packs.
    """
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix="brought-") as folder:
        unpacked = Path(folder)
        _unpack(client, f"{out}/{ARCHIVE}", unpacked)
        written = []
        for number, one in enumerate(asked):
            path = Path(one.path) if one.is_junit else rootdir / one.path
            is_free = overwrite or not path.exists()
            if is_free and (unpacked / "files" / str(number)).is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(unpacked / "files" / str(number), path)
                written.append(path)
        if result.run_id is None:
            return None, written
        brought = unpacked / RUN_MEMBER
        if brought.is_symlink() or not (brought / "verdict.json").is_file():
            raise WorkspaceError(
                f"{out}/{ARCHIVE} has no run {result.run_id}, of which {RESULT} speaks"
            )
        run = RunDirectory(home, result.run_id)
        run.adopt(brought)
    with (run.path / JUNIT).open("wb") as file:
        download(client, f"{out}/{JUNIT}", file)
    return run, written


def _unpack(client: WorkspaceClient, path: str, folder: Path) -> None:
    archive = folder / ARCHIVE
    with archive.open("w+b") as file:
        is_there = download(client, path, file)
    try:
        if not is_there:
            raise tarfile.TarError("there is no such file")
        with tarfile.open(archive, "r:gz") as files:
            # What a link leads to is another file once they are moved.
            if not all(one.isfile() or one.isdir() for one in files):
                raise tarfile.TarError("it holds more than files and folders")
            files.extractall(folder, filter="data")
    except (OSError, tarfile.TarError, EOFError) as error:
        raise WorkspaceError(
            f"{path} is not what a job has packed: {type(error).__name__}: {error}"
        ) from error
    finally:
        archive.unlink(missing_ok=True)
