"""Volumes and workspace files, kept in a real folder that a machine can mount."""

from __future__ import annotations

import base64
import shutil
from email.utils import formatdate
from pathlib import Path
from pathlib import PurePosixPath
from typing import Any

from .wire import DONE
from .wire import Refused
from .wire import Reply
from .wire import Request
from .wire import page


FILES = "/api/2.0/fs/files"
DIRECTORIES = "/api/2.0/fs/directories"
WORKSPACE = "/api/2.0/workspace"
VOLUME = "/Volumes/main/qa/evals"
HOME = "/Workspace/Users/somebody@example.org"


class Storage:
    """The files that the APIs and the machines see: ``/Volumes`` and ``/Workspace``.

    Attributes:
        folder: Where they are; ``/Volumes/a/b/c`` is its ``Volumes/a/b/c``.
        page_size: How many entries a listing of a directory gives at once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.page_size = folder, 1000
        self.add_volume(VOLUME)
        self.local(HOME).mkdir(parents=True)
        self._notebooks: dict[Path, str] = {}

    def add_volume(self, path: str) -> None:
        """Put a volume there, ``/Volumes/CATALOG/SCHEMA/NAME``."""
        self.local(path).mkdir(parents=True)

    def local(self, path: str) -> Path:
        """Return where a path of the workspace is on this machine."""
        return self.folder / PurePosixPath(path).relative_to("/")

    def files(self, path: str) -> list[str]:
        """Return the paths of all files below a path."""
        found = (file for file in self.local(path).rglob("*") if file.is_file())
        return sorted(f"/{file.relative_to(self.folder)}" for file in found)

    def volume_file(self, request: Request) -> Any:
        """Return what the API for files in a volume answers."""
        path = self._in_volume(request.path.removeprefix(FILES))
        if request.method == "PUT":
            return self._put(path, request)
        if not path.is_file():
            raise Refused(404, f"The file {self._told(path)} does not exist.")
        if request.method == "DELETE":
            path.unlink()
            return DONE
        if request.method not in ("GET", "HEAD"):
            raise Refused(404, f"no such API: {request.method} of a file")
        modified = formatdate(path.stat().st_mtime, usegmt=True)
        kind = {"Content-Type": "application/octet-stream", "Last-Modified": modified}
        return Reply(path.read_bytes(), headers=kind)

    def _put(self, path: Path, request: Request) -> Reply:
        if not path.parent.is_dir():
            # The CLI makes the directories when it is told this.
            raise Refused(404, f"The directory {self._told(path.parent)} is not there.")
        if path.is_dir():
            raise Refused(409, f"{self._told(path)} is a directory.", "ALREADY_EXISTS")
        if path.exists() and request.query.get("overwrite") == "false":
            message = "The file being created already exists."
            raise Refused(409, message, "ALREADY_EXISTS")
        path.write_bytes(request.content)
        return DONE

    def volume_directory(self, request: Request) -> Any:
        """Return what the API for directories in a volume answers."""
        path = self._in_volume(request.path.removeprefix(DIRECTORIES))
        if request.method == "PUT":
            if path.is_file():
                raise Refused(409, f"{self._told(path)} is a file.", "ALREADY_EXISTS")
            path.mkdir(parents=True, exist_ok=True)
            return DONE
        if not path.is_dir():
            raise Refused(404, f"The directory {self._told(path)} does not exist.")
        if request.method == "HEAD":
            return Reply()
        if request.method == "DELETE":
            if any(path.iterdir()):
                message = f"The directory {self._told(path)} is not empty."
                raise Refused(400, message, "DIRECTORY_NOT_EMPTY")
            path.rmdir()
            return DONE
        size = min(int(request.query.get("page_size", 1000)), self.page_size)
        entries = [self._entry(entry) for entry in sorted(path.iterdir())]
        return page(entries, request.query, size, "contents")

    def _entry(self, path: Path) -> dict[str, Any]:
        about = path.stat()
        entry = {
            "path": self._told(path),
            "name": path.name,
            "is_directory": path.is_dir(),
            "last_modified": int(about.st_mtime * 1000),
        }
        return entry if path.is_dir() else {**entry, "file_size": about.st_size}

    def _in_volume(self, path: str) -> Path:
        """Return where it is; what is in no volume that exists is refused."""
        parts = PurePosixPath(path).parts
        if parts[1:2] != ("Volumes",) or len(parts) < 5 or ".." in parts:
            raise Refused(400, f"Invalid path: {path} is in no volume.")
        if not self.local(str(PurePosixPath(*parts[:5]))).is_dir():
            raise Refused(404, f"Volume '{'.'.join(parts[2:5])}' does not exist.")
        return self.local(path)

    def workspace_files(self, request: Request) -> Any:
        """Return what the API for workspace files and notebooks answers."""
        action = request.path.removeprefix(f"{WORKSPACE}/").replace("-", "_")
        method = {"import": "POST", "mkdirs": "POST", "delete": "POST"}
        act = getattr(self, f"_workspace_{action}", None)
        if act is None or request.method != method.get(action, "GET"):
            raise Refused(404, f"no such API: {request.method} {request.path}")
        path = request.body.get("path", "")
        if not path.startswith("/") or ".." in path.split("/"):
            raise Refused(400, f"Path ({path}) doesn't start with '/'")
        inside = path.removeprefix("/Workspace").rstrip("/")
        return act(self.local(f"/Workspace{inside}"), request.body)

    def _workspace_mkdirs(self, path: Path, body: Any) -> Any:
        if path.is_file():
            raise Refused(400, f"{path.name} is a file.", "RESOURCE_ALREADY_EXISTS")
        path.mkdir(parents=True, exist_ok=True)
        return {}

    def _workspace_import(self, path: Path, body: Any) -> Any:
        """Take an upload, as a form with the bytes, or as JSON with base64."""
        given, how = body["content"], body.get("format", "SOURCE")
        if not path.parent.is_dir():
            folder = self._seen(path.parent)
            raise Refused(404, f"The parent folder ({folder}) does not exist.")
        if how not in ("SOURCE", "RAW", "AUTO"):
            raise Refused(400, f"This server does not take the format {how}.")
        if how == "SOURCE" and "language" not in body:
            raise Refused(400, "The language is required for the format SOURCE.")
        if path.exists() and str(body.get("overwrite", False)).lower() != "true":
            message = f"Path ({self._seen(path)}) already exists."
            raise Refused(400, message, "RESOURCE_ALREADY_EXISTS")
        path.write_bytes(given if isinstance(given, bytes) else base64.b64decode(given))
        self._notebooks.pop(path, None)
        if how == "SOURCE":
            self._notebooks[path] = body["language"]
        return {}

    def _workspace_delete(self, path: Path, body: Any) -> Any:
        self._must_exist(path)
        if path.is_file():
            path.unlink()
        elif str(body.get("recursive", False)).lower() == "true":
            shutil.rmtree(path)
        elif any(path.iterdir()):
            message = f"Folder ({self._seen(path)}) is not empty."
            raise Refused(400, message, "DIRECTORY_NOT_EMPTY")
        else:
            path.rmdir()
        return {}

    def _workspace_get_status(self, path: Path, body: Any) -> Any:
        self._must_exist(path)
        return self._object(path)

    def _workspace_list(self, path: Path, body: Any) -> Any:
        self._must_exist(path)
        found = sorted(path.iterdir()) if path.is_dir() else [path]
        return {"objects": [self._object(entry) for entry in found]} if found else {}

    def _workspace_export(self, path: Path, body: Any) -> Any:
        self._must_exist(path)
        content = path.read_bytes()
        if body.get("direct_download") == "true":
            return Reply(content)
        return {"content": base64.b64encode(content).decode()}

    def _object(self, path: Path) -> dict[str, Any]:
        about = {
            "path": self._seen(path),
            "object_id": path.stat().st_ino,
            "resource_id": str(path.stat().st_ino),
        }
        if path.is_dir():
            return {**about, "object_type": "DIRECTORY"}
        if path in self._notebooks:
            language = self._notebooks[path]
            return {**about, "object_type": "NOTEBOOK", "language": language}
        return {**about, "object_type": "FILE", "size": path.stat().st_size}

    def _must_exist(self, path: Path) -> None:
        if not path.exists():
            raise Refused(404, f"Path ({self._seen(path)}) doesn't exist.")

    def _told(self, path: Path) -> str:
        return f"/{path.relative_to(self.folder)}"

    def _seen(self, path: Path) -> str:
        """Return the path as the workspace API tells it, without ``/Workspace``."""
        return self._told(path).removeprefix("/Workspace") or "/"
