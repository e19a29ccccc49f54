"""Which Spark is used, and a session of it."""

from __future__ import annotations

import atexit
import functools
import importlib.metadata
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple
from urllib.parse import urlsplit

from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import MissingDependency
from pytest_llmeval.errors import ServiceError
from pytest_llmeval.services import Service
from pytest_llmeval.services import stop_all
from pytest_llmeval.text import one_line
from pytest_llmeval.text import redact


if TYPE_CHECKING:
    from typing import BinaryIO

    from pyspark.sql import SparkSession


SERVER = "pytest_llmeval.backends.spark.server"
FLAVOURS = ("pyspark", "pyspark-client", "databricks-connect")
"""Distributions that all bring the module ``pyspark``."""
NO_SPARK = """\
Spark is needed and nothing that brings it is installed. Install one of:
  pip install "pytest-llmeval-gate[sail]"                an engine without Java
  pip install "pytest-llmeval-gate[spark]"               Apache Spark, for Java
  pip install "pytest-llmeval-gate[databricks-connect]"  for Databricks"""
FIRST_RETRIES = 4
"""Of the first question to a server; with pauses of 4 s in all."""
OWN_RETRIES = 3
"""Of a question to a server of our own: 1 s in all."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_held: dict[str, BinaryIO] = {}
"""By its file, what tells a server that this process uses it."""
_sessions: dict[str, SparkSession] = {}
"""By address."""


class Session(NamedTuple):
    """A Spark session, and how far it may be used."""

    spark: SparkSession
    is_ours: bool
    """Whether it may be stopped: it is nobody else's."""


def open_session(settings: Settings) -> Session:
    """Return a session of the first Spark that is there.

    In this order: ``--llmeval-spark``, a session that is active in this process,
    ``SPARK_REMOTE``, databricks-connect when a cluster or serverless compute is
    configured for it, and an engine on this machine: Sail where it is installed, else
    Apache Spark where there is Java.

    Raises:
        ConfigurationError: packages of several kinds of Spark are installed, or the
            address is none, or nothing answers there.
        MissingDependency: no package brings Spark; names the extras.
    """
    if not _is_on_databricks():  # which brings its own, by whatever name
        check_flavours()
    if settings.spark is not None:
        return _open(settings.spark, settings)
    active = _active_session()
    if active is not None:
        return Session(active, is_ours=False)
    remote = os.environ.get("SPARK_REMOTE")
    if remote:
        return Session(_connect(remote), is_ours=True)
    on_databricks = _databricks_session()
    if on_databricks is not None:
        return Session(on_databricks, is_ours=False)
    return _open(_embedded_engine(), settings)


def check_flavours() -> None:
    """Refuse packages that overwrite each other's files.

    Raises:
        ConfigurationError: names them.
        MissingDependency: there is none of them.
    """
    found = [name for name in FLAVOURS if _version(name) is not None]
    if not found:
        raise MissingDependency(NO_SPARK)
    if len(found) > 1:
        names = " ".join(FLAVOURS)
        raise ConfigurationError(
            f"the packages {' and '.join(found)} are both installed, and both own the "
            f"module pyspark. Remove them all, then install one: pip uninstall -y "
            f"{names}"
        )


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _active_session() -> SparkSession | None:
    on_cluster = _is_on_databricks()
    if "pyspark.sql" not in sys.modules and not on_cluster:
        return None
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    if on_cluster and is_worker and "SPARK_REMOTE" not in os.environ:
        raise ConfigurationError(
            "on a classic Databricks cluster the Spark session belongs to the process "
            "that pytest was started in, and this is a worker of pytest-xdist: run "
            "what needs Spark without -n, or on serverless compute"
        )
    from pyspark.sql import SparkSession

    found = SparkSession.getActiveSession()
    if found is None and on_cluster:  # in a thread of its own
        found = SparkSession.builder.getOrCreate()
    return found


def _is_on_databricks() -> bool:
    return "DATABRICKS_RUNTIME_VERSION" in os.environ


def _databricks_session() -> Any:
    """Return a session of databricks-connect, where one is configured."""
    if _version("databricks-connect") is None:
        return None
    from databricks.connect import DatabricksSession

    try:
        return DatabricksSession.builder.getOrCreate()
    except Exception as error:  # noqa: BLE001  # of a network, of a workspace
        raise ConfigurationError(
            "databricks-connect is installed and gives no session: "
            f"{_said(error)}; set DATABRICKS_CLUSTER_ID, or "
            "DATABRICKS_SERVERLESS_COMPUTE_ID=auto, and sign in"
        ) from None


def _embedded_engine() -> str:
    if _version("pysail") is not None:
        return "sail"
    if _version("pyspark") is None:
        raise MissingDependency(NO_SPARK)
    if not _has_java():
        raise ConfigurationError(
            "Apache Spark is installed and there is no Java that it could run on. "
            "Install Java 17 or newer, set JAVA_HOME, or use an engine without it: pip "
            'uninstall -y pyspark, then pip install "pytest-llmeval-gate[sail]"'
        )
    return f"local[{os.cpu_count() or 1}]"


def _has_java() -> bool:
    home = os.environ.get("JAVA_HOME")
    return bool((home and Path(home, "bin", "java").exists()) or shutil.which("java"))


def _open(address: str, settings: Settings) -> Session:
    if address.startswith("sc://"):
        return Session(_connect(address), is_ours=True)
    if address == "sail":
        _check_sail()
    elif not address.startswith(("local", "spark://")):
        raise ConfigurationError(
            f"{address!r:.200} is no Spark to use; give sc://HOST:PORT, "
            "spark://HOST:PORT, local[N] or sail"
        )
    elif not _has_java():
        raise ConfigurationError(
            f"{one_line(address)} needs Java 17 or newer, and there is none; set "
            "JAVA_HOME, or use an engine without it: --llmeval-spark sail"
        )
    spark = _connect(_served(address, settings))
    _retry(spark, OWN_RETRIES)  # its server has no network that could come back
    return Session(spark, is_ours=True)


def _check_sail() -> None:
    """Refuse a Sail that cannot work with the Spark beside it."""
    sail = _version("pysail")
    if sail is None:
        raise MissingDependency(
            'the engine "sail" needs the package pysail: pip install '
            '"pytest-llmeval-gate[sail]"'
        )
    for name in ("pyspark", "pyspark-client"):
        version = _version(name) or ""
        major, _, rest = version.partition(".")
        newer = major == "4" and int(rest.partition(".")[0] or 0) > 2
        if newer and sail.startswith("0.7."):
            raise ConfigurationError(
                f"pysail {sail} speaks the protocol of {name} 4.2, and {version} is "
                f'installed: pip install "{name}>=4.0,<4.3"'
            )


def _served(engine: str, settings: Settings) -> str:
    """Start a server on this machine unless one runs; return its address."""
    folder = settings.services or _own_folder()
    name = "spark-" + "".join(c if c.isalnum() else "-" for c in engine)
    service = Service(folder, name)
    try:
        address = service.find_or_start(SERVER, [engine])
    except ServiceError as error:
        raise ConfigurationError(f"cannot start Spark ({engine}): {error}") from None
    held = f"{folder}/{name}"
    if held not in _held:
        _held[held] = service.hold()
    token = f"/;token={address.token}" if address.token else ""
    return f"sc://localhost:{address.port}{token}"


@functools.cache
def _own_folder() -> Path:
    """Return where this process, which is not pytest's, keeps its server's address."""
    folder = Path(tempfile.mkdtemp(prefix="llmeval-spark-"))
    atexit.register(stop_all, folder)
    return folder


def _connect(address: str) -> SparkSession:
    """Return this process's session on a Connect server."""
    import warnings

    from pyspark.sql import SparkSession

    if address in _sessions and not _sessions[address].is_stopped:
        return _sessions[address]
    spark: Any = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas 3, which Spark does not know
            spark = SparkSession.builder.remote(address).create()
            usual = spark.client.get_retry_policies()
            _retry(spark, FIRST_RETRIES)
            _ = spark.version  # the first question finds out whether somebody is there
            spark.client.set_retry_policies(usual)
    except Exception as error:  # noqa: BLE001  # of a network, of a server
        _forget(spark)
        where = address.partition("/;")[0]  # without the token
        raise ConfigurationError(
            f"no Spark answers at {redact(where)}: {_said(error)}; name another one "
            "with --llmeval-spark, or leave it out to start one on this machine"
        ) from None
    _sessions[address] = spark
    return spark


def close_sessions() -> None:
    """Close the sessions of this process that are ours.

    A session whose server has ended would be the active one for everybody who asks, and
    MLflow asks it for its registry.
    """
    while _sessions:
        _, spark = _sessions.popitem()
        _forget(spark)


def _forget(spark: Any) -> None:
    """Have nobody take a dead session for the active one, MLflow for example."""
    if spark is not None:
        with suppress(Exception):
            _retry(spark, 0)
            spark.stop()


def _retry(spark: SparkSession, times: int) -> None:
    """Ask a server that is not there so often, and not for ten minutes."""
    from pyspark.sql.connect.client.retries import DefaultPolicy

    spark.client.set_retry_policies([DefaultPolicy(max_retries=times)])


def is_on_this_machine(spark: SparkSession, settings: Settings) -> bool:
    """Return whether Spark's executors write to the disk of this machine."""
    if _is_on_databricks():
        return False
    address = settings.spark or os.environ.get("SPARK_REMOTE") or ""
    if address.startswith(("sc://", "spark://")):
        return urlsplit(address).hostname in LOOPBACK
    try:
        master = spark.conf.get("spark.master", "") or ""
    except Exception:  # noqa: BLE001  # some servers hide it
        master = ""
    if master.startswith("spark://"):
        return urlsplit(master).hostname in LOOPBACK
    return bool(_held) or master.startswith("local")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(redact(str(error)), 300)}"
