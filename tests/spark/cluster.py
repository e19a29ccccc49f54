"""A standalone cluster of Spark on this machine: a master and two workers."""

import importlib.util
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path


JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
START_S = 60
END_S = 10
PAUSE_S = 0.1
# All of it is one process group, which ends with whoever holds the shell's input open.
SCRIPT = """\
serve() {
    log="$logs/$1.log"
    shift
    "$spark_class" "org.apache.spark.deploy.$@" --webui-port 0 >"$log" 2>&1 </dev/null &
}
serve master master.Master --host 127.0.0.1 --port "$port"
until grep -q "New state: ALIVE" "$logs/master.log"; do sleep 0.1; done
for worker in first second; do
    serve $worker worker.Worker "$master" -c 1 -m 1g -d "$logs/$worker"
done
cat >/dev/null
kill -KILL 0
"""


def spark_class() -> Path:
    """Return the script of pip's pyspark that starts parts of Spark."""
    spec = importlib.util.find_spec("pyspark")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("bin") / "spark-class"


@contextmanager
def cluster(folder: Path):
    """Run a cluster in the block; gives its address.

    However this process ends, the pipe to the shell is closed, and the cluster killed.
    """
    port, logs = free_port(), folder / "cluster"
    logs.mkdir()
    settings = {
        "SPARK_HOME": str(spark_class().parents[1]),
        "SPARK_DAEMON_JAVA_OPTS": JVM,
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(logs),
        "spark_class": str(spark_class()),
        "logs": str(logs),
        "port": str(port),
        "master": f"spark://127.0.0.1:{port}",
    }
    shell = subprocess.Popen(
        ("sh", "-c", SCRIPT),
        stdin=subprocess.PIPE,
        env=os.environ | settings,
        start_new_session=True,
    )
    (logs / "group").write_text(str(shell.pid))
    try:
        _await_workers(logs, shell)
        yield settings["master"]
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
        shell.stdin.close()
        _await_end(shell.pid)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_workers(logs: Path, shell: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while _said(logs).count("Successfully registered with master") < 2:
        if shell.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"no cluster within {START_S} s:\n{_said(logs)}")
        time.sleep(PAUSE_S)


def _await_end(group: int) -> None:
    """Wait for processes that were killed, whose memory takes a while to free."""
    deadline = time.monotonic() + END_S
    while members(group) and time.monotonic() < deadline:
        time.sleep(PAUSE_S)


def _said(logs: Path) -> str:
    return "".join(log.read_text() for log in sorted(logs.glob("*.log")))


def members(group: int) -> list[int]:
    """Return the processes that are in a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found
