"""Puts the dashboard into a workspace: one for each path, however often it is put."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from pytest_llmeval.backends.databricks.dashboards.content import content_digest
from pytest_llmeval.backends.databricks.dashboards.content import mark_of
from pytest_llmeval.backends.databricks.dashboards.content import read_content
from pytest_llmeval.backends.databricks.storage import patiently
from pytest_llmeval.backends.databricks.workspace import WorkspaceError
from pytest_llmeval.backends.databricks.workspace import telling
from pytest_llmeval.errors import ConfigurationError


if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient


ENDING = ".lvdash.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A dashboard as it is to be."""

    folder: str
    """In the workspace, without a slash at its end."""
    name: str
    content: str
    """Of `dashboard_content`."""
    warehouse: str

    @property
    def path(self) -> str:
        """Where it lies in the workspace; no two dashboards share a path."""
        return f"{self.folder}/{self.name}{ENDING}"


class Put(NamedTuple):
    """What became of it."""

    dashboard_id: str
    changed: tuple[str, ...]
    """``created``, ``content``, ``warehouse``, ``published``, or nothing."""


class Dashboards:
    """The dashboards of a workspace.

    Args:
        client: Of the workspace.
    """

    def __init__(self, client: WorkspaceClient) -> None:
        self._api, self._workspace = client.lakeview, client.workspace

    def put(self, wanted: Wanted, *, overwrite: bool = False) -> Put:
        """Create a dashboard or change the one at its path, and publish it.

        Args:
            wanted: What it is to be.
            overwrite: Whether what somebody has edited in the workspace is replaced.

        Raises:
            ConfigurationError: it is somebody else's, or was edited.
            WorkspaceError: the workspace refuses or does not answer.
        """
        found, is_new = self._find(wanted.path), False
        if found is None:
            found, is_new = self._create(wanted)
        changed = (
            ["created"] if is_new else self._change(found, wanted, overwrite=overwrite)
        )
        if changed or not self._is_published(found, wanted):
            self._publish(found.dashboard_id, wanted)
            changed.append("published")
        return Put(found.dashboard_id, tuple(changed))

    def _find(self, path: str) -> Any | None:
        """Return the dashboard at a path of the workspace, or None."""
        from databricks.sdk.errors import NotFound

        with telling(f"looking for {path}"):
            try:
                status = patiently(lambda: self._workspace.get_status(path))
            except NotFound:
                return None
        kind = status.object_type.value if status.object_type else "something else"
        if kind != "DASHBOARD" or not status.resource_id:
            raise ConfigurationError(
                f"at {path} the workspace has a {kind}; choose another --name or "
                "--folder"
            )
        return self._get(status.resource_id)

    def _get(self, dashboard_id: str) -> Any:
        with telling(f"the dashboard {dashboard_id}"):
            return patiently(lambda: self._api.get(dashboard_id))

    def _create(self, wanted: Wanted) -> tuple[Any, bool]:
        """Create it, unless it is there by now: another call may have been faster.

        So may our own, whose answer got lost and which the SDK has repeated.
        """
        with telling(f"making the folder {wanted.folder}"):
            patiently(lambda: self._workspace.mkdirs(wanted.folder))
        body = _body(wanted, display_name=wanted.name, parent_path=wanted.folder)
        try:
            with telling(f"creating the dashboard {wanted.name!r:.100}"):
                return patiently(lambda: self._api.create(body)), True
        except WorkspaceError:
            found = self._find(wanted.path)
            if found is None:
                raise
            return found, False

    def _change(self, found: Any, wanted: Wanted, *, overwrite: bool) -> list[str]:
        """Bring a dashboard to what is wanted; return what had to change."""
        present = read_content(found.serialized_dashboard)
        _check_ours(present, wanted, overwrite=overwrite)
        changed = _differences(found, wanted)
        if not changed:
            return []
        body = _body(wanted, etag=found.etag)
        try:
            with telling(f"changing the dashboard {found.dashboard_id}"):
                patiently(lambda: self._api.update(found.dashboard_id, body))
        except WorkspaceError as error:
            # An answer got lost, and the SDK has asked again with the old etag; or
            # somebody has edited it just now.
            if not _is_conflict(error):
                raise
            if _differences(self._get(found.dashboard_id), wanted):
                raise ConfigurationError(
                    f"the dashboard {wanted.path} was changed by somebody at this "
                    "moment; look at it, and run the command again"
                ) from error
        return changed

    def _is_published(self, found: Any, wanted: Wanted) -> bool:
        """Return whether viewers see the draft as it is."""
        from databricks.sdk.errors import NotFound

        with telling(f"what is published of the dashboard {found.dashboard_id}"):
            try:
                published = patiently(
                    lambda: self._api.get_published(found.dashboard_id)
                )
            except NotFound:
                return False
        if published.warehouse_id != wanted.warehouse or published.embed_credentials:
            return False
        return _moment(published.revision_create_time) >= _moment(found.update_time)

    def _publish(self, dashboard_id: str, wanted: Wanted) -> None:
        with telling(f"publishing the dashboard {dashboard_id}"):
            patiently(
                # Otherwise each viewer would read with the rights of who publishes.
                lambda: self._api.publish(
                    dashboard_id,
                    embed_credentials=False,
                    warehouse_id=wanted.warehouse,
                )
            )


def _body(wanted: Wanted, **more: Any) -> Any:
    from databricks.sdk.service.dashboards import Dashboard

    return Dashboard(
        serialized_dashboard=wanted.content, warehouse_id=wanted.warehouse, **more
    )


def _check_ours(present: dict[str, Any], wanted: Wanted, *, overwrite: bool) -> None:
    mark = mark_of(present)
    if mark is None:
        raise ConfigurationError(
            f"the workspace has a dashboard at {wanted.path} that llmeval has not "
            "made; choose another --name or --folder"
        )
    if mark != content_digest(present) and not overwrite:
        raise ConfigurationError(
            f"the dashboard {wanted.path} was edited in the workspace; give "
            "--overwrite to replace it with what llmeval makes, which loses the "
            "edits, or keep it and give another --name"
        )


def _differences(found: Any, wanted: Wanted) -> list[str]:
    present = content_digest(read_content(found.serialized_dashboard))
    differ = {
        "content": present != content_digest(read_content(wanted.content)),
        "warehouse": found.warehouse_id != wanted.warehouse,
    }
    return [name for name, does in differ.items() if does]


def _is_conflict(error: WorkspaceError) -> bool:
    from databricks.sdk.errors import ResourceConflict

    return isinstance(error.__cause__, ResourceConflict)


def _moment(text: str | None) -> datetime.datetime:
    """Return a time that a workspace tells, which has a zone or is UTC."""
    if not text:
        return datetime.datetime.min.replace(tzinfo=datetime.UTC)
    found = datetime.datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def check_folder(path: str) -> str:
    """Return a folder of the workspace, without a slash at its end.

    Raises:
        ConfigurationError: it is none.
    """
    path = path.rstrip("/")
    if not path.startswith("/Workspace/") or ".." in path.split("/"):
        raise ConfigurationError(
            f"{path!r:.200} is no folder of the workspace; give one such as "
            "/Workspace/Shared/evals"
        )
    return path


def check_name(name: str) -> str:
    """Return the name of a dashboard.

    Raises:
        ConfigurationError: it is none.
    """
    if not name.strip() or "/" in name or not name.isprintable():
        raise ConfigurationError(
            f"--name {name!r:.200} is no name of a dashboard; give printable "
            "characters without a slash"
        )
    return name
