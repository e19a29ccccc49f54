"""Opens the targets that a string names, and keeps other deployments away from them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import ExitStack
from contextlib import contextmanager
from pathlib import Path

import pluggy
from filelock import FileLock
from filelock import Timeout

from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.records import DeployTarget


DRY_RUN = "dry-run:"
FORMS = "registry:NAME@ALIAS, serving:ENDPOINT and local:PORT"


def open_targets(
    text: str, hook: pluggy.HookRelay, settings: Settings
) -> list[DeployTarget]:
    """Return the targets of a list with commas, in the order in which they change.

    Raises:
        ConfigurationError: one of them is not known, or is there twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        problem = "names a target twice" if names else "names no target"
        raise ConfigurationError(f"{text!r} {problem}; built in are {FORMS}")
    return sorted(
        (_open(name, hook, settings) for name in names),
        key=lambda target: target.order,
    )


def _open(name: str, hook: pluggy.HookRelay, settings: Settings) -> DeployTarget:
    found: DeployTarget | None
    found = hook.pytest_llmeval_deploy_target(target=name, settings=settings)
    if found is None:
        raise ConfigurationError(
            f"no deployment target is known for {name!r}; built in are {FORMS}, "
            "several of them with commas between"
        )
    return found


@contextmanager
def alone_in(home: Path, wait_s: float) -> Iterator[None]:
    """Keep other deployments away from the books in the ``.llmeval`` folder.

    Raises:
        DeploymentRefused: LOCKED: another one takes longer than `wait_s` seconds.
    """
    home.mkdir(parents=True, exist_ok=True)
    with _locked([home / "deploy.lock"], wait_s):
        yield


@contextmanager
def alone_at(targets: Sequence[DeployTarget], wait_s: float) -> Iterator[None]:
    """Keep other deployments of this user on this machine away from targets.

    Raises:
        DeploymentRefused: LOCKED: another one takes longer than `wait_s` seconds.
    """
    folder = Path(tempfile.gettempdir()) / f"llmeval-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise ConfigurationError(
            f"{folder} belongs to somebody else, and deployments would not exclude "
            "each other; give this user another folder with TMPDIR"
        )
    places = sorted({target.place for target in targets})
    digests = [hashlib.sha256(place.encode()).hexdigest()[:32] for place in places]
    with _locked([folder / f"{digest}.lock" for digest in digests], wait_s):
        yield


@contextmanager
def _locked(paths: Sequence[Path], wait_s: float) -> Iterator[None]:
    with ExitStack() as held:
        try:
            for path in paths:
                held.enter_context(FileLock(path).acquire(timeout=wait_s))
        except Timeout:
            raise DeploymentRefused(
                "LOCKED",
                f"another deployment on this machine has held {path} for {wait_s:g} s; "
                "wait for it, then evaluate again",
            ) from None
        yield
