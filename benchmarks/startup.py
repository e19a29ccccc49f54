"""What the plugin costs a pytest run that evaluates nothing.

Prints the CPU time of an empty run with the plugin as a ratio to the same run without
it: the median over pairs, each pair run back to back.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


ROUNDS = 15
PLUGIN = "pytest_llmeval.pytest_plugin"
ENVIRONMENT = os.environ | {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTHONDONTWRITEBYTECODE": "",  # an installed package has its byte code
}


def cpu_seconds(folder: str, *options: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_nothing.py").write_text("def test_nothing():\n    pass\n")
        cpu_seconds(folder, "-p", PLUGIN)  # compiles the byte code
        pairs = [
            (cpu_seconds(folder), cpu_seconds(folder, "-p", PLUGIN))
            for _ in range(ROUNDS)
        ]
    without = statistics.median(pair[0] for pair in pairs)
    ratio = statistics.median(loaded / plain for plain, loaded in pairs)
    print(f"pytest without the plugin: {without:.3f} CPU s")
    print(f"with the plugin, unused:   {ratio:.3f} times that (aim: at most 1.05)")


if __name__ == "__main__":
    main()
