"""Whether something on the network answers; each call ends within seconds."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from typing import Any
from typing import NamedTuple
from urllib.parse import urlsplit


LIMIT_S = 3.0
"""For each step of a call: to connect, and to wait for bytes."""
LONGEST_BODY_BYTES = 2**20
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


class Answer(NamedTuple):
    """What an HTTP server answered."""

    status: int
    body: bytes


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves redirects alone, so that no other host is sent the key."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def get(url: str, key: str | None = None, *, by_proxy: bool) -> Answer | str:
    """Ask by GET, once.

    Args:
        url: Of http or https.
        key: Sent as a bearer token.
        by_proxy: Whether the environment's proxies count.

    Returns:
        The answer, whatever its status, or why there is none.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    proxies = urllib.request.ProxyHandler(None if by_proxy else {})
    opener = urllib.request.build_opener(proxies, _NoRedirect)
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  # the caller's
        with opener.open(request, timeout=LIMIT_S) as response:
            return Answer(response.status, response.read(LONGEST_BODY_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, b"")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _reason(error)


def connect(url: str) -> str | None:
    """Open a connection to a URL's host, and close it.

    Returns:
        Why it cannot be opened, or None when it can.
    """
    try:
        parts = urlsplit(url)
        scheme = parts.scheme.partition("+")[0]
        port = parts.port or PORTS.get(scheme)
        if not parts.hostname or port is None:
            return "the URL names no host and port"
        address = parts.hostname, port
        with socket.create_connection(address, timeout=LIMIT_S) as connection:
            if scheme == "https":
                context = ssl.create_default_context()
                context.wrap_socket(connection, server_hostname=parts.hostname).close()
    except (OSError, ValueError) as error:
        return _reason(error)
    return None


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return str(text)
