"""Calls an entry point as a Python wheel task does, and writes down what it raised.

It runs in the interpreter of a task: ``cluster_entry.py ERROR_FILE PACKAGE NAME ...``.
"""

import json
import sys
import traceback
from importlib.metadata import distribution
from pathlib import Path


def main() -> None:
    """Call the entry point with the other arguments as its own."""
    error_file, package, name, *sys.argv[1:] = sys.argv[1:]
    try:
        points = distribution(package).entry_points
        (point,) = [point for point in points if point.name == name]
        sys.argv[0] = name
        point.load()()
    except BaseException as error:  # noqa: BLE001 - an exit is a failure too
        trace = traceback.format_exc()
        print(trace, file=sys.stderr)
        told = {"error": f"{type(error).__name__}: {error}", "trace": trace}
        Path(error_file).write_text(json.dumps(told), encoding="utf-8")
        sys.exit(1)


if __name__ == "__main__":
    main()
