"""The process that runs Spark for all workers of a run, as a Connect server.

It ends when nobody has used it for a while; users hold a lock, which ends with them.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from pytest_llmeval.backends.spark.session import LOOPBACK
from pytest_llmeval.services import Service


HOST = "127.0.0.1"
IDLE_S = 2.0
"""Not longer: what a killed run has begun must not go on beside the next run."""
CLIENT = (
    "SPARK_API_MODE",
    "SPARK_CONNECT_MODE_ENABLED",
    "SPARK_LOCAL_REMOTE",
    "SPARK_REMOTE",
)
"""Variables that would make this a client; Spark sets some of them in its clients."""
SAIL_QUIET = "warn"
"""What Sail logs; each session of a client is a line of its own above that."""


def main(folder: str, name: str, engine: str) -> None:
    """Serve Sail, or Apache Spark on a master, until nobody uses it any more."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # leaves no files behind
    service = Service(Path(folder), name)
    if not service.begin():
        return
    for name in CLIENT:
        os.environ.pop(name, None)
    serve = _serve_sail if engine == "sail" else _serve_spark
    with tempfile.TemporaryDirectory(prefix="llmeval-spark-") as scratch:
        # It stops serving when the last reference to it goes.
        server, port, token = serve(engine, scratch)
        service.announce(port, token)
        service.await_disuse(IDLE_S)
        del server


def _serve_sail(engine: str, scratch: str) -> tuple[object, int, str]:
    os.environ.setdefault("RUST_LOG", SAIL_QUIET)
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer(HOST, 0)
    server.start(background=True)
    return server, int(server.listening_address[1]), ""


def _serve_spark(master: str, scratch: str) -> tuple[object, int, str]:
    """Start a JVM with the Connect plugin; return its session, port and token."""
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    from pyspark.sql import SparkSession

    port, token = _free_port(), secrets.token_hex(32)
    settings = {
        "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
        "spark.connect.grpc.binding.address": HOST,
        "spark.connect.grpc.binding.port": str(port),
        "spark.connect.authenticate.token": token,
        "spark.ui.enabled": "false",
        "spark.sql.warehouse.dir": f"{scratch}/warehouse",
        "spark.sql.session.timeZone": "UTC",
        "spark.log.level": "ERROR",
        "spark.executorEnv.PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        # It starts in half the time, and a run is too short to win that back.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    }
    if master.startswith("local"):
        settings["spark.sql.shuffle.partitions"] = str(os.cpu_count() or 1)
    if master.startswith("local") or urlsplit(master).hostname in LOOPBACK:
        # Executors of another machine have to reach it.
        settings |= {"spark.driver.bindAddress": HOST, "spark.driver.host": HOST}
    builder = SparkSession.builder.master(master).appName("pytest-llmeval")
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate(), port, token


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
