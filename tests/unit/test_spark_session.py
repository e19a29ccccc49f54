"""Which Spark is opened, and what is said when there is none."""

import fcntl
import sys
import time

import pytest
from pyspark.sql import SparkSession

from pytest_llmeval.backends.spark.session import NO_SPARK
from pytest_llmeval.backends.spark.session import check_flavours
from pytest_llmeval.backends.spark.session import open_session
from pytest_llmeval.backends.spark.source import checkpoint_folder
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import MissingDependency
from pytest_llmeval.services import stop_all


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Returns what makes distributions the only ones that are installed."""
    monkeypatch.delitem(sys.modules, "pyspark.sql", raising=False)  # no session of it
    for name in ("SPARK_REMOTE", "DATABRICKS_RUNTIME_VERSION", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))  # no Java either
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    def install(name, version):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (folder / "METADATA").write_text(text)

    return install


def said_by_opening(**settings):
    with pytest.raises(ConfigurationError) as caught:
        open_session(Settings(**settings))
    return str(caught.value)


@pytest.mark.parametrize(
    "other", ["pyspark-client", "databricks-connect"], ids=lambda name: name
)
def test_two_packages_with_the_same_files_are_refused(install, other):
    install("pyspark", "4.2.0")
    check_flavours()
    install(other, "4.2.0")
    with pytest.raises(ConfigurationError) as caught:
        check_flavours()
    message = str(caught.value)
    assert message.startswith(f"the packages pyspark and {other} are both installed")
    assert "pip uninstall -y pyspark pyspark-client databricks-connect" in message
    assert said_by_opening(spark="sail") == message


def test_no_spark_at_all_names_the_extras(install):
    for settings in (Settings(), Settings(spark="sail"), Settings(spark="local[2]")):
        with pytest.raises(MissingDependency) as caught:
            open_session(settings)
        assert str(caught.value) == NO_SPARK
    for extra in ("sail", "spark", "databricks-connect"):
        assert f'pip install "pytest-llmeval-gate[{extra}]"' in NO_SPARK


def test_client_alone_has_no_engine_to_start(install):
    install("pyspark-client", "4.2.0")
    with pytest.raises(MissingDependency) as caught:
        open_session(Settings())
    assert "pytest-llmeval-gate[sail]" in str(caught.value)


def test_spark_without_java_says_what_to_install(install):
    install("pyspark", "4.2.0")
    message = said_by_opening()
    assert "there is no Java that it could run on" in message
    assert "Install Java 17 or newer, set JAVA_HOME" in message
    assert "pytest-llmeval-gate[sail]" in message
    assert said_by_opening(spark="local[2]").startswith("local[2] needs Java 17")


def test_engine_that_is_not_installed_is_named(install):
    install("pyspark", "4.2.0")
    with pytest.raises(MissingDependency) as caught:
        open_session(Settings(spark="sail"))
    assert 'needs the package pysail: pip install "pytest-llmeval-gate[sail]"' in str(
        caught.value
    )


def test_sail_beside_a_spark_that_it_does_not_understand_is_refused(install):
    install("pysail", "0.7.2")
    install("pyspark", "4.3.0")
    message = said_by_opening(spark="sail")
    assert message.startswith("pysail 0.7.2 speaks the protocol of pyspark 4.2, and")
    assert 'pip install "pyspark>=4.0,<4.3"' in message


@pytest.mark.parametrize("address", ["yarn", "http://cluster", "Sail", "spark"])
def test_what_is_no_address_is_refused(address):
    message = said_by_opening(spark=address)
    assert message.startswith(f"{address!r} is no Spark to use; give sc://HOST:PORT")
    assert message.endswith("spark://HOST:PORT, local[N] or sail")


def test_nobody_at_an_address_is_said_within_seconds():
    began = time.monotonic()
    message = said_by_opening(spark="sc://localhost:1/;token=sesame-0123456789")
    assert time.monotonic() - began < 20
    assert message.startswith("no Spark answers at sc://localhost:1: ")
    assert "name another one with --llmeval-spark" in message
    assert "sesame" not in message
    assert SparkSession.getActiveSession() is None, "nobody gets what is dead"


def test_address_in_the_environment_is_used(monkeypatch):
    monkeypatch.delitem(sys.modules, "pyspark.sql", raising=False)
    monkeypatch.setenv("SPARK_REMOTE", "sc://localhost:2")
    assert "no Spark answers at sc://localhost:2" in said_by_opening()


class Elsewhere:
    """A session whose server tells nothing about itself."""

    class conf:  # noqa: N801  # as Spark calls it
        @staticmethod
        def get(name, default):
            return default


@pytest.mark.parametrize("address", ["sc://cluster:15002", "spark://10.0.0.1:7077"])
def test_spark_elsewhere_needs_a_place_that_it_reaches(address, monkeypatch):
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    with pytest.raises(ConfigurationError) as caught:
        checkpoint_folder(Elsewhere(), Settings(spark=address))
    message = str(caught.value)
    assert "set the ini value llmeval_spark_checkpoint to a folder or URI" in message
    assert "/Volumes/main/evals/checkpoints or s3://bucket/checkpoints" in message

    place = "s3://bucket/checkpoints"
    settings = Settings(spark=address, spark_checkpoint=f"{place}/")
    assert checkpoint_folder(Elsewhere(), settings) == place


def test_spark_on_this_machine_writes_beside_the_runs(tmp_path):
    settings = Settings(rootdir=tmp_path, spark="sc://localhost:15002")
    found = checkpoint_folder(Elsewhere(), settings)
    assert found == str(tmp_path / ".llmeval/spark")


def is_held(file):
    with file.open("ab") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_each_run_of_one_process_holds_its_own_server(tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        session = open_session(Settings(spark="sail", services=folder))
        assert is_held(folder / "spark-sail.users")
        session.spark.stop()
        stop_all(folder)
