"""Scripts that need a process of their own."""

import subprocess
import sys


def python(script, *arguments):
    """Run a script, with warnings as errors; return how it ended and what it said."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
