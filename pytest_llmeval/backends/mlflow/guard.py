"""Runs a command for as long as whoever started it lives, and no longer.

It reads from standard input: the other end of that pipe closes with its owner, however
that ends. Imports nothing of the package, so that it costs next to nothing.
"""

import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    """Run the command in our arguments; return its exit status."""
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)  # noqa: S603  # the front's own arguments

    def end_with_owner() -> None:
        while os.read(0, 1):  # not buffered: nothing holds a lock at the end
            pass
        os.killpg(0, signal.SIGKILL)  # of the session that both of us are in

    threading.Thread(target=end_with_owner, daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
