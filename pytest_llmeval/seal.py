"""The seal of a verdict: what shows that a file is as it was written.

The digest shows it to everybody who was not lied to about the digest too. A signature
shows that the file was not changed between jobs that share a key. Neither shows that
the suite was honest: the suite ran in the same process.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any


SEAL = ("digest", "signature")
"""The fields of a verdict that are not about the run."""


def digest_verdict(verdict: Mapping[str, Any]) -> str:
    """Return the SHA-256 over everything in a verdict but its seal."""
    # Not `canonical`, which takes a key without a value for no key.
    text = json.dumps(_body(verdict), sort_keys=True, allow_nan=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def seal(verdict: Mapping[str, Any], key: str | None) -> dict[str, Any]:
    """Return a verdict with its digest, and with its HMAC-SHA256 under a key."""
    digest = digest_verdict(verdict)
    sealed = {**_body(verdict), "digest": digest}
    return sealed if key is None else {**sealed, "signature": _sign(digest, key)}


def broken_seal(verdict: Mapping[str, Any], key: str | None) -> str | None:
    """Return what shows that a verdict is not as it was written, or None.

    Args:
        verdict: As it was read.
        key: What it has to be signed with; None where there is no key.
    """
    digest = digest_verdict(verdict)
    if verdict.get("digest") != digest:
        return "its content is not what its digest was taken of"
    if key is None:
        return None
    if "signature" not in verdict:
        return "LLMEVAL_SIGNING_KEY is set, and it is not signed"
    given = str(verdict["signature"]).encode("utf-8", "replace")
    if not hmac.compare_digest(given, _sign(digest, key).encode()):
        return "its signature is not of this content under LLMEVAL_SIGNING_KEY"
    return None


def _body(verdict: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in verdict.items() if name not in SEAL}


def _sign(digest: str, key: str) -> str:
    mac = hmac.new(key.encode(), digest.encode(), "sha256")
    return f"hmac-sha256:{mac.hexdigest()}"
