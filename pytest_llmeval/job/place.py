"""A folder of this machine with the suite in it, and the environment that it needs."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.provenance import read_source
from pytest_llmeval.records.jobs import SUITE_NAME
from pytest_llmeval.records.jobs import suite_name
from pytest_llmeval.text import REDACT_VARIABLE


EXPERIMENT = "/Shared/llmeval"
"""In MLflow, where none is configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a suite runs; all of it is gone after the job."""

    rootdir: Path
    cwd: Path
    home: Path
    """For ``--llmeval-dir``."""
    scratch: Path
    junit: Path


@contextmanager
def open_place(
    suite: Path, *, cwd: str, secrets: Sequence[str], experiment: str | None
) -> Iterator[Place]:
    """Copy or unpack a suite to this machine, and set the environment for it.

    A workspace folder is slow, and often read only.

    Args:
        suite: A folder, or a ``.tar.gz`` of one.
        cwd: Where pytest is to start, from the suite's root.
        secrets: ``NAME=SCOPE/KEY`` for each environment variable from a secret.
        experiment: Its name in MLflow; None for what the environment says.

    Raises:
        ConfigurationError: there is no such suite.
    """
    with tempfile.TemporaryDirectory(
        prefix="llmeval-", ignore_cleanup_errors=True
    ) as folder:
        rootdir = Path(folder).resolve() / "suite"
        bring(suite, rootdir)
        place = Place(
            rootdir=rootdir,
            cwd=rootdir / cwd,
            home=rootdir.parent / "llmeval",
            scratch=rootdir.parent / "scratch",
            junit=rootdir.parent / "junit.xml",
        )
        before, where = dict(os.environ), Path.cwd()
        try:
            if experiment is not None:
                os.environ["MLFLOW_EXPERIMENT_NAME"] = experiment
            _set_environment(rootdir, secrets)
            os.chdir(place.cwd)
            yield place
        finally:  # the interpreter is the cluster's, and may live on
            os.chdir(where)
            for name in os.environ.keys() - before.keys():
                del os.environ[name]
            os.environ.update(before)


def bring(suite: Path, rootdir: Path) -> None:
    """Copy or unpack a suite to a folder that is not there yet.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        if suite.is_dir():
            shutil.copytree(
                suite, rootdir, ignore=shutil.ignore_patterns(".git", "__pycache__")
            )
            return
        rootdir.mkdir()
        content = suite.read_bytes()
        _check_sent(suite, content)
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            archive.extractall(rootdir, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise ConfigurationError(
            f"cannot read the suite {suite}: {type(error).__name__}: {error}; it has "
            "to be a folder or a .tar.gz that this job's owner may read"
        ) from None


def _check_sent(suite: Path, content: bytes) -> None:
    """Refuse what somebody has put in the place of the archive that was sent."""
    if SUITE_NAME.fullmatch(suite.name) and suite.name != suite_name(content):
        raise ConfigurationError(
            f"{suite} is not what was sent: its name holds the digest of another "
            "content; see who may write there, and send the suite again"
        )


def _set_environment(rootdir: Path, secrets: Sequence[str]) -> None:
    # For xdist's workers too. What was imported before this does not write any more.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        os.environ.setdefault("MLFLOW_TRACKING_URI", "databricks")
        if "MLFLOW_EXPERIMENT_ID" not in os.environ:  # names there are paths
            os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    source = read_source(rootdir)
    for name, value in source.place.items() if source else ():
        os.environ.setdefault(name, value)
    if secrets:
        from pytest_llmeval.backends.databricks.cluster import read_secrets

        values = read_secrets(secrets)
        os.environ.update(values)
        os.environ[REDACT_VARIABLE] = ",".join(values)
