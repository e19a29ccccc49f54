"""Owners of claims: which processes are asking for predictions right now.

Each owner holds a lock on a file of its own. The kernel drops the lock with the
process, however that ends, so that no process id has to be trusted.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from filelock import FileLock
from filelock import Timeout


SUFFIX = ".lock"


class Owner:
    """One holder of claims; it lives from `begin` to `end`, or with its process.

    Args:
        folder: Where the owners of one store have their lock files.
    """

    def __init__(self, folder: Path) -> None:
        self.name = uuid.uuid4().hex
        self.folder = folder
        self._lock = _lock(folder / f"{self.name}{SUFFIX}")

    @property
    def lives(self) -> bool:
        """Whether it may hold claims."""
        return self._lock.is_locked

    def begin(self) -> None:
        """Lock its file; the folder is created when missing."""
        self.folder.mkdir(exist_ok=True)
        self._lock.acquire()

    def end(self) -> None:
        """Void its claims."""
        if self.lives:
            self._lock.release()
            Path(self._lock.lock_file).unlink(missing_ok=True)


def living_owners(folder: Path) -> set[str]:
    """Return the names of owners that live, and remove the files of those that do not.

    Call it where `Owner.begin` cannot run at the same time, in a transaction: between
    the making of a file and its locking an owner looks dead.
    """
    return {path.stem for path in folder.glob(f"*{SUFFIX}") if not _is_void(path)}


def _is_void(path: Path) -> bool:
    lock = _lock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    lock.release()
    path.unlink(missing_ok=True)
    return True


def _lock(path: Path) -> FileLock:
    # A store may be opened and closed by different threads.
    return FileLock(path, thread_local=False)
