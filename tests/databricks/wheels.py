"""Tiny wheels whose entry point is the text of a test."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile


def tiny_wheel(main: str, *, requires: str = "") -> bytes:
    """Return a wheel of the package ``tiny``, whose entry ``go`` is ``tiny:main``."""
    about = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
    files = {
        "tiny.py": main,
        "tiny-1.0.dist-info/METADATA": about
        + (f"Requires-Dist: {requires}\n" if requires else ""),
        "tiny-1.0.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n"
            "Tag: py3-none-any\n"
        ),
        "tiny-1.0.dist-info/entry_points.txt": "[console_scripts]\ngo = tiny:main\n",
    }
    record = "tiny-1.0.dist-info/RECORD"
    lines = [f"{name},{_digest(text)},{len(text)}" for name, text in files.items()]
    files[record] = "\n".join([*lines, f"{record},,", ""])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
