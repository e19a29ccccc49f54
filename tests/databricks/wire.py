"""What a request says and what an answer is made of, for all parts of a workspace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple


CODES = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_CONFLICT",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}


class Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code or CODES[status]


class Reply(NamedTuple):
    """An answer that is not JSON."""

    content: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = {}


DONE = Reply(status=204)


class Request(NamedTuple):
    """A request as it came; its body is read in the form that its headers name."""

    method: str
    path: str
    query: dict[str, str]
    content: bytes
    headers: Any

    @property
    def body(self) -> Any:
        """JSON, the fields of a form, bytes, or the query where there is no content."""
        kind = self.headers.get("Content-Type") or ""
        if kind.startswith("multipart/form-data"):
            return dict(_fields(self.content, kind.partition("boundary=")[2]))
        if kind == "application/octet-stream":
            return self.content
        try:
            return json.loads(self.content) if self.content else self.query
        except ValueError as error:
            raise Refused(400, f"Not JSON: {error}", "MALFORMED_REQUEST") from error


def _fields(content: bytes, boundary: str) -> Iterator[tuple[str, Any]]:
    _, *parts, _ = (b"\r\n" + content).split(b"\r\n--" + boundary.encode())
    for part in parts:
        head, _, value = part.partition(b"\r\n\r\n")
        about = head.decode()
        name = about.partition(' name="')[2].partition('"')[0]
        yield name, value if "filename=" in about else value.decode()


def page(
    found: list[Any], query: dict[str, str], size: int, key: str
) -> dict[str, Any]:
    """Return a page of a listing; the last one says nothing of a next one."""
    start = int(query.get("page_token") or 0)
    shown = found[start : start + size]
    answer: dict[str, Any] = {key: shown} if shown else {}
    if start + size < len(found):
        answer["next_page_token"] = str(start + size)
    return answer
