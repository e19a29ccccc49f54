"""Carries out a plan: first everything is renamed out of the way, then deleted."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path

from filelock import FileLock
from filelock import Timeout

from pytest_llmeval.cache import clear
from pytest_llmeval.cache import make_room
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.retention.folder import TRASH
from pytest_llmeval.retention.plan import Doomed
from pytest_llmeval.retention.plan import Limits
from pytest_llmeval.retention.plan import Plan
from pytest_llmeval.retention.plan import make_plan
from pytest_llmeval.store import RunDirectory


WAIT_S = 60.0


def carry_out(
    home: Path, limits: Limits, agreed: Plan, named: Iterable[str] = ()
) -> Plan:
    """Remove what was agreed and may still go; what has come to be in use stays.

    Safe beside runs, deployments and another process that does the same, and when it is
    killed: what it leaves in the folder ``trash`` the next one deletes.

    Args:
        home: The ``.llmeval`` folder.
        limits: Those of the plan.
        agreed: What a person has agreed to.
        named: The baselines that the gate manifest names.

    Returns:
        What was removed.

    Raises:
        ConfigurationError: something cannot be removed, or a deployment is on its way.
    """
    wanted = {one[:2] for one in agreed.remove}
    with _alone(home):
        done = make_plan(home, limits, named)
        done.remove = [one for one in done.remove if one[:2] in wanted]
        try:
            trash = _open_trash(home)
            for one in done.remove:
                _take_away(one, trash)
            _empty(trash)
        except OSError as error:
            raise ConfigurationError(
                f"cannot remove {error.filename}: {error.strerror}; what is left in "
                f"{home / TRASH} goes with the next llmeval gc"
            ) from None
        for one in done.remove:
            _forget_predictions(home, one)
    return done


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Keep deployments, and others that remove, away meanwhile."""
    with ExitStack() as held:
        for name, what in (
            ("gc.lock", "another llmeval gc"),
            ("deploy.lock", "a deployment"),
        ):
            lock = FileLock(home / name)
            try:
                held.enter_context(lock.acquire(timeout=WAIT_S))
            except Timeout:
                raise ConfigurationError(
                    f"{what} has held {lock.lock_file} for {WAIT_S:g} s; wait for its "
                    "end, and run the same command again"
                ) from None
        yield


def _open_trash(home: Path) -> Path:
    """Return the folder for what is to be deleted, without what a killed one left."""
    trash = home / TRASH
    if trash.is_symlink():
        raise ConfigurationError(
            f"{trash} is a link, and nothing outside of {home} is to be deleted; "
            "remove the link"
        )
    trash.mkdir(exist_ok=True)
    return trash


def _take_away(one: Doomed, trash: Path) -> None:
    if one.kind == "rows":
        with suppress(FileNotFoundError):
            RunDirectory(trash.parent, one.name).rows_removed.touch()
    for path in one.paths:
        with suppress(FileNotFoundError):
            path.rename(trash / f"{path.name}.{os.urandom(6).hex()}")


def _empty(trash: Path) -> None:
    for path in trash.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    trash.rmdir()


def _forget_predictions(home: Path, one: Doomed) -> None:
    path = home / "predictions.db"
    if one.before is not None:
        clear(path, older_than_s=time.time() - one.before)
    if one.limit_bytes is not None:
        make_room(path, one.limit_bytes)
