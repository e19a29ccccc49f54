"""What goes to a job: checked before any call, then uploaded."""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmeval.cli.console import say
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.records.jobs import asked_files
from pytest_llmeval.text import counted
from pytest_llmeval.text import first_few
from pytest_llmeval.text import redact


if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from pytest_llmeval.backends.databricks.suite import Suite
    from pytest_llmeval.backends.databricks.task import Compute
    from pytest_llmeval.backends.databricks.task import Work
    from pytest_llmeval.backends.databricks.wheel import Wheel
    from pytest_llmeval.config import Settings


DEFAULT_PATH = "evals"
WORKER_OPTIONS = ("-n", "--numprocesses", "--dist", "--tx")


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A suite and all that it needs, before anything is uploaded."""

    suite: Suite
    wheels: tuple[Wheel, ...]
    """That of this package first."""
    requirements: tuple[str, ...]
    volume: str
    files: str
    cwd: str
    arguments: tuple[str, ...]
    """For pytest, what is to be run first."""
    secrets: tuple[str, ...]
    experiment: str | None
    compute: Compute

    def work(
        self, out: str, *, deploy: str | None = None, rollback: bool = False
    ) -> Work:
        """Return what the job does, with its results in a folder."""
        from pytest_llmeval.backends.databricks.task import Work

        own, *others = (self._path(wheel) for wheel in self.wheels)
        return Work(
            suite=f"{self.files}/{self.suite.name}",
            out=out,
            cwd=self.cwd,
            wheel=own,
            requirements=(*others, *self.requirements),
            arguments=self.arguments,
            secrets=self.secrets,
            experiment=self.experiment,
            deploy=deploy,
            rollback=rollback,
        )

    def upload(self, client: WorkspaceClient) -> None:
        """Write suite and wheels; what is there already is the same."""
        from pytest_llmeval.backends.databricks.storage import upload

        upload(client, f"{self.files}/{self.suite.name}", self.suite.content)
        for wheel in self.wheels:
            upload(client, self._path(wheel), wheel.content)

    def _path(self, wheel: Wheel) -> str:
        """Return where a wheel lies: pip wants its name, we its content."""
        digest = hashlib.sha256(wheel.content).hexdigest()[:16]
        return f"{self.files}/{digest}/{wheel.name}"


def pack(
    options: argparse.Namespace,
    rest: Sequence[str],
    settings: Settings,
    *,
    lasting: bool = False,
) -> Parcel:
    """Check what was asked for and pack it; asks nobody.

    Args:
        options: Of `add_work`.
        rest: pytest's arguments.
        settings: Of the project.
        lasting: Whether it is for runs to come.

    Raises:
        ConfigurationError: something is wrong, missing, or a secret.
    """
    from pytest_llmeval.backends.databricks.cluster import check_secrets
    from pytest_llmeval.backends.databricks.storage import check_files
    from pytest_llmeval.backends.databricks.storage import check_volume
    from pytest_llmeval.backends.databricks.suite import pack_suite
    from pytest_llmeval.backends.databricks.wheel import own_wheel
    from pytest_llmeval.backends.databricks.wheel import read_wheel

    check_secrets(options.secret)
    _check_open([*rest, *options.install, options.experiment or ""])
    asked_files(rest)  # refuses what could not be brought back
    volume = check_volume(options.volume or settings.databricks_volume or "")
    files = check_files(options.files or f"{volume}/files")
    rootdir = settings.rootdir.resolve()
    paths = [_relative(path) for path in options.paths or [DEFAULT_PATH]]
    others = [one for one in options.install if one.endswith(".whl")]
    return Parcel(
        suite=pack_suite(rootdir, paths, Path.cwd(), lasting=lasting),
        wheels=(
            own_wheel() if options.wheel is None else read_wheel(options.wheel),
            *(read_wheel(Path(one)) for one in others),
        ),
        requirements=tuple(_requirements(options.install, rest)),
        volume=volume,
        files=files,
        cwd=_cwd(rootdir),
        arguments=(*paths, *rest),
        secrets=tuple(options.secret),
        experiment=options.experiment,
        compute=_compute(options),
    )


def describe(parcel: Parcel) -> None:
    """Say what goes to the job, and what does not."""
    suite = parcel.suite
    size = f"{len(suite.content) / 1000:,.0f} kB"
    say(f"suite: {counted(suite.files, 'file')}, {size} packed")
    if suite.untracked:
        say(
            f"not in it, because git does not track them: "
            f"{counted(len(suite.untracked), 'file')} ({first_few(suite.untracked)})"
        )
    say(f"wheel: {parcel.wheels[0].name}")


def _check_open(arguments: Sequence[str]) -> None:
    """Refuse secrets in what everybody sees who may see the job."""
    for argument in arguments:
        plain = argument.replace("ssh://git@", "ssh://")  # who has a key
        if redact(plain) != plain:
            raise ConfigurationError(
                f"{redact(argument)!r:.200} holds a secret, and the arguments of a job "
                "are for everybody to read who may see it; give the job an environment "
                "variable with --secret NAME=SCOPE/KEY"
            )


def _requirements(install: Sequence[str], arguments: Sequence[str]) -> list[str]:
    from pytest_llmeval.backends.databricks.wheel import extra

    extras = ["databricks"]
    if any(argument.startswith(WORKER_OPTIONS) for argument in arguments):
        extras.append("xdist")
    needed = [requirement for name in extras for requirement in extra(name)]
    return needed + [one for one in install if not one.endswith(".whl")]


def _relative(path: str) -> str:
    """Return a path as it is in the suite, wherever that is unpacked."""
    return os.path.relpath(path) if Path(path).is_absolute() else path


def _cwd(rootdir: Path) -> str:
    here = Path.cwd().resolve()
    if not here.is_relative_to(rootdir):
        raise ConfigurationError(
            f"pytest takes {rootdir} for the project's root, and this folder is not in "
            "it; put a pytest.ini or a pyproject.toml with [tool.pytest.ini_options] "
            "here, as llmeval init does"
        )
    return here.relative_to(rootdir).as_posix()


def _compute(options: argparse.Namespace) -> Compute:
    from pytest_llmeval.backends.databricks.task import Compute

    given = {
        "--node-type": options.node_type,
        "--workers": options.workers,
        "--spark-version": options.spark_version,
    }
    extra = [name for name, value in given.items() if value is not None]
    if extra and options.cluster != "new":
        raise ConfigurationError(
            f"{extra[0]} is for a new cluster; add --cluster new, or leave it out"
        )
    if options.workers is not None and options.workers < 0:
        raise ConfigurationError(f"--workers {options.workers} is less than 0")
    return Compute(
        cluster=options.cluster,
        node_type=options.node_type,
        workers=options.workers or 0,
        spark_version=options.spark_version,
    )
