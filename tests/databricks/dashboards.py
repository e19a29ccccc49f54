"""Lakeview dashboards: a draft with an etag, and what is published of it.

A path is taken once. What is stored is told as the server writes it, with the fields
that it adds, and every write makes a new etag.
"""

from __future__ import annotations

import copy
import datetime
import json
import re
import uuid
from typing import Any

from .storage import Storage
from .wire import Refused
from .wire import Request
from .wire import page


PREFIX = "/api/2.0/lakeview/dashboards"
ENDING = ".lvdash.json"
TOLD_IN_LISTS = (
    "dashboard_id",
    "display_name",
    "create_time",
    "lifecycle_state",
    "warehouse_id",
)


class Dashboards:
    """The dashboards of a workspace.

    Attributes:
        drafts: By id, as GET gives them; those in the trash too.
        published: By id, as GET gives them.
        page_size: How many a listing gives at once.
    """

    def __init__(self, storage: Storage) -> None:
        self.drafts: dict[str, dict[str, Any]] = {}
        self.published: dict[str, dict[str, Any]] = {}
        self.page_size = 20
        self._storage, self._writes = storage, 0

    def at(self, path: str) -> dict[str, Any] | None:
        """Return the dashboard at a path, with or without ``/Workspace``."""
        seen = path.removeprefix("/Workspace")
        found = (one for one in self.drafts.values() if one.get("path") == seen)
        return next(found, None)

    def edit(self, dashboard_id: str, content: dict[str, Any]) -> None:
        """Store a content as somebody does in the browser."""
        self._store(self.drafts[dashboard_id], {"serialized_dashboard": content})

    def answer(self, request: Request) -> Any:
        """Return what the API answers."""
        method, rest = request.method, request.path.removeprefix(PREFIX).strip("/")
        if not rest:
            act = {"GET": self._list, "POST": self._create}.get(method)
        else:
            act = {
                ("GET", ""): self._get,
                ("PATCH", ""): self._update,
                ("DELETE", ""): self._trash,
                ("GET", "published"): self._get_published,
                ("POST", "published"): self._publish,
                ("DELETE", "published"): self._unpublish,
            }.get((method, rest.partition("/")[2]))
        if act is None:
            raise Refused(404, f"no such API: {method} {request.path}")
        return copy.deepcopy(act(rest.partition("/")[0], request))

    def status(self, path: str) -> dict[str, Any] | None:
        """Return what the workspace API tells of the dashboard at a path."""
        found = self.at(path)
        return found and {
            "path": found["path"],
            "object_type": "DASHBOARD",
            "object_id": int(found["dashboard_id"][:8], 16),
            "resource_id": found["dashboard_id"],
        }

    def _list(self, _: str, request: Request) -> Any:
        trashed = request.query.get("show_trashed") == "true"
        found = [
            {key: one[key] for key in TOLD_IN_LISTS if key in one}
            for one in self.drafts.values()
            if trashed or one["lifecycle_state"] == "ACTIVE"
        ]
        size = min(int(request.query.get("page_size", 1000)), self.page_size)
        return page(found, request.query, size, "dashboards")

    def _create(self, _: str, request: Request) -> Any:
        body = request.body
        name, parent = body["display_name"], self._folder(body)
        path = f"{parent}/{name}{ENDING}"
        if self.at(path) or self._storage.local(f"/Workspace{path}").exists():
            raise Refused(
                409,
                f"Unable to register dashboard. Caused by Node named '{name}{ENDING}' "
                "already exists",
                "ALREADY_EXISTS",
            )
        dashboard_id = uuid.uuid4().hex
        draft: dict[str, Any] = {
            "dashboard_id": dashboard_id,
            "display_name": name,
            "parent_path": parent,
            "path": path,
            "create_time": _now(),
            "lifecycle_state": "ACTIVE",
        }
        self._store(draft, body)
        self.drafts[dashboard_id] = draft
        return draft

    def _folder(self, body: Any) -> str:
        parent = body.get("parent_path") or "/Users/somebody@example.org"
        parent = parent.removeprefix("/Workspace")
        if not re.fullmatch(r"/.*[^/]", parent):
            raise Refused(400, f"Invalid parent path: {parent}")
        if not self._storage.local(f"/Workspace{parent}").is_dir():
            raise Refused(404, f"Path ({parent}) doesn't exist.")
        return parent

    def _store(self, draft: dict[str, Any], body: Any) -> None:
        """Take a content and a warehouse; the draft is another one then."""
        self._writes += 1
        if "serialized_dashboard" in body:
            draft["serialized_dashboard"] = _stored(body["serialized_dashboard"])
        if "warehouse_id" in body:
            draft["warehouse_id"] = body["warehouse_id"]
        draft["update_time"] = _now()
        draft["etag"] = str(80_611_980 + self._writes)

    def _get(self, dashboard_id: str, request: Request) -> Any:
        if dashboard_id not in self.drafts:
            raise Refused(404, f"Unable to find dashboard [{dashboard_id}]")
        return self.drafts[dashboard_id]

    def _update(self, dashboard_id: str, request: Request) -> Any:
        draft, body = self._get(dashboard_id, request), request.body
        if body.get("etag") not in (None, draft["etag"]):
            raise Refused(
                409,
                f"The dashboard {dashboard_id} was modified since it was read "
                f"(etag {draft['etag']})",
                "ABORTED",
            )
        if "display_name" in body:
            draft["display_name"] = body["display_name"]
            draft["path"] = f"{draft['parent_path']}/{body['display_name']}{ENDING}"
        self._store(draft, body)
        return draft

    def _trash(self, dashboard_id: str, request: Request) -> Any:
        draft = self._get(dashboard_id, request)
        draft["lifecycle_state"] = "TRASHED"
        draft.pop("path", None)
        self.published.pop(dashboard_id, None)
        return {}

    def _get_published(self, dashboard_id: str, request: Request) -> Any:
        if dashboard_id not in self.published:
            raise Refused(404, f"Unable to find published dashboard [{dashboard_id}]")
        found = self.published[dashboard_id]
        return {key: found[key] for key in found if key != "content"}

    def _publish(self, dashboard_id: str, request: Request) -> Any:
        draft = self._get(dashboard_id, request)
        self.published[dashboard_id] = {
            "display_name": draft["display_name"],
            "warehouse_id": request.body.get("warehouse_id", draft.get("warehouse_id")),
            "embed_credentials": request.body.get("embed_credentials", True),
            "revision_create_time": _now(),
            "content": draft["serialized_dashboard"],
        }
        return self._get_published(dashboard_id, request)

    def _unpublish(self, dashboard_id: str, request: Request) -> Any:
        self.published.pop(dashboard_id, None)
        return {}


def _stored(serialized: Any) -> str:
    """Return a content as the server writes it: other spaces, more fields."""
    if isinstance(serialized, str):
        try:
            serialized = json.loads(serialized)
        except ValueError as error:
            raise Refused(400, f"serialized_dashboard is not JSON: {error}") from error
    if not isinstance(serialized, dict):
        raise Refused(400, "serialized_dashboard is not an object")
    for one in serialized.get("pages", []):
        one.setdefault("pageType", "PAGE_TYPE_CANVAS")
    return json.dumps(serialized, separators=(",", ":"), sort_keys=True) + "\n"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
