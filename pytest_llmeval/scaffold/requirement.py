"""How another machine installs this package as it is installed here."""

from __future__ import annotations

import json
from importlib.metadata import Distribution
from urllib.parse import urlsplit


NAME = "pytest-llmeval-gate"
EXTRAS = "[local,xdist]"


def requirement(installed: Distribution | None = None) -> str:
    """Return a line for pip: the commit that is installed here, or else the version.

    Where it was installed from stands in the file of PEP 610.

    Args:
        installed: The installed package (default: this one).
    """
    package = Distribution.from_name(NAME) if installed is None else installed
    origin = json.loads(package.read_text("direct_url.json") or "{}")
    source = origin.get("vcs_info", {})
    if "commit_id" not in source:
        return f"{NAME}{EXTRAS}=={package.version}"
    url = f"{source['vcs']}+{_public(origin['url'])}@{source['commit_id']}"
    return f"{NAME}{EXTRAS} @ {url}"


def _public(url: str) -> str:
    """Return the URL without a password or token, for the file is committed."""
    parts = urlsplit(url)
    host = parts.netloc if parts.scheme == "ssh" else parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host).geturl()
